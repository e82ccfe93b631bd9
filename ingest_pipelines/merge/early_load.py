"""An early load: it begins while the rows are still being validated, and merges each sorted chunk once it is on disk.

It is the load's own transaction, begun sooner, so no other session sees anything of it before the commit. `apply` takes
it over if it holds exactly the accepted rows, and closes it like any other; else it is rolled back, and `apply` starts
over. Errors are swallowed and lock waits are capped at PATIENCE_SECONDS: an early load affects speed, never the result.
The one error that is raised is a refused login that the server counts, because a second try may lock the account.

An early load only copies rows into the stage, and holds no lock, where rows cannot be merged by the chunk
(`Stage.merges_by_chunk`), where another load holds the table, and where the table has to be altered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, TargetDenied
from ingest_pipelines.merge.catalog import read_shape
from ingest_pipelines.merge.copy import copy_accepted, copy_created, copy_profiles, rows_of
from ingest_pipelines.merge.ddl import additions
from ingest_pipelines.merge.faults import Fault, no_fault
from ingest_pipelines.merge.healing import find_waiting, heal
from ingest_pipelines.merge.key_filter import read_key_filter, take_numbers
from ingest_pipelines.merge.late_key import build_key, drop_key
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.mapping import check_mapping
from ingest_pipelines.merge.preconditions import stale
from ingest_pipelines.merge.preflight import find_obstacles
from ingest_pipelines.merge.session import LOADS
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.target import Target, force_index_lookups, lock_table_at_once
from ingest_pipelines.merge.write_steps import Overtaken, alter_target, merge_stage, note_unknown, prepare_merge
from ingest_pipelines.model import Landing, Run, Validated

PATIENCE_SECONDS = 1.0
"""How long an early load waits for a lock. Then `apply` starts over after validation, and waits as other loads do."""


CHUNKS_AT_ONCE = 16
"""Sorted chunks that are merged together: two million rows in a temporary table."""


@dataclass(frozen=True)
class Destination:
    """Where an item's rows go; an early load knows it before they are validated."""

    target: Target
    run: Run
    now: datetime


class EarlyLoad:
    """The load of one item, in a thread."""

    def __init__(self, landing: Landing, bound: BoundImport, destination: Destination, fault: Fault = no_fault) -> None:
        self._target = destination.target
        self.state = LoadState(_nothing_of(landing), bound, destination.run, destination.now)
        self._expected_rows = landing.newlines if landing.rows is None else landing.rows
        self._fault = fault
        self._files: SimpleQueue[Path | None] = SimpleQueue()
        self._chunks_taken: list[Path] = []
        self._rows: int | None = None
        self._connection: psycopg.Connection | None = None
        self._denied: TargetDenied | None = None
        self._thread = Thread(target=self._run, name="early load", daemon=True)
        self._thread.start()

    @property
    def add(self) -> Callable[[Path], None]:
        """Takes the file of a sorted chunk."""
        return self._files.put

    def take(self, validated: Validated) -> tuple[LoadState, psycopg.Connection] | None:
        """The load and its transaction, if it holds exactly these rows; else None, and it is rolled back.

        Raises:
            TargetDenied: the target refused the login and counts such tries.
        """
        self.finish()
        if self._denied is not None:
            raise self._denied
        whole = (tuple(self._chunks_taken), self._rows) == (validated.accepted, validated.accepted_rows)
        if whole and self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.execute("SELECT 1")  # it may have waited for long
                self.state.validated = validated
                return self.state, connection
            except psycopg.Error:
                connection.close()
        self.discard()
        return None

    def discard(self) -> None:
        """Rolls the transaction back."""
        self.finish()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def finish(self) -> None:
        """Waits until the thread has taken all chunks, or has given up."""
        self._files.put(None)
        self._thread.join()

    def _run(self) -> None:
        batches = self._batches()
        first = next(batches, None)
        if first is None:
            return
        state = self.state
        target = Target(self._target.url, PATIENCE_SECONDS, work_mem=self._target.work_mem)
        try:
            self._connection = target.begin(state.bound.name, LOADS)
            shape = open_early(self._connection, state, self._fault)
            if shape is None:
                chunks = (chunk for batch in chain([first], batches) for chunk in batch)
                rows = copy_accepted(self._connection, rows_of(chunks), state.stage, lambda: None)
                state.early = "staged"
            else:
                rows = 0
                for batch in chain([first], batches):
                    if state.key_filter is None:
                        with state.timed("keys"):
                            left = self._expected_rows - rows
                            state.key_filter = read_key_filter(self._connection, state.stage, shape, batch, left)
                            if state.key_filter is not None and drop_key(self._connection, state):
                                self._fault("early: key dropped")
                    rows += merge_chunks(self._connection, state, shape, batch, self._fault)
                with state.timed("keys"):
                    if build_key(self._connection, state):
                        self._fault("early: key built")
            self._rows = rows
        except (IngestError, Overtaken, psycopg.Error, OSError) as problem:
            # `apply` starts over, and raises it if it lasts
            if isinstance(problem, TargetDenied) and problem.counted:
                self._denied = problem

    def _batches(self) -> Iterator[list[Path]]:
        """All chunks that wait, again and again: the longer one merge takes, the more chunks the next one has."""
        while (chunk := self._files.get()) is not None:
            batch = [chunk]
            while len(batch) < CHUNKS_AT_ONCE and not self._files.empty():
                chunk = self._files.get()
                if chunk is None:
                    self._files.put(None)
                    break
                batch.append(chunk)
            yield batch
            self._chunks_taken += batch


def open_early(connection: psycopg.Connection, state: LoadState, fault: Fault = no_fault) -> TableShape | None:
    """The target's shape, the target locked and ready to take chunks; None where chunks are only to be staged.

    Chunks are only staged for a load that looks at all rows before it merges the first, for a table that has triggers
    or would have to be altered while others use it, and while another load holds the table.
    """
    connection.execute(state.stage.create())
    if not state.stage.merges_by_chunk:
        return None
    locked = False
    with connection.transaction() as look:
        locked = _lock_if_ready(connection, state)
        if not locked:
            # The look may have read the table. `apply` waits for the table's lock in this same transaction, and the
            # load that has it may alter the table: with a read lock left here, each would wait for the other.
            raise psycopg.Rollback(look)
    if not locked:
        return None
    fault("early: opened")
    with state.timed("ddl"):
        shape = alter_target(connection, state)
    find_waiting(connection, state)
    heal(connection, state, merged=False)
    prepare_merge(connection, state)
    state.early = "merged"
    return shape


def _lock_if_ready(connection: psycopg.Connection, state: LoadState) -> bool:
    """Locks the target if it can take chunks; returns whether it did."""
    bound, stage, item = state.bound, state.stage, state.validated.landing.item
    if ledger.find_load(connection, item, state.run.id) is not None:
        return False
    if stale(connection, item, bound, state.run) is not None:
        return False
    check_mapping(ledger.find_import(connection, bound.name), bound)
    shape = read_shape(connection, *bound.database.schema_and_table)
    if shape.oid is not None and (shape.guarded or any(additions(stage, shape))):
        return False
    if find_obstacles(connection, stage, shape):
        return False
    return lock_table_at_once(connection, *bound.database.schema_and_table)


def merge_chunks(
    connection: psycopg.Connection, state: LoadState, shape: TableShape, chunks: Sequence[Path], fault: Fault = no_fault
) -> int:
    """Merges some sorted chunks, except rows whose keys are certainly new; returns how many rows the chunks have.

    Those are copied into the target, or only counted. If another application adds such a key before they are copied,
    this fails, and the load begins again.
    """
    settled = staged = 0
    with state.timed("copy"):
        for chunk in chunks:
            settled_rows, staged_rows = _copy_chunk(connection, state, chunk, partial(fault, "early: copying"))
            settled, staged = settled + settled_rows, staged + staged_rows
    fault("early: copied")
    if staged:
        with state.timed("merge"):
            force_index_lookups(connection, staged < (shape.rows + state.inserted) / 2)
            merge_stage(connection, state, shape)
            connection.execute(state.stage.clear())
    fault("early: merged")
    return settled + staged


def _copy_chunk(
    connection: psycopg.Connection, state: LoadState, chunk: Path, after_batch: Callable[[], None]
) -> tuple[int, int]:
    """Settles a chunk's rows with new keys and copies its others into the stage; returns how many of each."""
    if state.key_filter is None:
        return 0, copy_accepted(connection, rows_of([chunk]), state.stage, after_batch)
    new, others = state.key_filter.split(chunk)
    settled = staged = 0
    if len(new) and state.stage.counts_unknown:
        note_unknown(connection, state, new)
        settled = len(new)
    elif len(new):
        numbers = take_numbers(connection, state.key_filter, len(new))
        settled = copy_profiles(connection, new.numbered(numbers), state.stage, after_batch)
        if state.keeps_written:
            copy_created(connection, new.created(numbers, state.key_filter.column))
        state.copied += settled
        state.inserted += settled
    if len(others):
        staged = copy_accepted(connection, others.batches(), state.stage, after_batch)
    return settled, staged


def _nothing_of(landing: Landing) -> Validated:
    """The item before its first row is validated."""
    return Validated(landing, accepted=(), rejects=None, read=0, accepted_rows=0, rejected_rows=0)
