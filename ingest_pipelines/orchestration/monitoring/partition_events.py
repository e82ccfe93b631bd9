"""Events of partitions whose run ended without one: the pages then show what the ledger has.

A step that fails reports its item (`assets.step_errors`), and a merge its materialization. Neither happens if the
process dies, a person ends the run, or the run never begins: Dagster then shows a red or an empty partition and no
reason, even if the load had committed. So every run that failed or was cancelled is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from dagster import (
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.ledger import Load
from ingest_pipelines.orchestration.assets.failed_item import RUN, failed_item
from ingest_pipelines.orchestration.assets.metadata import combined_report, report_metadata, table_metadata
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.dagster_internals.planned_events import plan_partition
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG, WILL_RETRY_TAG
from ingest_pipelines.orchestration.monitoring.open_item import BROKEN, OpenItem
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, is_dry_run, is_run_of
from ingest_pipelines.orchestration.site import Site

RUNS_PER_TICK = 100

FIRST_LOOK = timedelta(days=1)
"""How far back the first tick looks."""

OVERLAP = timedelta(seconds=30)
"""Runs of two processes may be stored in another order than they ended."""

_ENDED_BADLY = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


def report_ended_runs(site: Site, instance: DagsterInstance, *, after: str = "") -> tuple[int, str]:
    """Reports the missing events of runs that failed or were cancelled since the last call.

    Args:
        after: what the last call returned; "" for the first one.

    Returns:
        How many events were reported, and where the next call goes on. At most RUNS_PER_TICK runs are looked at.
    """
    now = site.clock()
    since = datetime.fromisoformat(after) if after else now - FIRST_LOOK
    if since > now:  # the clock was ahead then
        since = now - OVERLAP
    ended = RunsFilter(statuses=_ENDED_BADLY, updated_after=since)
    records = instance.get_run_records(ended, limit=RUNS_PER_TICK, order_by="update_timestamp", ascending=True)
    reported = report_runs(site, instance, records)
    if not records:
        return reported, since.isoformat()
    newest = _utc(records[-1].update_timestamp)
    return reported, (newest if len(records) == RUNS_PER_TICK else max(since, newest - OVERLAP)).isoformat()


def report_runs(site: Site, instance: DagsterInstance, records: Iterable[RunRecord]) -> int:
    """Reports the missing events of these runs, which have ended; how many."""
    imports = {**site.project.partial, **site.project.imports}
    broken: dict[tuple[str, str], OpenItem] | None = None
    reported = 0
    for record in records:
        run = record.dagster_run
        if not is_run_of(run, site.project.placement):
            continue
        bound, key = imports.get(_import_of(run)), run.tags.get(PARTITION_NAME_TAG, "")
        is_own = run.tags.get(ITEM_TAG, key) == key  # else the run shows another item at this partition
        if bound is None or not key or not is_own or is_dry_run(run.tags) or run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        loads = _loads_in_the_table(site, bound, key, run.run_id)
        if loads:
            reported += _report_materialization(site, instance, bound, key, record, loads)
            continue
        plan_partition(instance, run)  # Dagster shows it as failed then, however early the run's creator was killed
        if _is_shown(instance, bound, key, run.run_id):
            continue
        if broken is None:
            found = open_items(site, instance, site.clock())
            broken = {(item.import_name, item.item): item for item in found if item.state in BROKEN}
        item = broken.get((bound.name, key))
        if item is not None:
            instance.report_runless_asset_event(
                failed_item(bound, key, item.state, item.reason, item.next_step, run_id=run.run_id, since=item.since)
            )
            reported += 1
    return reported


def _import_of(run: DagsterRun) -> str:
    """The name of the run's import; of a run that another queue than ours launched, that of its only asset."""
    assets = [key.path[-1] for key in run.asset_selection or ()]
    return run.tags.get(IMPORT_TAG) or (assets[0] if len(assets) == 1 else "")


def _loads_in_the_table(site: Site, bound: BoundImport, key: str, run_id: str) -> list[Load]:
    """The loads that settled the item, of a drain all chunks of a run; none if it is open, or this run's load failed.

    A run whose own load failed has said so itself, also of an item that an earlier run had loaded.
    """
    with site.target_as_it_is.ledger() as connection:
        item = ledger.find_item(connection, bound.name, key)
        state = ledger.find_item_state(connection, bound.name, key)
        own = [load for load in ledger.loads_of_run(connection, run_id) if load.import_name == bound.name]
        if item is None or state is None or state.status not in {"committed", "skipped"}:
            return []
        if own and own[-1].status in {"failed", "refused"}:
            return []
        last = ledger.last_settled_load(connection, item)
        loads = ledger.loads_of_run(connection, last.run_id) if last is not None else []
    return [load for load in loads if (load.import_name, load.item) == (bound.name, key)]


def _report_materialization(
    site: Site, instance: DagsterInstance, bound: BoundImport, key: str, record: RunRecord, loads: list[Load]
) -> int:
    """Reports the item as materialized, unless it is since the run was created; 1 if it was reported."""
    of_partition = AssetRecordsFilter(asset_key(bound), asset_partitions=[key])
    shown = instance.fetch_materializations(of_partition, limit=1).records
    if shown and datetime.fromtimestamp(shown[0].timestamp, UTC) >= _utc(record.create_timestamp):
        return 0
    with site.target_as_it_is.ledger() as connection:
        item = ledger.find_item(connection, bound.name, key)
    report = combined_report([load.report for load in loads])
    metadata = {
        **report_metadata(report, bound),
        **table_metadata(report, bound, item.uri if item is not None else ""),
    }
    instance.report_runless_asset_event(
        AssetMaterialization(
            asset_key(bound),
            partition=key,
            description=f"Run {loads[-1].run_id[:8]} committed it and ended before it could say so",
            metadata=metadata,
        )
    )
    return 1


def _is_shown(instance: DagsterInstance, bound: BoundImport, key: str, run_id: str) -> bool:
    """Whether the partition's newest observation is about the run."""
    of_partition = AssetRecordsFilter(asset_key(bound), asset_partitions=[key])
    for record in instance.fetch_observations(of_partition, limit=1).records:
        observation = record.asset_observation
        about = observation.metadata.get(RUN) if observation is not None else None
        return run_id in {record.run_id, about.value if about is not None else None}
    return False


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
