"""The schedule of an import: a tick writes due items to the ledger, adds their partitions and requests their runs."""

from __future__ import annotations

from typing import Any

from dagster import (
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key
from ingest_pipelines.orchestration.automation import (
    WHEN_STOPPED,
    looks_before_it_reads,
    starts_running,
    why_stopped,
)
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.resources.connections import client_of, resource_keys
from ingest_pipelines.orchestration.runs.run_requests import run_request
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run, is_run_of
from ingest_pipelines.orchestration.schedules.cron import crons_of, why_no_tick
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.schedules.due_items import due_files, due_queries
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings, StillListing
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.base import Client

_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


MOST_JOBS = 5_000
"""A schedule that its asset's page shows needs a job: 35 KB of definitions, and 0.2 ms per asset of the project. Above
this number of jobs times assets, asset pages show no schedules; the list of automations shows all of them."""


def import_schedule(
    site: Site, bound: BoundImport, listings: Listings, looks: CursorLooks, *, own_job: bool = True
) -> ScheduleDefinition:
    """The import's schedule.

    Args:
        listings, looks: shared by the imports of a connection.
        own_job: the asset's page shows the schedule; else only the list of automations does.
    """
    plan = bound.spec.schedule
    assert plan is not None
    target: Any = {"target": AssetSelection.assets(asset_key(bound))} if own_job else {"job_name": "__ASSET_JOB"}

    @schedule(
        cron_schedule=crons_of(plan),
        name=f"{bound.asset_name}__schedule",
        description=f"{plan.words[:1].upper()}{plan.words[1:]}. {WHEN_STOPPED}",
        execution_timezone=plan.timezone,
        required_resource_keys=set(resource_keys(bound)) if bound.reads_files else None,
        **target,
        default_status=(
            DefaultScheduleStatus.RUNNING if starts_running(site, bound) else DefaultScheduleStatus.STOPPED
        ),
    )
    @without_stack
    def tick(context: ScheduleEvaluationContext) -> list[RunRequest] | SkipReason:
        moment = context.scheduled_execution_time
        why_not = why_no_tick(plan, moment) or why_stopped(site, bound) or overlap(bound, context.instance)
        if why_not:
            return SkipReason(why_not)
        take_over_history(site, bound, context.instance, "schedule")
        if looks_before_it_reads(bound) and looks.find_nothing_new(site, bound):
            return SkipReason(f"{bound.connection_name} has no row after the cursor; nothing to load")
        client = client_of(context.resources, bound) if bound.reads_files else None
        try:
            return due_run_requests(
                site, bound, listings, context.instance, by="schedule", tick=moment.isoformat(), client=client
            )
        except StillListing as still:
            return SkipReason(f"{still.message}, and housekeeping requests the run of a file that it shows")

    return tick


def due_run_requests(
    site: Site,
    bound: BoundImport,
    listings: Listings,
    instance: DagsterInstance,
    *,
    by: str,
    tick: str,
    client: Client | None = None,
) -> list[RunRequest] | SkipReason:
    """Runs for due items: the newest file, the query's open item or a new one, or the windows that have ended.

    Args:
        tick: its time; a tick that is evaluated twice requests the same runs.
        client: makes the source's client; by default the source connects by itself.
    """
    if bound.reads_files:
        due = due_files(bound, find_file_items(site, bound, listings, client=client), instance, site.clock())
    else:
        due = due_queries(site, bound, instance, tick=tick)
    if not due.run_keys:
        return SkipReason(due.why_none)
    add_partitions(bound, list(due.run_keys), instance)
    return [run_request(bound, key, by, instance, run_key=run_key) for key, run_key in due.run_keys.items()]


def overlap(bound: BoundImport, instance: DagsterInstance) -> str:
    """Why the tick is skipped: a run of the import is in progress. "" where none is."""
    in_progress = instance.get_runs(RunsFilter(tags={IMPORT_TAG: bound.name}, statuses=_IN_PROGRESS))
    own = (run for run in in_progress if is_run_of(run, bound.placement))
    run = next((run for run in own if not is_dry_run(run.tags)), None)
    if run is None:
        return ""
    return f"run {run.run_id[:8]} of this import is still {run.status.value.lower()}; the next tick checks again"
