"""A load that begins while its rows are judged: a run of accepted rows is merged as soon as it lies sorted on disk.

The load's transaction begins here: nobody sees anything of it before its commit. `apply` takes it over where it holds
exactly the accepted rows, and closes it as it closes every other; else it is rolled back, and `apply` begins anew. So
nothing here raises (but for a login that counts, and must not be tried twice), nothing here waits for anybody, and
nothing depends on it but time.

Where rows cannot be merged by the run (`Stage.merges_by_chunk`), or somebody else is loading the table, or it has to be
altered, they are copied into the stage, and no lock is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import psycopg

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, TargetDenied
from ingest_pipelines.merge.apply import merge_chunks, open_early
from ingest_pipelines.merge.copy import copy_accepted, rows_of
from ingest_pipelines.merge.faults import Fault, no_fault
from ingest_pipelines.merge.key_filter import read_key_filter
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.target import Target, begin
from ingest_pipelines.model import Landing, Run, Validated

PATIENCE_SECONDS = 1.0
"""How long a lock is waited for; then the load begins anew after the last row is judged, and waits as others do."""


CHUNKS_AT_ONCE = 16
"""Runs that are merged together: two million rows in a temporary table."""


@dataclass(frozen=True)
class Destination:
    """Where an item's rows go, known before they are judged."""

    target: Target
    run: Run
    now: datetime


class EarlyLoad:
    """The load of one item, in a thread."""

    def __init__(self, landing: Landing, bound: BoundImport, destination: Destination, fault: Fault = no_fault) -> None:
        self.import_name = bound.name
        self._target = destination.target
        self.state = LoadState(_nothing_of(landing), bound, destination.run, destination.now)
        self._expected = landing.newlines if landing.rows is None else landing.rows
        self._fault = fault
        self._files: SimpleQueue[Path | None] = SimpleQueue()
        self._taken: list[Path] = []
        self._rows: int | None = None
        self._connection: psycopg.Connection | None = None
        self._denied: TargetDenied | None = None
        self._thread = Thread(target=self._run, name="early load", daemon=True)
        self._thread.start()

    @property
    def add(self) -> Callable[[Path], None]:
        """Takes a run that is written."""
        return self._files.put

    def take(self, validated: Validated) -> tuple[LoadState, psycopg.Connection] | None:
        """The load and its transaction, if it holds these rows and no others; None where it did not come to that.

        Raises:
            TargetDenied: the target did not accept who logs in; another try would count as another.
        """
        self.finish()
        if self._denied is not None:
            raise self._denied
        whole = (tuple(self._taken), self._rows) == (validated.accepted, validated.accepted_rows)
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
        """The transaction is rolled back."""
        self.finish()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def finish(self) -> None:
        """All runs that were added are in, or never will be."""
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
            self._connection = begin(target, state.bound.name)
            shape = open_early(self._connection, state, self._fault)
            if shape is None:
                runs = (run for batch in chain([first], batches) for run in batch)
                rows = copy_accepted(self._connection, rows_of(runs), state.stage, lambda: None)
                state.early = "staged"
            else:
                rows = 0
                for batch in chain([first], batches):
                    if state.key_filter is None:
                        with state.timed("keys"):
                            left = self._expected - rows
                            state.key_filter = read_key_filter(self._connection, state.stage, shape, batch, left)
                    rows += merge_chunks(self._connection, state, shape, batch, self._fault)
            self._rows = rows
        except (IngestError, psycopg.Error, OSError) as problem:  # what could not be done now is done later
            if isinstance(problem, TargetDenied) and problem.counted:
                self._denied = problem

    def _batches(self) -> Iterator[list[Path]]:
        """All runs that wait, again and again: the longer one merge takes, the more the next one has."""
        while (run := self._files.get()) is not None:
            batch = [run]
            while len(batch) < CHUNKS_AT_ONCE and not self._files.empty():
                run = self._files.get()
                if run is None:
                    self._files.put(None)
                    break
                batch.append(run)
            yield batch
            self._taken += batch


def _nothing_of(landing: Landing) -> Validated:
    """What is known of an item's rows before the first is judged."""
    return Validated(landing, accepted=(), rejects=None, read=0, accepted_rows=0, rejected_rows=0)
