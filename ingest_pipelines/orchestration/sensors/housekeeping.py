"""The housekeeping sensor: one tick every two minutes for what no other tick does.

It clears up dead runs (`runs.dead_runs`), launches runs of lost items (`runs.lost_items`), shows on partitions what
became of runs that ended without an event (`monitoring.partition_events`), and on tables what such runs changed
(`assets.table_events`), and deletes old files, partitions and runs (`runs.run_files`, `runs.prune`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime

from dagster import (
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.assets.table_events import report_untold_changes
from ingest_pipelines.orchestration.automation import HOUSEKEEPING
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.monitoring.partition_events import report_ended_runs
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.runs.dead_runs import clear_up_dead_runs
from ingest_pipelines.orchestration.runs.lost_items import (
    first_runs,
    imports_without_items,
    lost_items,
    missed_looks,
    register_lost_windows,
)
from ingest_pipelines.orchestration.runs.prune import prune_partitions, prune_runs
from ingest_pipelines.orchestration.runs.run_files import forget_settled_runs, purge_runs
from ingest_pipelines.orchestration.sensors.file_sensor import RUNS_PER_TICK, request_runs
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site

SOURCES_PER_TICK = 3
IMPORTS_PER_TICK = 20
"""A tick has sixty seconds, and a source that is down takes five of them; the next tick goes on with the rest."""


@dataclass(frozen=True)
class _Round:
    """Where the next tick goes on. Each tick looks at some imports and some runs, and starts over at the end.

    Attributes:
        turn: number of imports whose partitions were looked at.
        first: number of imports with `run_now` whose source was asked.
        missed: number of imports whose schedule could not see their source, and whose source was asked again.
        run: id of the last old run that was looked at and kept.
        ended: when the last run ended whose partition was compared with the ledger.
    """

    turn: int = 0
    first: int = 0
    missed: int = 0
    run: str = ""
    ended: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> _Round:
        try:
            kept = json.loads(cursor or "{}")
            ended = str(kept.get("ended", ""))
            if ended:
                datetime.fromisoformat(ended)
            return cls(
                int(kept.get("turn", 0)),
                int(kept.get("first", 0)),
                int(kept.get("missed", 0)),
                str(kept.get("run", "")),
                ended,
            )
        except (ValueError, AttributeError, TypeError):
            return cls()  # a person edited it in the UI

    def write(self) -> str:
        return json.dumps(asdict(self))


def housekeeping_sensor(site: Site, imports: Sequence[BoundImport], listings: Listings) -> SensorDefinition:
    """The sensor that launches lost runs and first runs, and deletes old files, partitions and runs.

    Args:
        listings: shared with the imports' own sensors and schedules.
    """

    @sensor(
        name=site.project.placement.named(HOUSEKEEPING),
        description="Launches lost runs and the first runs of new imports; deletes old files, partitions and runs.",
        asset_selection=[asset_key(bound) for bound in imports],
        minimum_interval_seconds=120,
        default_status=DefaultSensorStatus.RUNNING if site.settings.automation else DefaultSensorStatus.STOPPED,
    )
    @without_stack
    def housekeeping(context: SensorEvaluationContext) -> SensorResult:
        now, instance = site.clock(), context.instance
        at = _Round.read(context.cursor)
        removed = len(clear_up_dead_runs(site, instance)) + purge_runs(site.settings, now, instance)
        removed += forget_settled_runs(site, instance)
        _, last_ended = report_ended_runs(site, instance, after=at.ended)
        report_untold_changes(site, instance)
        pruned = prune_partitions(site, imports[at.turn : at.turn + IMPORTS_PER_TICK], instance)
        deleted, last_run = prune_runs(site, instance, now, after=at.run)
        fresh = imports_without_items(site, imports)
        asked = fresh[at.first : at.first + SOURCES_PER_TICK]
        for renamed in imports:
            with suppress(UsageError):  # `ingest check` and the import's own ticks say it
                take_over_history(site, renamed, instance, HOUSEKEEPING)
        first = [request for bound in asked for request in first_runs(site, bound, instance, listings)]
        missed = missed_looks(site, imports)
        for bound in missed[at.missed : at.missed + SOURCES_PER_TICK]:
            first += first_runs(site, bound, instance, listings, tick="missed")
        register_lost_windows(site, instance, now)
        lost = lost_items(site, instance, now)[: max(0, RUNS_PER_TICK - len(first))]
        results = [
            request_runs(site.project.imports[item.import_name], {item.key: request.run_key}, instance, by=HOUSEKEEPING)
            for item, request in lost
        ]
        runs = [*first, *(run for result in results for run in result.run_requests or ())]
        words = f"no item waits for a run; deleted: files of {removed} runs, {pruned} partitions, {deleted} runs"
        following = _Round(
            turn=at.turn + IMPORTS_PER_TICK if at.turn + IMPORTS_PER_TICK < len(imports) else 0,
            first=at.first + SOURCES_PER_TICK if at.first + SOURCES_PER_TICK < len(fresh) else 0,
            missed=at.missed + SOURCES_PER_TICK if at.missed + SOURCES_PER_TICK < len(missed) else 0,
            run=last_run,
            ended=last_ended,
        )
        return SensorResult(
            run_requests=runs,
            skip_reason=None if runs else SkipReason(words),
            dynamic_partitions_requests=[add for result in results for add in result.dynamic_partitions_requests or ()],
            cursor=following.write(),
        )

    return housekeeping
