"""A loader that kills itself with SIGKILL at a fault point. Run as a program it forks a process per load."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.merge.faults import Fault
from ingest_pipelines.model import Run, Validated


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


class KillableLoader:
    """Loads in processes of their own. A context manager."""

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

    def run(self, load: Load) -> bool:
        """Whether the load's process lived to its end. Fails where it ended in any other way than it was told to."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(load, self._process.stdin)
        self._process.stdin.flush()
        ended = int(self._process.stdout.readline())
        assert ended in {0, -signal.SIGKILL}, f"the loader ended with {ended}"
        return ended == 0


def _serve() -> None:
    while True:
        try:
            load: Load = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            _load_and_exit(load)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _load_and_exit(load: Load) -> None:
    def die(point: str) -> None:
        if point == load.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        early = _loaded_early(load, die) if load.early else None
        apply(load.validated, load.bound, load.target, load.run, load.now, early=early, fault=die)
        code = 0
    finally:
        os._exit(code)


def _loaded_early(load: Load, die: Fault) -> EarlyLoad:
    early = EarlyLoad(load.validated.landing, load.bound, Destination(load.target, load.run, load.now), die)
    for run in load.validated.accepted:
        early.add(run)
    return early


if __name__ == "__main__":
    _serve()
