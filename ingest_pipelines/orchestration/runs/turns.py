"""The order of an import's items, kept by their runs: a run waits until the items before its own are settled.

So it holds on every Dagster instance, however many runs are launched at once and in whatever order they start. (The
queue of `ingest up` starts an import's runs one by one; there, no run finds an item before its own.)

The run of the first item never waits, and a run waits only while that one makes progress. If it does not, it may need
the waiting run's place: the limit of concurrent runs may be reached, or the cluster full. So the waiting run gives its
place back. It ends without a load, and its item is requested again, like one whose run died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from logging import Logger
from time import monotonic, sleep

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.ledger import WaitingItem
from ingest_pipelines.model import ItemKind
from ingest_pipelines.orchestration.automation import why_stopped
from ingest_pipelines.orchestration.dagster_internals.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.ended_runs import stop_if_ended
from ingest_pipelines.orchestration.runs.item_runs import ItemRuns, runs_of_items
from ingest_pipelines.orchestration.runs.run_context import RunContext
from ingest_pipelines.orchestration.runs.run_requests import BY_HAND, NextRequest, next_request
from ingest_pipelines.orchestration.runs.tags import GAVE_WAY, REQUESTED_BY_ITSELF, TURN_TAG, is_run_of

LOOK_SECONDS = 1.0
"""Between two looks of a run that waits: a query of the ledger and one of Dagster's storage."""

QUEUE_SECONDS = 60.0
"""So long the first item's run may be in the queue; one that has a place for it needs some five seconds."""

START_SECONDS = 300.0
"""So long it may take to start, once it has a place: a pod may wait for its image, or for a node of the cluster."""

LONGEST_WAIT_SECONDS = 600.0
"""Then a waiting run gives its place to others, and waits in the queue again."""

REQUESTED_WITHIN = timedelta(minutes=8)
"""So late a sensor, a schedule or housekeeping may request a run that is due. After that nobody waits for it."""

MOST_DEAD_RUNS = 3
"""An item whose runs died so often does not hold up the others any more."""

_LOADED_ONCE: frozenset[ItemKind] = frozenset({"file", "window"})
"""Kinds of items that hold the same rows whenever they are read. A drain's item is committed chunk by chunk."""

_EXECUTING = {DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING}
_UNFINISHED = [
    DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]  # fmt: skip


@dataclass(frozen=True)
class First:
    """The first item in line that is still to be loaded.

    Attributes:
        executes: its run makes progress.
        patience: how many seconds a run may wait for it while it does not.
    """

    key: str
    executes: bool
    patience: float


def has_turn(
    run_context: RunContext,
    run: DagsterRun,
    instance: DagsterInstance,
    log: Logger,
    rest: Callable[[float], None] = sleep,
    clock: Callable[[], float] = monotonic,
) -> bool:
    """Whether the run may load its item now; waits for that. False: it gave its place back, and is to end at once.

    Where no item is before its own, `run_context` says so, and nothing else is asked. A run that nobody started by hand
    ends at once, too, if another run has settled its item: loaded once more, a file would undo what came after it.

    Args:
        rest: waits that many seconds; the end of the run interrupts it.
        clock: seconds of a clock that never goes back.

    Raises:
        UsageError: it gave its place back, and nobody requests a run of its item by itself.
        DagsterExecutionInterruptedError: the run was ended meanwhile.
    """
    site, item = run_context.site, run_context.item
    if run_context.run.dry_run or item.kind in BY_HAND or site.asked is not None:
        return True
    before = run_context.before
    began = progressed = clock()
    waits_for = ""
    while (first := first_in_line(run_context, before, run, instance)) is not None:
        now = clock()
        progressed = now if first.executes else progressed
        if now - progressed >= first.patience or now - began >= LONGEST_WAIT_SECONDS:
            _give_way(run_context, instance, first, log)
            return False
        if first.key != waits_for:
            waits_for = first.key
            log.info("Item %s comes before this one. Waiting for its load.", first.key)
        rest(LOOK_SECONDS)
        stop_if_ended(instance, run.run_id)
        with site.target.session() as connection:
            before = ledger.waiting_before(connection, item)
    return not _is_settled(run_context, log)


def _is_settled(run_context: RunContext, log: Logger) -> bool:
    """Whether another run settled the item, which two sensors may have asked for: its own and housekeeping's."""
    site, item = run_context.site, run_context.item
    if run_context.run.by not in REQUESTED_BY_ITSELF or item.kind not in _LOADED_ONCE:
        return False
    with site.target.session() as connection:
        state = ledger.find_item_state(connection, item.import_name, item.key)
    if state is None or state.status not in {"committed", "skipped"}:
        return False
    log.info("Item %s is %s already, by another run. This run loads nothing.", item.key, state.status)
    return True


def first_in_line(
    run_context: RunContext, before: Sequence[WaitingItem], run: DagsterRun, instance: DagsterInstance
) -> First | None:
    """The first of these items that is still to be loaded, or an earlier window of the run's backfill; None: none."""
    found: list[First] = []
    if before:
        bound, now = run_context.bound, run_context.site.clock()
        places = [(bound.name, each.item.key) for each in before]
        runs = runs_of_items(places, bound.placement, instance, now)
        by_itself = _runs_by_itself(run_context)
        found = [
            first
            for each in before
            if (first := _to_be_loaded(run_context, each, runs.get((bound.name, each.item.key)), now, by_itself))
        ]
    windows = list(_earlier_windows(run_context, run, instance))
    if windows:
        return min([*found, *windows], key=lambda first: first.key)  # the keys of windows are in order
    return found[0] if found else None


def _to_be_loaded(
    run_context: RunContext, each: WaitingItem, runs: ItemRuns | None, now: datetime, by_itself: bool
) -> First | None:
    """The item in line; None: it has no run, and none is requested soon."""
    key = str(each.item.key)
    request = next_request(each.state, each.item.kind, runs)
    if runs is not None and runs.in_progress:
        alive = run_locks.life_of(run_context.site.settings.state, runs.newest) != "dead"
        return First(key, runs.status in _EXECUTING and alive, _patience(runs.status))
    if not by_itself or each.state.status != "new" or not _is_requested_soon(request, runs, now):
        return None  # a load that has failed does not hold up others, and neither does an item that waits for a person
    return First(key, executes=False, patience=QUEUE_SECONDS if runs is None else 0.0)


def _is_requested_soon(request: NextRequest, runs: ItemRuns | None, now: datetime) -> bool:
    if request.at is None or request.on_tick or (runs is not None and runs.ended >= MOST_DEAD_RUNS):
        return False
    return now <= request.at + REQUESTED_WITHIN


def _earlier_windows(run_context: RunContext, run: DagsterRun, instance: DagsterInstance) -> Iterator[First]:
    """Windows whose runs the same backfill launched; the ledger has a window once its run has read it."""
    backfill = run.tags.get(BACKFILL_ID_TAG)
    if backfill is None or run_context.bound.spec.source.window is None:
        return
    unfinished = RunsFilter(statuses=_UNFINISHED, tags={BACKFILL_ID_TAG: backfill})
    for other in instance.get_runs(unfinished):
        window = other.tags.get(PARTITION_NAME_TAG, "")
        same_import = other.asset_selection == run.asset_selection and is_run_of(other, run_context.bound.placement)
        if same_import and "" < window < str(run_context.item.key):
            yield First(window, other.status in _EXECUTING, _patience(other.status))


def _patience(status: DagsterRunStatus) -> float:
    return START_SECONDS if status is DagsterRunStatus.STARTING else QUEUE_SECONDS


def _runs_by_itself(run_context: RunContext) -> bool:
    """Whether a sensor, a schedule or housekeeping requests runs of the import."""
    return run_context.site.settings.automation and not why_stopped(run_context.site, run_context.bound)


def _give_way(run_context: RunContext, instance: DagsterInstance, first: First, log: Logger) -> None:
    item, name = run_context.item, run_context.bound.name
    if not _runs_by_itself(run_context):
        raise UsageError(
            f"import {name}, item {item.key}: item {first.key} comes before it, and its run does not go on; nothing "
            "was loaded",
            hint=f"load that item first, or at once: ingest run {name} --item {item.key}",
        )
    with run_context.site.target.session() as connection:
        ledger.register_items(connection, [item], run_context.site.clock())  # a window of a backfill
    instance.add_run_tags(run_context.run.id, {TURN_TAG: GAVE_WAY})
    log.warning(
        "Item %s comes before this one, and its run does not go on. This run gives its place back and loads nothing. "
        "A run of its item is requested again by itself.",
        first.key,
    )
