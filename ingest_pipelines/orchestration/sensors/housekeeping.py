"""The housekeeping sensor: launches what was forgotten, and removes what nobody will ask for.

Removed are files of old runs, partitions beyond the last thousand of an import, and old runs that say nothing that the
ledger does not say. What the ledger has not settled stays, and so does every partition's last materialization.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
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
from ingest_pipelines.errors import IngestError
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_name
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.io_managers.step_outputs import purge_runs
from ingest_pipelines.orchestration.runs.dead_runs import sweep
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run
from ingest_pipelines.orchestration.schedules.cron import outside
from ingest_pipelines.orchestration.schedules.import_schedule import requests
from ingest_pipelines.orchestration.sensors.file_items import Listings
from ingest_pipelines.orchestration.sensors.file_sensor import RUNS_PER_TICK, has_run, request_runs, why_stopped
from ingest_pipelines.orchestration.site import Site

LOST_AFTER = timedelta(minutes=5)
"""An item that waits this long without a run was forgotten by a crash."""

KEPT_PARTITIONS = 1_000
KEPT_RUNS = timedelta(days=90)

SOURCES_PER_TICK = 3
IMPORTS_PER_TICK = 20
REMOVED_PER_TICK = 100
"""A tick has sixty seconds, and a source that is down takes ten of them; what is left over waits for the next tick."""

_SETTLED = {"committed", "skipped"}
_USELESS = {DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


@dataclass(frozen=True)
class _Round:
    """Where the next tick goes on: it looks at some imports and some runs, and begins anew at the end.

    Attributes:
        turn: imports whose partitions were looked at.
        first: imports with `run_now` whose source was asked.
        run: the last old run that was looked at and kept.
    """

    turn: int = 0
    first: int = 0
    run: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> _Round:
        try:
            kept = json.loads(cursor or "{}")
            return cls(int(kept.get("turn", 0)), int(kept.get("first", 0)), str(kept.get("run", "")))
        except (ValueError, AttributeError, TypeError):
            return cls()  # a person edited it in the UI

    def write(self) -> str:
        return json.dumps(asdict(self))


def housekeeping_sensor(site: Site, imports: Sequence[BoundImport]) -> SensorDefinition:
    """The sensor that launches what was forgotten and removes what nobody will ask for."""

    @sensor(
        name="housekeeping",
        description="Launches what a crash left without a run, and first runs; removes old files, partitions, runs.",
        asset_selection=[asset_key(bound) for bound in imports],
        minimum_interval_seconds=120,
        default_status=DefaultSensorStatus.RUNNING if site.settings.automation else DefaultSensorStatus.STOPPED,
    )
    def housekeeping(context: SensorEvaluationContext) -> SensorResult:
        now, instance = site.clock(), context.instance
        at = _Round.read(context.cursor)
        removed = len(sweep(site, instance)) + purge_runs(site.settings, now, instance)
        pruned = prune_partitions(site, imports[at.turn : at.turn + IMPORTS_PER_TICK], instance)
        deleted, last_run = prune_runs(site, instance, now, after=at.run)
        fresh = without_a_run(site, imports)
        asked = fresh[at.first : at.first + SOURCES_PER_TICK]
        first = [request for bound in asked for request in first_runs(site, bound, instance)]
        lost = forgotten(site, instance, now)[: max(0, RUNS_PER_TICK - len(first))]
        results = [
            request_runs(site.project.imports[item.import_name], [item], instance, by="housekeeping") for item in lost
        ]
        runs = [*first, *(run for result in results for run in result.run_requests or ())]
        words = f"nothing was forgotten; removed: files of {removed} runs, {pruned} partitions, {deleted} runs"
        following = _Round(
            turn=at.turn + IMPORTS_PER_TICK if at.turn + IMPORTS_PER_TICK < len(imports) else 0,
            first=at.first + SOURCES_PER_TICK if at.first + SOURCES_PER_TICK < len(fresh) else 0,
            run=last_run,
        )
        return SensorResult(
            run_requests=runs,
            skip_reason=None if runs else SkipReason(words),
            dynamic_partitions_requests=[add for result in results for add in result.dynamic_partitions_requests or ()],
            cursor=following.write(),
        )

    return housekeeping


def forgotten(site: Site, instance: DagsterInstance, now: datetime) -> list[Item]:
    """Items that wait and have no run: Dagster died between writing them down and launching it."""

    @cache
    def runs_by_itself(name: str) -> bool:
        bound = site.project.imports.get(name)
        return bound is not None and not why_stopped(site, bound)

    with site.target.session() as connection:
        waiting = ledger.waiting_items(connection, now - LOST_AFTER)
    return [item for item in waiting if runs_by_itself(item.import_name) and not has_run(item, instance)]


def without_a_run(site: Site, imports: Sequence[BoundImport]) -> list[BoundImport]:
    """Imports with `run_now` of which the ledger knows no item yet."""
    now = site.clock()
    plans = [(bound, bound.spec.schedule) for bound in imports]
    eager = [bound for bound, plan in plans if plan is not None and plan.run_now and not outside(plan, now)]
    if not eager:
        return []
    with site.target.session() as connection:
        fresh = ledger.imports_without_items(connection, [bound.name for bound in eager])
    return [bound for bound in eager if bound.name in fresh]


def first_runs(site: Site, bound: BoundImport, instance: DagsterInstance) -> Iterator[RunRequest]:
    """The run that `run_now` asks for, if the import is active and its source has something."""
    if why_stopped(site, bound):
        return
    try:
        found = requests(site, bound, Listings(), instance, by="schedule", tick="first")
    except IngestError:
        return  # the source is not there yet; the import's own schedule says so in its ticks
    if not isinstance(found, SkipReason):
        yield from found


def prune_partitions(site: Site, imports: Sequence[BoundImport], instance: DagsterInstance) -> int:
    """Of each import the last KEPT_PARTITIONS keys stay, and those that no load has settled; how many keys went."""
    gone = 0
    for bound in imports:
        if bound.spec.source.window is not None:
            continue
        name = partitions_name(bound)
        keys = instance.get_dynamic_partitions(name)
        old = keys[: max(0, len(keys) - KEPT_PARTITIONS)]
        if not old:
            continue
        with site.target.session() as connection:
            states = ledger.item_states(connection, bound.name, old)
        settled = {str(state.key) for state in states if state.status in _SETTLED}
        for key in [key for key in old if key in settled][: REMOVED_PER_TICK - gone]:
            instance.delete_dynamic_partition(name, key)
            gone += 1
    return gone


def prune_runs(site: Site, instance: DagsterInstance, now: datetime, *, after: str = "") -> tuple[int, str]:
    """Of the next old runs those that nobody will ask for are gone.

    Args:
        after: a run that was kept by an earlier tick.

    Returns:
        How many went, and the last run that was kept; "" at the end of all.
    """
    statuses = [*_USELESS, DagsterRunStatus.SUCCESS]
    old = RunsFilter(statuses=statuses, updated_before=now - KEPT_RUNS)
    records = instance.get_run_records(old, limit=REMOVED_PER_TICK, ascending=True, cursor=after or None)
    if not records:
        return 0, ""

    @cache
    def partitions(name: str) -> set[str]:
        return set(instance.get_dynamic_partitions(name))

    def is_shown(name: str, key: str) -> bool:
        bound = site.project.imports.get(name)
        return bound is None or bound.spec.source.window is not None or key in partitions(partitions_name(bound))

    gone = 0
    with site.target.session() as connection:
        for record in records:
            run = record.dagster_run
            name, key = run.tags.get(IMPORT_TAG, ""), run.tags.get(PARTITION_NAME_TAG, "")
            state = ledger.find_item_state(connection, name, key)
            settled = state is not None and state.status in _SETTLED
            useless = run.status in _USELESS or not is_shown(name, key)
            if is_dry_run(run.tags) or (settled and useless):
                instance.delete_run(run.run_id)
                gone += 1
            else:
                after = run.run_id
    return gone, after
