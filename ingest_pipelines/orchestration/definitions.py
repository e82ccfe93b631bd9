"""A project as Dagster definitions. An import with mistakes becomes a placeholder, and the others still work."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DagsterInvalidDefinitionError,
    Definitions,
    IOManager,
    IOManagerDefinition,
    ResourceDefinition,
    ScheduleDefinition,
    SensorDefinition,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.outline import read_outline
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.orchestration.alerts.alert_sensor import alert_sensor
from ingest_pipelines.orchestration.assets.import_asset import broken_asset, import_asset
from ingest_pipelines.orchestration.assets.lineage import external_assets
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.automation import shares_file_sensors, watches_files
from ingest_pipelines.orchestration.check_now import check_now_job, check_now_sensor
from ingest_pipelines.orchestration.checks.asset_checks import checks_of
from ingest_pipelines.orchestration.dagster_internals.own_run import assets_of_own_run
from ingest_pipelines.orchestration.io_managers.remote_spill import io_managers
from ingest_pipelines.orchestration.resources.connections import (
    HANDLES,
    SITE,
    TARGET,
    named,
    named_resource,
    resources_of,
)
from ingest_pipelines.orchestration.runs.executors import executor_of
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.schedules.import_schedule import MOST_JOBS, import_schedule
from ingest_pipelines.orchestration.sensors.activation import activation_sensor
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.sensors.shared_file_sensor import shared_file_sensors
from ingest_pipelines.orchestration.sensors.upstream_sensor import upstream_sensor
from ingest_pipelines.orchestration.site import Site

MANY = 50
"""Of so many imports a run defines its own only. Of fewer, to ask which these are takes as long as to define all."""


def definitions_of_process(site: Site) -> Definitions:
    """The definitions that this process needs: in a run's, of a project of many imports, those of its own.

    For a code location with nothing but this project: what a team has beside it may select the asset of any import.

    Raises:
        ConfigError: see `build_definitions`.
    """
    return build_definitions(site, assets_of_own_run() if len(site.project.imports) >= MANY else None)


def build_definitions(site: Site, only: Collection[AssetKey] | None = None) -> Definitions:
    """All Dagster definitions of a project.

    Args:
        only: the assets of the imports to define, for a run that selected these. If one of them is no import's,
            everything is defined.

    Raises:
        ConfigError: there are mistakes, and Dagster was asked to validate the definitions. Otherwise mistakes become
            placeholder assets that show them.
    """
    listings, looks = Listings(), CursorLooks()
    assets: list[AssetsDefinition | AssetSpec] = []
    sensors: list[SensorDefinition] = []
    schedules: list[ScheduleDefinition] = []
    whole: list[BoundImport] = []
    drafts: dict[str, list[str]] = {}
    graphs: dict[str, str] = {}
    imports, broken = dict(site.project.imports), dict(site.project.broken)
    if only is not None:
        chosen = {name: bound for name, bound in imports.items() if asset_key(bound) in only}
        if len(chosen) == len(only):
            imports, broken = chosen, {}
    sharing = shares_file_sensors(site.project)
    scheduled = sum(bound.spec.schedule is not None for bound in site.project.imports.values())
    own_jobs = scheduled * len(site.project.imports) <= MOST_JOBS
    for name, bound in imports.items():
        first = graphs.setdefault(bound.asset_name, name)
        if first != name:
            what = f"with its database it has the name {bound.asset_name} in Dagster, as imports/{first}.yaml does"
            hint = f"rename one of the two files; then run: ingest check {name}"
            broken[name] = ConfigError([f"imports/{name}.yaml:1: {what}"], hint=hint)
            continue
        try:
            asset = import_asset(bound, in_process=site.in_process)
            plan = bound.spec.schedule
            own_schedules = (
                [import_schedule(site, bound, listings, looks, own_job=own_jobs)] if plan is not None else []
            )
        except DagsterInvalidDefinitionError as error:
            broken[name] = ConfigError([f"imports/{name}.yaml:1: {error}"], hint=f"then run: ingest check {name}")
            continue
        assets.append(asset)
        own_sensors = [file_sensor(site, bound, listings)] if watches_files(bound) and not sharing else []
        own_sensors += [upstream_sensor(site, bound, listings, looks)] if bound.spec.after else []
        schedules += own_schedules
        sensors += own_sensors
        whole.append(bound)
        if bound.spec.status == "draft" and (own_sensors or own_schedules):
            drafts[name] = [*(own.name for own in own_sensors), *(own.name for own in own_schedules)]
    if sharing:
        sensors += shared_file_sensors(site, filter(watches_files, whole), listings)
    if site.settings.validating:
        only_dagsters = [line for name in broken.keys() - site.project.broken.keys() for line in broken[name].mistakes]
        mistakes = [*site.project.mistakes, *sorted(only_dagsters)]
        if mistakes:
            home = shlex.quote(str(site.project.home))
            raise ConfigError(mistakes, hint=f"fix them, then run: INGEST_HOME={home} ingest check")
    of_all = [
        housekeeping_sensor(site, whole, listings) if whole else None,
        activation_sensor(site, drafts),
        alert_sensor(site),
        check_now_sensor(site, {bound.name: bound for bound in whole}) if whole else None,
    ]
    mistaken = broken.keys() & site.project.broken.keys() - {bound.name for bound in whole}
    assets += [
        broken_asset(
            name,
            error,
            read_outline(site.project.home, name) if name in mistaken else None,
            site.project.placement,
        )
        for name, error in broken.items()
    ]
    return Definitions(
        assets=[*assets, *external_assets(whole)],
        asset_checks=list(checks_of(site, whole)),
        sensors=[*sensors, *(sensor for sensor in of_all if sensor is not None)],
        schedules=schedules,
        jobs=[check_now_job(site)],
        resources={**resources_of(site.project), **_own_resources(site)},
        executor=executor_of(site.settings),
    )


def _own_resources(site: Site) -> dict[str, ResourceDefinition]:
    """The resources that every step uses, with the names and descriptions that Dagster's page shows."""
    managers = io_managers(site)
    about = {
        HANDLES: "Carries step outputs to the next step: small files in the run's folder, or in a bucket.",
        TARGET: "Merges the accepted rows into the table, with the ledger's records, in one transaction.",
    }
    resources = {
        SITE: named_resource(Site.__name__, lambda _: site, "The project, its settings and its target Postgres."),
        **{name: _shown_manager(manager, about[name]) for name, manager in managers.items()},
    }
    return {site.project.placement.named(name): resource for name, resource in resources.items()}


def _shown_manager(manager: IOManager, description: str) -> IOManagerDefinition:
    return IOManagerDefinition(named(type(manager).__name__, lambda _: manager), description=description)
