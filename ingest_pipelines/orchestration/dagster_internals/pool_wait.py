"""A run that waits for a pool rests between two claims, says what it waits for, and frees the slots of dead runs.

Dagster's executor claims a slot, and where there is none it computes how long to rest before the next claim. That
interval (`interval_to_next_pending_claim_check`) is never above 0 s, so each waiting run keeps a core busy, while the
time between two claims grows to 15 s, during which a free slot stays unused. Twenty imports into one table took 198 s
for it, and 340 s of CPU. A process that is killed keeps its slot; the run that waits frees it. A slot that is freed is
given to the run that is first in line, so only that one looks often.

Waits for: dagster pull request 20367, closed without a merge, which mends the interval; and for slots that end with
their process (33643 documents that they do not).
If `claim_concurrency_slot`, `get_concurrency_info` or the table of pending steps change: waiting runs use CPU and start
up to 15 s late, and a killed run keeps its pool until Dagster's run monitoring frees it. The lock on the table stays
the real guard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from dagster import DagsterInstance, RunRecord, raise_execution_interrupts
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import PendingStepsTable
from dagster._utils.concurrency import ConcurrencyClaimStatus
from dagster_shared.record import replace
from sqlalchemy import select

from ingest_pipelines.merge.target import WAITS, WARN_AFTER_SECONDS
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.fail_dead_run import fail_dead_run
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG

REST_SECONDS = 0.5
"""Between two claims of one run; twenty waiting runs claim forty times a second."""

FIRST_REST_SECONDS = 0.05
"""Between two looks of the run that is first in line: one small query each."""

LOOK_SECONDS = 1.5
"""Between two looks at which runs hold the pool."""


@dataclass
class _Wait:
    """A step that waits for a slot.

    Attributes:
        since: when its first claim was refused.
        looked: when it last looked at which runs hold the pool.
        message: the last one that it logged.
    """

    since: float
    looked: float = float("-inf")
    message: str = ""


def rest_between_claims(
    storage: SqlEventLogStorage,
    state: Path,
    rest: Callable[[float], None] = sleep,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Replaces `claim_concurrency_slot`: a refused claim rests here, and the executor may claim again at once.

    Args:
        state: the state folder, whose locks say which runs live.
        rest: waits that many seconds; the end of the run interrupts it.
        clock: seconds of a clock that never goes back.
    """
    original = storage.claim_concurrency_slot
    waits: dict[tuple[str, str], _Wait] = {}

    def claim_concurrency_slot(
        concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        run_locks.hold(state, run_id)
        status = original(concurrency_key, run_id, step_key, priority)
        now = clock()
        wait = waits.setdefault((run_id, step_key), _Wait(now))
        if not status.is_claimed and now - wait.looked >= LOOK_SECONDS:
            wait.looked = now
            if _free_dead_slots(storage, state, concurrency_key, run_id):
                status = original(concurrency_key, run_id, step_key, priority)
            elif now - wait.since >= WARN_AFTER_SECONDS:
                message = _reason_to_wait(storage, state, concurrency_key, run_id)
                if message and message != wait.message:
                    wait.message = message
                    _log(storage, run_id, message)
        if status.is_claimed:
            del waits[run_id, step_key]
            return status
        with raise_execution_interrupts():
            _rest(storage, concurrency_key, (run_id, step_key), rest)
        return replace(status, sleep_interval=0.0)

    storage.claim_concurrency_slot = claim_concurrency_slot  # type: ignore[method-assign]


def _rest(storage: SqlEventLogStorage, pool: str, step: tuple[str, str], rest: Callable[[float], None]) -> None:
    """Rests until the next claim: REST_SECONDS, or less where the step is first in line and gets a slot meanwhile."""
    if _first_in_line(storage, pool) != step:
        rest(REST_SECONDS)
        return
    for _ in range(round(REST_SECONDS / FIRST_REST_SECONDS)):
        rest(FIRST_REST_SECONDS)
        if _first_in_line(storage, pool) != step:
            return


def _first_in_line(storage: SqlEventLogStorage, pool: str) -> tuple[str, str] | None:
    """Run and key of the step that gets the pool's next slot, as `assign_pending_steps` chooses it."""
    steps = PendingStepsTable.c
    query = (
        select(steps.run_id, steps.step_key)
        .where(steps.concurrency_key == pool, steps.assigned_timestamp.is_(None))
        .order_by(steps.priority.desc(), steps.create_timestamp.asc())
        .limit(1)
    )
    with storage.index_connection() as connection:
        row = connection.execute(query).fetchone()
    return None if row is None else (row[0], row[1])


def _free_dead_slots(storage: SqlEventLogStorage, state: Path, pool: str, own_run: str) -> bool:
    """Whether a slot of a run that is dead or has ended was freed.

    A run that died while it waited counts too: its turn would come, and it would never begin.
    """
    instance: DagsterInstance = storage._instance
    info = storage.get_concurrency_info(pool)
    other_runs = {slot.run_id for slot in info.claimed_slots} | {step.run_id for step in info.pending_steps}
    freed = False
    for run_id in sorted(other_runs - {own_run}):
        life = run_locks.life_of(state, run_id)
        run = instance.get_run_by_id(run_id) if life == "unknown" else None
        with run_locks.claim_dead(state, run_id) as is_dead:  # one of the waiting runs is enough
            if is_dead or (run is not None and run.is_finished):
                fail_dead_run(instance, run_id)
                freed = True
    return freed


def _reason_to_wait(storage: SqlEventLogStorage, state: Path, pool: str, own_run: str) -> str:
    """Which run holds the pool, for a person; "" where none does at this moment."""
    instance: DagsterInstance = storage._instance
    for slot in storage.get_concurrency_info(pool).claimed_slots:
        record = instance.get_run_record_by_id(slot.run_id)
        if record is None or slot.run_id == own_run:
            continue
        holder, life = run_locks.holder_of(state, slot.run_id), run_locks.life_of(state, slot.run_id)
        if life == "dead":
            continue  # it died since the last look, and the next look frees its slot
        if life == "alive" and holder is not None:
            where = f"it is alive, as process {holder.pid} of {holder.host}"
        else:
            where = (
                "this machine cannot tell whether it is alive; if it is not, free its slot in the Dagster UI: "
                f"Deployment, Concurrency, {pool}"
            )
        return f"waiting for pool {pool}: {_described(record)} holds it; {where}"
    return ""


def _described(record: RunRecord) -> str:
    run = record.dagster_run
    since = datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), UTC)
    item = run.tags.get(PARTITION_NAME_TAG, "")
    about = f" of import {run.tags[IMPORT_TAG]}" if IMPORT_TAG in run.tags else ""
    return f"run {run.run_id[:8]}{about}{f', item {item},' if item else ''} since {since:%Y-%m-%d %H:%M:%S} UTC"


def _log(storage: SqlEventLogStorage, run_id: str, message: str) -> None:
    """The message on the command's terminal, and on the run's page."""
    instance: DagsterInstance = storage._instance
    WAITS.warning("%s", message)
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.report_engine_event(message[0].upper() + message[1:], run)
