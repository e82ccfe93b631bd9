"""The sensor of an import with `after`: it runs the import when one of the assets that it names is materialized.

A tick does what a tick of the import's schedule does. What it has seen of the assets is its cursor, and moves only when
runs are requested: a materialization while the import is paused, or while a run of it is in progress, is answered by a
run that begins after it. A run that fails is requested again like any other (`runs.run_requests`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from dagster import (
    AssetKey,
    DagsterInstance,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.asset_keys import spelled_key
from ingest_pipelines.orchestration.assets.markdown import plain
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.automation import WHEN_STOPPED, may_look_first, starts_running, why_stopped
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.schedules.cursor_looks import CursorLooks
from ingest_pipelines.orchestration.schedules.import_schedule import due_run_requests, overlap
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site

SECONDS = 15
"""Between two ticks. A tick is one query of Dagster's storage per asset, while none of them is materialized."""


def upstream_sensor(site: Site, bound: BoundImport, listings: Listings, looks: CursorLooks) -> SensorDefinition:
    """The sensor that runs the import when an asset before it is materialized.

    Args:
        listings, looks: shared by the imports of a connection.
    """
    names = ", ".join(map(spelled_key, bound.spec.after))

    @sensor(
        name=f"{bound.asset_name}__after",
        description=f"{plain(f'Runs {bound.spec.after_words}')}. {WHEN_STOPPED}",
        asset_selection=[asset_key(bound)],
        minimum_interval_seconds=SECONDS,
        default_status=DefaultSensorStatus.RUNNING if starts_running(site, bound) else DefaultSensorStatus.STOPPED,
    )
    @without_stack
    def after(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        seen = _read_cursor(context.cursor)
        newest = _materializations(bound.spec.after, context.instance)
        fresh = {key: event for key, event in newest.items() if event > seen.get(key, 0)}
        if not fresh:
            return SkipReason(f"{names}: not materialized since the last run was requested")
        why_not = why_stopped(site, bound) or overlap(bound, context.instance)
        if why_not:
            return SkipReason(f"{', '.join(fresh)}: materialized, and answered later: {why_not}")
        take_over_history(site, bound, context.instance, "sensor")
        cursor = json.dumps({**seen, **fresh}, sort_keys=True)
        if may_look_first(bound) and looks.find_nothing_new(site, bound):
            nothing_new = f"{', '.join(fresh)}: materialized; {bound.connection_name} has no row after the cursor"
            return SensorResult(skip_reason=nothing_new, cursor=cursor)
        requests = due_run_requests(
            site, bound, listings, context.instance, by="sensor", tick=f"after-{max(fresh.values())}"
        )
        if isinstance(requests, SkipReason):
            return SensorResult(skip_reason=requests, cursor=cursor)
        return SensorResult(run_requests=requests, cursor=cursor)

    return after


def _materializations(keys: Iterable[tuple[str, ...]], instance: DagsterInstance) -> dict[str, int]:
    """The storage id of the newest materialization of each asset that has one."""
    newest: dict[str, int] = {}
    for key in keys:
        records = instance.fetch_materializations(AssetKey(list(key)), limit=1).records
        if records:
            newest[spelled_key(key)] = records[0].storage_id
    return newest


def _read_cursor(cursor: str | None) -> dict[str, int]:
    """Per asset the newest materialization that was answered. The first tick answers one that is there already."""
    try:
        return {str(key): int(event) for key, event in json.loads(cursor or "{}").items()}
    except (ValueError, AttributeError, TypeError):
        return {}  # a person edited it in the UI
