"""The sensor of a file import.

A tick writes new items to the ledger; then Dagster adds their partitions and launches their runs. If the daemon is
killed in between, the next tick requests the same runs. `run_key` is the item's key, so no run starts twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from dagster import (
    AddDynamicPartitionsRequest,
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets.markdown import plain
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_name
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.resources.connections import client_of, resource_keys
from ingest_pipelines.orchestration.runs.signed_tags import signed_tags
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run, run_tags
from ingest_pipelines.orchestration.sensors.file_items import Listings, find_file_items, period_of
from ingest_pipelines.orchestration.site import Site

RUNS_PER_TICK = 50
"""Dagster needs a tenth of a second to launch a run, and a tick has sixty seconds."""


WHEN_STOPPED = "Ticks skip while the import is a draft or paused; start it with ingest activate or ingest resume."


def watches_files(bound: BoundImport) -> bool:
    """Whether the import has a sensor: it reads files from a source, and not only on a schedule."""
    wanted = bound.spec.sensor is None or bound.spec.sensor.enabled
    return bound.reads_files and not bound.one_time and wanted


def file_sensor(site: Site, bound: BoundImport, listings: Listings) -> SensorDefinition:
    """The sensor that launches a run for each new file of the import."""

    @sensor(
        name=f"{bound.asset_name}__files",
        description=f"{plain(f'New files {bound.spec.source.file} at {bound.connection_name}')}. {WHEN_STOPPED}",
        asset_selection=[asset_key(bound)],
        required_resource_keys=set(resource_keys(bound)),
        minimum_interval_seconds=int(period_of(bound).total_seconds()),
        default_status=DefaultSensorStatus.RUNNING if starts_running(site) else DefaultSensorStatus.STOPPED,
    )
    def files(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        stopped = why_stopped(site, bound)
        if stopped:
            return SkipReason(stopped)
        client = client_of(context.resources, bound)
        file_items = find_file_items(site, bound, listings, first_seen=_read_cursor(context.cursor), client=client)
        waiting = [item for item in file_items.waiting if not has_run(item, context.instance)][:RUNS_PER_TICK]
        cursor = _write_cursor(file_items.unsettled)
        if not waiting:
            return SensorResult(skip_reason=file_items.why_nothing(bound), cursor=cursor)
        return request_runs(bound, waiting, context.instance, cursor=cursor)

    return files


def request_runs(
    bound: BoundImport,
    items: Iterable[Item],
    instance: DagsterInstance,
    *,
    by: str = "sensor",
    cursor: str | None = None,
) -> SensorResult:
    """Requests for the partitions and runs of items that are in the ledger."""
    keys = [str(item.key) for item in items]
    added: list[str] = []
    if bound.spec.source.window is None:
        partitions = set(instance.get_dynamic_partitions(partitions_name(bound)))
        added = [key for key in keys if key not in partitions]
    return SensorResult(
        run_requests=[
            RunRequest(
                run_key=key,
                partition_key=key,
                asset_selection=[asset_key(bound)],
                tags=run_tags(bound) | signed_tags(bound, key, by, instance),
            )
            for key in keys
        ],
        dynamic_partitions_requests=[AddDynamicPartitionsRequest(partitions_name(bound), added)] if added else [],
        cursor=cursor,
    )


def starts_running(site: Site) -> bool:
    """Whether sensors and schedules are on by default; a person can switch each one in the UI.

    Those of drafts and paused imports also tick, and skip, so that `ingest activate` and `resume` work without the UI.
    """
    return site.settings.automation


def why_stopped(site: Site, bound: BoundImport) -> str:
    """Why the import does not run by itself: it is a draft, or paused. "" where it is active."""
    with site.target.session() as connection:
        state = ledger.find_import(connection, bound.name)
    status = state.status if state is not None and state.status is not None else bound.spec.status
    if status == "draft":
        return f"a draft runs only by hand; run: ingest activate {bound.name}"
    if status == "paused":
        return f"paused; run: ingest resume {bound.name}"
    return ""


def has_run(item: Item, instance: DagsterInstance) -> bool:
    """Whether the item has a run, of any sensor or schedule. Dry runs do not count."""
    tags = {PARTITION_NAME_TAG: str(item.key), IMPORT_TAG: item.import_name}
    return any(not is_dry_run(run.tags) for run in instance.get_runs(RunsFilter(tags=tags)))


def _read_cursor(cursor: str | None) -> dict[str, datetime]:
    """Files that were still changing at the last tick, the only state of a sensor; the ledger has the rest."""
    try:
        return {key: datetime.fromisoformat(seen) for key, seen in json.loads(cursor or "{}").items()}
    except (ValueError, AttributeError, TypeError):
        return {}  # a person edited it in the UI


def _write_cursor(unsettled: Mapping[str, datetime]) -> str:
    return json.dumps({key: seen.isoformat() for key, seen in unsettled.items()})
