"""A process with everything imported that forks one process per load. The driver sees each point that a load passes.

Lines to the driver: `pid N`, `at POINT` (the load waits for the driver's answer), `said STATUS`, `ended CODE`.
"""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.model import Item, Run, Workspace
from ingest_pipelines.pipeline import steps

PATIENCE = 120.0
"""Seconds after which an attempt counts as hung."""


@dataclass(frozen=True)
class Attempt:
    """One try of a load, from the source to the table.

    Attributes:
        stops_at: the point at which the load waits for the driver; "": it does not wait.
        early: the rows are loaded while others are still being validated.
        secrets: environment variables that the import's connection names.
    """

    item: Item
    bound: BoundImport
    workspace: Workspace
    target: Target
    run: Run
    now: datetime
    stops_at: str = ""
    early: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        code: the process's exit code; negative: the signal that killed it.
        said: `committed`, or the class of the error and whether it is retryable; "": it was killed before.
        struck: whether the driver's blow fell before the end.
    """

    code: int
    said: str
    struck: bool


class Worker:
    """Runs attempts in processes of their own. A context manager; `log` gets what they print."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> Self:
        told, self._answers = os.pipe()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ingest_pipelines_tests.guarantees.torture.worker", str(told)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, pass_fds=[told], bufsize=0,
            )  # fmt: skip
        os.close(told)
        self._unread = b""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        os.close(self._answers)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def run(self, attempt: Attempt, strike: Callable[[int], None], after_seconds: float | None = None) -> Ending:
        """The attempt, run to its end.

        Args:
            strike: the blow, given the process's id; called once, at the attempt's point or after that time.
        """
        assert self._process.stdin is not None
        message = pickle.dumps(attempt)
        self._process.stdin.write(len(message).to_bytes(8, "big") + message)
        pid, said, struck = 0, "", False
        while True:
            line = self._line(after_seconds if pid and not struck and after_seconds is not None else PATIENCE)
            word, _, rest = line.partition(" ")
            if not line:
                assert after_seconds is not None, f"an attempt did not end within {PATIENCE:.0f} s"
                assert not struck, f"an attempt did not end within {PATIENCE:.0f} s after its blow"
                struck = True
                strike(pid)
            elif word == "pid":
                pid = int(rest)
            elif word == "at":
                if not struck:
                    struck = True
                    strike(pid)
                os.write(self._answers, b".")
            elif word == "said":
                said = rest
            else:
                assert word == "ended", line
                self._drop_answers()
                return Ending(int(rest), said, struck)

    def _line(self, seconds: float) -> str:
        """The next line, or "" if none comes in that time."""
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], seconds)
            if not ready:
                return ""
            piece = self._process.stdout.read(4096)
            assert piece, f"the worker ended; see {self._log}"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def _drop_answers(self) -> None:
        """An answer that a killed load did not read is not for the next one."""
        assert self._process.stdin is not None
        self._process.stdin.write((0).to_bytes(8, "big"))


class _Hidden(MetaPathFinder):
    """Says of some large packages that they are not installed: no load needs them, and an import takes a second."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in {"pandas", "pyspark", "dask", "modin", "geopandas", "hypothesis"}:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


_NEEDED_LATER = (
    "numpy.ma", "unicodedata", "pandera.polars", "pandera.backends.polars.container",
    "pandera.backends.polars.components", "ingest_pipelines.sources.csv_directory",
    "ingest_pipelines.sources.postgresql", "sqlglot.dialects.postgres", "sqlglot.optimizer.scope",
)  # fmt: skip


def _import_everything() -> None:
    """Imports what a load imports when it first needs it, so that no forked process has to.

    No frame is made: the threads of Polars would not survive the fork.
    """
    sys.meta_path.insert(0, _Hidden())
    for name in _NEEDED_LATER:
        import_module(name)


def _serve(answers: int) -> None:
    _import_everything()
    os.set_blocking(answers, False)
    while size := sys.stdin.buffer.read(8):
        if not int.from_bytes(size, "big"):
            with suppress(BlockingIOError):
                os.read(answers, 64)
            continue
        attempt: Attempt = pickle.loads(sys.stdin.buffer.read(int.from_bytes(size, "big")))
        child = os.fork()
        if child == 0:
            _attempt_and_exit(attempt, answers)
        _, status = os.waitpid(child, 0)
        _tell(f"ended {os.waitstatus_to_exitcode(status)}")


def _attempt_and_exit(attempt: Attempt, answers: int) -> None:
    def pass_point(point: str) -> None:
        if point == attempt.stops_at:
            _tell(f"at {point}")
            select.select([answers], [], [], PATIENCE)

    code = 1
    os.environ.update(attempt.secrets)
    _tell(f"pid {os.getpid()}")
    try:
        _tell(f"said {_load(attempt, pass_point)}")
        code = 0
    except IngestError as error:
        _tell(f"said {type(error).__name__} {'retryable' if error.retryable else 'terminal'}")
        code = 2
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    except BaseException as error:
        _tell(f"said {type(error).__name__}")
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _load(attempt: Attempt, pass_point: Callable[[str], None]) -> str:
    item, bound, target, run, now = attempt.item, attempt.bound, attempt.target, attempt.run, attempt.now
    if item.kind == "cursor":
        setattr(steps, "apply", partial(apply, fault=pass_point))  # noqa: B010  # this process's own
        statuses = {report.status for report in pipeline.drain(item, bound, attempt.workspace, target, run, now)}
        return "committed" if statuses <= {"committed"} else f"drained {sorted(statuses)}"
    landing = pipeline.land(item, bound, attempt.workspace)
    pass_point("landed")
    early = EarlyLoad(landing, bound, Destination(target, run, now), pass_point) if attempt.early else None
    validated = pipeline.validate(landing, bound, attempt.workspace, early)
    pass_point("validated")
    return apply(validated, bound, target, run, now, early=early, fault=pass_point).status


def _tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
