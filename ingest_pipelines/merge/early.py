"""Staging while rows are still judged: a run of accepted rows is copied as soon as it lies sorted on disk.

The load's transaction begins here. All it does is to fill its own private stage: no lock, no row of anybody's, nothing
that somebody could see. `apply` takes it over where the stage holds exactly the accepted rows; else it is rolled
back, and `apply` begins its own. So nothing here raises, and nothing depends on it but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import psycopg

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError
from ingest_pipelines.merge.copy import copy_accepted
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.target import Target, begin
from ingest_pipelines.model import Validated


class EarlyStage:
    """The stage of one item, filled in a thread."""

    def __init__(self, bound: BoundImport, target: Target) -> None:
        self._bound = bound
        self._target = target
        self._files: SimpleQueue[Path | None] = SimpleQueue()
        self._copied: list[Path] = []
        self._rows: int | None = None
        self._connection: psycopg.Connection | None = None
        self._thread = Thread(target=self._fill, name="early stage", daemon=True)
        self._thread.start()

    @property
    def add(self) -> Callable[[Path], None]:
        """Takes a run that is written."""
        return self._files.put

    def take(self, validated: Validated) -> psycopg.Connection | None:
        """The transaction whose stage holds these rows and no others; None where it did not come to that."""
        self.finish()
        whole = (tuple(self._copied), self._rows) == (validated.accepted, validated.accepted_rows)
        if whole and self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.execute("SELECT 1")  # it may have waited for long
                return connection
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
        """All runs that were added are copied, or never will be."""
        self._files.put(None)
        self._thread.join()

    def _fill(self) -> None:
        first = self._files.get()
        if first is None:
            return
        stage = Stage(self._bound)
        try:
            self._connection = begin(self._target, self._bound.name)
            self._connection.execute(stage.create())
            self._rows = copy_accepted(self._connection, self._each(first), stage, lambda: None)
        except (IngestError, psycopg.Error, OSError):
            pass  # what could not be copied now is copied later

    def _each(self, first: Path) -> Iterator[Path]:
        file: Path | None = first
        while file is not None:
            yield file
            self._copied.append(file)
            file = self._files.get()
