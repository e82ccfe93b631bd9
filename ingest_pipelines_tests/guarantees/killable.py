"""Work in processes that kill themselves with SIGKILL at a point. Run as a program it forks one for each."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg

from ingest_pipelines.config import BoundImport
from ingest_pipelines.ledger import migrate
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.merge.faults import Fault
from ingest_pipelines.model import Run, Validated
from ingest_pipelines.pipeline.forgetting import Scope, forget


@dataclass(frozen=True)
class Load:
    """One load to run in a process of its own.

    Attributes:
        dies_at: the fault point at which the process kills itself; "": it lives.
        early: the rows are loaded as if others were still being validated.
    """

    validated: Validated
    bound: BoundImport
    target: Target
    run: Run
    now: datetime
    dies_at: str = ""
    early: bool = False

    def __call__(self) -> None:
        """Loads, and dies where it is told to."""

        def die(point: str) -> None:
            if point == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

        early = self._loaded_early(die) if self.early else None
        apply(self.validated, self.bound, self.target, self.run, self.now, early=early, fault=die)

    def _loaded_early(self, die: Fault) -> EarlyLoad:
        early = EarlyLoad(self.validated.landing, self.bound, Destination(self.target, self.run, self.now), die)
        for run in self.validated.accepted:
            early.add(run)
        return early


@dataclass(frozen=True)
class Forget:
    """People forgotten.

    Attributes:
        dies_at: as in Load.
    """

    keys: tuple[str, ...]
    bound: BoundImport
    target: Target
    now: datetime
    dies_at: str = ""

    def __call__(self) -> None:
        """Forgets them, and dies where it is told to."""

        def die(point: str) -> None:
            if point == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

        scope = Scope(self.bound.database_name, self.bound.database, [self.bound])
        forget(self.keys, scope, self.target, "test", self.now, fault=die)


@dataclass(frozen=True)
class Upgrade:
    """The upgrade of a ledger.

    Attributes:
        dies_at: which of its statements, commits among them, it does not come to send; 0: it lives.
    """

    url: str
    dies_at: int = 0

    def __call__(self) -> None:
        """Upgrades, and dies where it is told to."""
        migrate(self._connect)

    def _connect(self) -> psycopg.Connection:
        left = self.dies_at

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        class Cursor(psycopg.Cursor[Any]):
            """Counts the statements."""

            def execute(self, *statement: Any, **options: Any) -> Self:
                count()
                return super().execute(*statement, **options)

        class Connection(psycopg.Connection[Any]):
            """Counts the commits."""

            def commit(self) -> None:
                count()
                super().commit()

        return Connection.connect(self.url, cursor_factory=Cursor)


class KillableLoader:
    """Loads, and other work, in processes of their own. A context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ingest_pipelines_tests.guarantees.killable"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def run(self, work: Callable[[], None]) -> bool:
        """Whether the work's process lived to its end. Fails where it ended in any other way than it was told to."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(work, self._process.stdin)
        self._process.stdin.flush()
        ended = int(self._process.stdout.readline())
        assert ended in {0, -signal.SIGKILL}, f"the process ended with {ended}"
        return ended == 0


def _serve() -> None:
    while True:
        try:
            work: Callable[[], None] = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            _work_and_exit(work)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _work_and_exit(work: Callable[[], None]) -> None:
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
