"""Check now: a run without a partition looks for what is new at an import's source, and has it loaded.

A person, GraphQL or another system launches the job `ingest__check_now`, or the import's asset without a partition. The
run looks, where the import's other runs look too, and writes the items that it found to the ledger and to its own
events. The sensor `ingest__check_now_runs` then requests a run for each of them, as the import's own sensor or schedule
would: so the queue, its limits and the order of items hold for them on every kind of Dagster instance. (No
`from __future__ import annotations` here: Dagster reads the annotations of ops.)
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import cast

from dagster import (
    AssetObservation,
    ConfigMapping,
    DagsterEventType,
    DagsterInstance,
    DefaultSensorStatus,
    Field,
    JobDefinition,
    MetadataValue,
    OpExecutionContext,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    job,
    op,
    sensor,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.ledger import ItemState
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key
from ingest_pipelines.orchestration.assets.step_errors import retrying_errors
from ingest_pipelines.orchestration.automation import CHECK_NOW_SENSOR, may_look_first
from ingest_pipelines.orchestration.dagster_internals.expected_errors import ExpectedFailure, without_stack
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.resources.connections import SITE
from ingest_pipelines.orchestration.runs.item_runs import ItemRuns, runs_of_items
from ingest_pipelines.orchestration.runs.run_requests import run_request
from ingest_pipelines.orchestration.runs.tags import CHECK_TAG, PROJECT_TAG, is_dry_run, project_tags
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.schedules.due_items import DueItems, due_files, due_queries
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import LOOK_SECONDS, Listings
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.base import Client

JOB, STEP = "check_now", "check_now__look"
"""Names of the job and of its op, within the project's namespace: a team's own job may be called `check_now`."""

LOOKING, NOTHING, FOUND, REQUESTED = "looking", "nothing new", "found", "requested"
"""Values of CHECK_TAG: what the check found, and whether runs of it are requested."""

SECONDS = 5
"""Between two ticks of the sensor; a tick is one query of Dagster's storage where no check found anything."""

RUNS_PER_TICK, CHECKS_PER_TICK = 50, 20

LONGEST_SETTLE = timedelta(minutes=5)
"""A check waits until new files have been stable for the settle time, if that is not longer than this."""

ITEMS = "items"
"""Key of the observation's metadata with the keys of the items that the check found."""


def check_now(context: OpExecutionContext, site: Site, bound: BoundImport, client: Client | None = None) -> None:
    """Looks for what is new at the import's source; what it finds is in the ledger and in the run's events.

    Args:
        client: makes the source's client; by default the source connects by itself.

    Raises:
        ExpectedRetry, ExpectedFailure: the source or the target does not answer, or the import takes no items by
            itself. Nothing is loaded.
    """
    instance, run = context.instance, context.run
    instance.add_run_tags(run.run_id, {CHECK_TAG: LOOKING})  # a re-execution has its parent's
    with retrying_errors(site, bound, run, context.retry_number + 1, context):
        if is_dry_run(run.tags):
            raise UsageError(
                f"import {bound.name}: a plan is made of one item, and this run has no partition",
                hint=f"choose a partition on the asset's page, or run: ingest plan {bound.name}",
            )
        take_over_history(site, bound, instance, "check_now")
        due = find_new_items(site, bound, instance, tick=run.run_id, client=client)
    found = [str(key) for key in due.run_keys]
    if not found:
        context.log.info("Nothing to load: %s", due.why_none)
        instance.add_run_tags(run.run_id, {CHECK_TAG: NOTHING, **project_tags(site.project.placement)})
        return
    add_partitions(bound, found, instance)
    words = f"found 1 item to load: {found[0]}" if len(found) == 1 else f"found {len(found)} items to load"
    placement = site.project.placement
    context.log.info("The check %s. The sensor %s requests a run for each.", words, placement.named(CHECK_NOW_SENSOR))
    context.log_event(
        AssetObservation(asset_key(bound), description=f"check: {words}", metadata={ITEMS: MetadataValue.json(found)})
    )
    instance.add_run_tags(
        run.run_id, {CHECK_TAG: FOUND, **project_tags(placement)}
    )  # last: from now on the sensor reads the rest


def find_new_items(
    site: Site,
    bound: BoundImport,
    instance: DagsterInstance,
    *,
    tick: str,
    client: Client | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> DueItems:
    """The items to load now; all of them are in the ledger.

    Args:
        tick: names this look; a look that is taken twice finds the same run keys.
        rest: waits that many seconds.

    Raises:
        UsageError: the import only takes files that a person has.
        SourceUnavailable, SourceDenied, TargetUnavailable: nothing is lost, the next look finds the same items.
    """
    if not bound.reads_files:
        if may_look_first(bound) and CursorLooks().find_nothing_new(site, bound):
            return DueItems(why_none=f"{bound.connection_name} has no row after the cursor")
        return due_queries(site, bound, instance, tick=tick, by_hand=True)
    if bound.spec.source.file is None:
        raise UsageError(f"import {bound.name} takes uploads", hint=f"run: ingest run {bound.name} --file F")
    listings = Listings(patience_seconds=2 * LOOK_SECONDS)  # nobody else waits for this look
    file_items = find_file_items(site, bound, listings, client=client)
    if file_items.unsettled and bound.settle <= LONGEST_SETTLE:
        rest(bound.settle.total_seconds())
        listings = Listings(patience_seconds=2 * LOOK_SECONDS)
        file_items = find_file_items(site, bound, listings, first_seen=file_items.unsettled, client=client)
    return due_files(bound, file_items, instance, site.clock(), by_hand=True)


def check_now_job(site: Site) -> JobDefinition:
    """The job `check_now`: its config `{import: NAME}` names the import whose source it looks at."""
    placement = site.project.placement
    step = placement.named(STEP)
    config = {"import": Field(str, description="The name of an import.")}

    @op(
        name=step,
        description="Looks for what is new at the source of an import, and has it loaded.",
        config_schema=config,
        required_resource_keys={placement.named(SITE)},
    )
    def look(context: OpExecutionContext) -> None:
        name = str(context.op_config["import"])
        try:
            bound = site.project.require(name)
        except IngestError as error:
            raise ExpectedFailure(f"{error}\nNothing was loaded.") from error
        check_now(context, site, bound)

    @job(
        name=placement.named(JOB),
        description="Looks for what is new at the source of an import, and has it loaded. Config: `import: NAME`.",
        config=ConfigMapping(
            config_schema=config,
            config_fn=lambda given: {"ops": {step: {"config": given}}},
        ),
    )
    def check_now_of_import() -> None:
        look()

    return check_now_of_import


def check_now_sensor(site: Site, imports: Mapping[str, BoundImport]) -> SensorDefinition:
    """The sensor that requests runs of the items that checks found. It is on also with `INGEST_AUTOMATION=off`."""

    @sensor(
        name=site.project.placement.named(CHECK_NOW_SENSOR),
        description="Launches the runs of items that a check found which a person or another system asked for.",
        asset_selection=[asset_key(bound) for bound in imports.values()],
        minimum_interval_seconds=SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
    )
    @without_stack
    def check_now_runs(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        instance = context.instance
        checks = instance.get_run_records(RunsFilter(tags={CHECK_TAG: FOUND}), limit=CHECKS_PER_TICK, ascending=True)
        requests: list[RunRequest] = []
        for record in checks:
            if record.dagster_run.tags.get(PROJECT_TAG, "") != site.project.placement.tag:
                continue  # another project's: its own sensor reads it
            wanted = list(_requests_of(record, site, imports, instance))
            requests += wanted
            if not wanted:
                instance.add_run_tags(record.dagster_run.run_id, {CHECK_TAG: REQUESTED})
        if not requests:
            return SkipReason("no check has found anything since the last tick")
        return SensorResult(run_requests=list(islice(requests, RUNS_PER_TICK)))

    return check_now_runs


def _requests_of(
    record: RunRecord, site: Site, imports: Mapping[str, BoundImport], instance: DagsterInstance
) -> Iterator[RunRequest]:
    """Requests for the items that the check found and that no run has been requested of since."""
    run_id = record.dagster_run.run_id
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_OBSERVATION):
        event = entry.dagster_event
        observation = event.asset_observation_data.asset_observation if event is not None else None
        if observation is None or ITEMS not in observation.metadata:
            continue
        bound = imports.get(observation.asset_key.path[-1])
        if bound is None or asset_key(bound) != observation.asset_key:
            continue  # its YAML has changed since; housekeeping requests what the ledger has of it
        found = cast(Sequence[str], observation.metadata[ITEMS].value)
        keys = [ItemKey(key) for key in found]
        with site.target.session() as connection:
            states = {state.key: state for state in ledger.item_states(connection, bound.name, keys)}
        runs = runs_of_items([(bound.name, key) for key in keys], bound.placement, instance, site.clock())
        for key in keys:
            if key in states and _waits(states[key], runs.get((bound.name, key)), record):
                yield run_request(bound, key, "check_now", instance, run_key=f"{key}@{run_id[:8]}")


def _waits(state: ItemState, runs: ItemRuns | None, check: RunRecord) -> bool:
    """Whether no load has settled the item, and no run of it is under way or was created since the check."""
    if state.status in {"committed", "skipped"}:
        return False
    return runs is None or not (runs.in_progress or runs.created_at > check.create_timestamp)
