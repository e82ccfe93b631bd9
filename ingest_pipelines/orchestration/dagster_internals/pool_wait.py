"""Waiting for a pool: a run that waits rests meanwhile, says what it waits for, and ends when it is asked to.

Dagster's executor asks for a place in a pool, and where there is none it computes how long to rest until it asks again:
`interval_to_next_pending_claim_check` never says more than nothing. So each waiting run keeps a core busy, while the
times between two questions grow to 15 seconds, during which a free pool stays unused. Twenty imports into one table
took 198 seconds for it, and 340 seconds of CPU.

A place is given back by the process that holds it. Where that was killed, the run that waits gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from dagster import DagsterInstance, RunRecord, raise_execution_interrupts
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._utils.concurrency import ConcurrencyClaimStatus
from dagster_shared.record import replace

from ingest_pipelines.merge.target import WAITS, WARN_AFTER_SECONDS
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.run_context import IMPORT_TAG

DIED = "its process ended before the run did: it was killed, or the machine went down"

REST_SECONDS = 0.5
"""Between two questions of one run; twenty that wait ask forty times a second."""

LOOK_SECONDS = 1.5
"""Between two looks at who holds the pool."""


@dataclass
class _Wait:
    """A step that waits for its place.

    Attributes:
        told: what was said last.
    """

    since: float
    looked: float = float("-inf")
    told: str = ""


def wait_in_turn(
    storage: SqlEventLogStorage,
    state: Path,
    rest: Callable[[float], None] = sleep,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Who is refused a place rests here, and may ask again at once. Places of dead runs are given back.

    Args:
        state: the state folder, whose locks say which runs live.
        rest: waits that many seconds; a run that is terminated ends it.
    """
    ask = storage.claim_concurrency_slot
    waits: dict[tuple[str, str], _Wait] = {}

    def claim_concurrency_slot(
        concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        run_locks.hold(state, run_id)
        status = ask(concurrency_key, run_id, step_key, priority)
        now = clock()
        wait = waits.setdefault((run_id, step_key), _Wait(now))
        if not status.is_claimed and now - wait.looked >= LOOK_SECONDS:
            wait.looked = now
            if _free_dead(storage, state, concurrency_key, run_id):
                status = ask(concurrency_key, run_id, step_key, priority)
            elif now - wait.since >= WARN_AFTER_SECONDS:
                words = _who_holds(storage, state, concurrency_key, run_id)
                if words and words != wait.told:
                    wait.told = words
                    _tell(storage, run_id, words)
        if status.is_claimed:
            del waits[run_id, step_key]
            return status
        with raise_execution_interrupts():
            rest(REST_SECONDS)
        return replace(status, sleep_interval=0.0)

    storage.claim_concurrency_slot = claim_concurrency_slot  # type: ignore[method-assign]


def end_dead_run(instance: DagsterInstance, run_id: str) -> None:
    """The dead run is failed in Dagster, and its places in pools are free."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, f"The run is dead: {DIED}. What it had not committed is not in the table.")
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _free_dead(storage: SqlEventLogStorage, state: Path, pool: str, own_run: str) -> bool:
    """Whether a place of a dead run, or of one that has ended, was given back.

    Also a run that died while it waited takes its turn once it comes, and never begins.
    """
    instance: DagsterInstance = storage._instance
    found = storage.get_concurrency_info(pool)
    others = {slot.run_id for slot in found.claimed_slots} | {step.run_id for step in found.pending_steps}
    freed = False
    for run_id in sorted(others - {own_run}):
        life = run_locks.life_of(state, run_id)
        run = instance.get_run_by_id(run_id) if life == "unknown" else None
        with run_locks.claim_dead(state, run_id) as is_dead:  # one of those who wait for it is enough
            if is_dead or (run is not None and run.is_finished):
                end_dead_run(instance, run_id)
                freed = True
    return freed


def _who_holds(storage: SqlEventLogStorage, state: Path, pool: str, own_run: str) -> str:
    """What a run waits for, in words; "" where nobody holds the pool at this moment."""
    instance: DagsterInstance = storage._instance
    for slot in storage.get_concurrency_info(pool).claimed_slots:
        record = instance.get_run_record_by_id(slot.run_id)
        if record is None or slot.run_id == own_run:
            continue
        holder, life = run_locks.holder_of(state, slot.run_id), run_locks.life_of(state, slot.run_id)
        if life == "dead":
            continue  # it died since we looked, and is cleared up at the next look
        if life == "alive" and holder is not None:
            where = f"it lives, as process {holder.pid} of {holder.host}"
        else:
            where = (
                "this machine cannot tell whether it lives; if it does not, free its slot in the Dagster UI: "
                f"Deployment, Concurrency, {pool}"
            )
        return f"waiting for pool {pool}: {_named(record)} has it; {where}"
    return ""


def _named(record: RunRecord) -> str:
    run = record.dagster_run
    since = datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), UTC)
    item = run.tags.get("dagster/partition", "")
    about = f" of import {run.tags[IMPORT_TAG]}" if IMPORT_TAG in run.tags else ""
    return f"run {run.run_id[:8]}{about}{f', item {item},' if item else ''} since {since:%Y-%m-%d %H:%M:%S} UTC"


def _tell(storage: SqlEventLogStorage, run_id: str, words: str) -> None:
    instance: DagsterInstance = storage._instance
    WAITS.warning("%s", words)
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.report_engine_event(words[0].upper() + words[1:], run)
