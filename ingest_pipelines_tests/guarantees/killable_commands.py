"""`ingest` in processes that kill or stop themselves at a point. As a program it forks one for each command."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cache, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Lock
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil

from ingest_pipelines_tests.waiting import until

if TYPE_CHECKING:
    from pyarrow import RecordBatch

    from ingest_pipelines.model import Item, Landing


@dataclass
class Running:
    """A command under way.

    Attributes:
        output: what it says on both streams.
    """

    _runner: Runner
    pid: int
    output: Path

    @property
    def text(self) -> str:
        """Its output in one line."""
        return " ".join(self.output.read_text(encoding="utf-8").split()) if self.output.exists() else ""

    @property
    def is_stopped(self) -> bool:
        return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code; minus the signal that killed it."""
        return self._runner.wait(self.pid)

    def wait_until_stopped(self) -> None:
        until(lambda: self.is_stopped)


class Runner:
    """Commands of one project in processes of their own. A context manager."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *program: str) -> None:
        """Args: program: the module that forks the processes, and its arguments; its `main` calls `serve`."""
        self._folder, self._count = folder, 0
        self._environment = {**os.environ, **environment}
        self._program = program or (__name__,)
        self._running: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for left in list(self._running):  # of a test that failed
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
            self.wait(left)

    def start(self, *words: str, dies_at: str = "", stops_at: str = "", ahead: int = 0) -> Running:
        """The command, begun. It kills itself with SIGKILL, or stops itself with SIGSTOP, at a point.

        Args:
            ahead: seconds that its clock is ahead of the true time.
        """
        self._count += 1
        output = self._folder / f"output-{self._count}"
        pid = int(self._forks.ask("start", words, dies_at, stops_at, str(output), ahead, self._environment))
        self._running.add(pid)
        return Running(self, pid, output)

    def run(self, *words: str, dies_at: str = "", ahead: int = 0) -> tuple[int, str]:
        """Exit code and output of the command."""
        running = self.start(*words, dies_at=dies_at, ahead=ahead)
        return running.wait(), running.text

    def wait(self, pid: int) -> int:
        """The exit code of the command's process; minus the signal that killed it."""
        while (code := self._forks.ask("poll", pid)) is None:
            time.sleep(0.01)
        self._running.discard(pid)
        return int(code)

    @property
    def _forks(self) -> Forks:
        return _forks_of(self._program)


class Forks:
    """The process that has imported everything, and forks one for each command.

    Questions have numbers. Whoever asks may be interrupted before the answer is there, as by a test's time-out: the
    next question skips that answer. No question waits for a command: the process always answers.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._numbers = count()
        self._turn = Lock()

    def ask(self, *question: object) -> Any:
        """The process's answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            number = next(self._numbers)
            self._process.stdin.write(json.dumps([number, *question]) + "\n")
            self._process.stdin.flush()
            while line := self._process.stdout.readline():
                answered, answer = json.loads(line)
                if answered == number:
                    return answer
        raise AssertionError(f"the process that forks commands ended with {self._process.wait()}")

    def end(self) -> None:
        """Ends the process."""
        self._process.communicate()


@cache
def _forks_of(program: tuple[str, ...]) -> Forks:
    """All runners of a test process share it: to import everything takes two seconds."""
    forks = Forks(program)
    atexit.register(forks.end)
    return forks


BEFORE_THE_RUN = ("chosen", "held")
"""Points at which Dagster does not know the run yet."""

POINTS = (*BEFORE_THE_RUN, "stored", "created", "started", "landed", "validated", "ended")
"""Points of a run, in order, besides those of its load. At `stored` Dagster does not know its partition yet."""

MID_WAY = ("reading", "fetching")
"""Points at which a file has been read in part, or the first rows of a query."""

_ALL_THAT_A_RUN_IMPORTS = (
    "ingest_pipelines.cli.app",
    "ingest_pipelines.cli.loading",
    "ingest_pipelines.actions.target",
    "ingest_pipelines.orchestration.definitions",
    "ingest_pipelines.orchestration.runs.launch",
    "ingest_pipelines.orchestration.storage",
    "ingest_pipelines.pipeline",
    "ingest_pipelines.sources.csv_directory",
)


def serve() -> None:
    """Forks a process for each request on stdin, until that ends."""
    for name in _ALL_THAT_A_RUN_IMPORTS:  # two seconds of processor time that no fork needs again
        import_module(name)
    for line in sys.stdin:
        number, command, *arguments = json.loads(line)
        answer = _start(*arguments) if command == "start" else _poll(*arguments)
        sys.stdout.write(json.dumps([number, answer]) + "\n")
        sys.stdout.flush()


_EXIT_CODES: dict[int, int] = {}
"""By process, in the one that forked it: a question may be repeated."""


def _poll(pid: int) -> int | None:
    """The process's exit code; None: it still runs."""
    if pid not in _EXIT_CODES:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            return None
        _EXIT_CODES[pid] = os.waitstatus_to_exitcode(status)
    return _EXIT_CODES[pid]


def _start(words: list[str], dies_at: str, stops_at: str, output: str, ahead: int, environment: dict[str, str]) -> int:
    child = os.fork()
    if child:
        _EXIT_CODES.pop(child, None)  # of an earlier process with the same number
        return child
    with open(output, "w", encoding="utf-8") as file:  # noqa: PTH123  # its descriptor becomes both streams
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it was chosen before the fork
    code = 1
    try:
        _act_at(dies_at, signal.SIGKILL)
        _act_at(stops_at, signal.SIGSTOP)
        if ahead:
            _set_clock(ahead)
        code = _ingest(words)
    except Exception:
        traceback.print_exc()  # as Python does at a program's end
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ingest(words: list[str]) -> int:
    from ingest_pipelines.cli import main

    sys.argv = ["ingest", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _act_at(point: str, number: signal.Signals) -> None:
    """This process gets the signal when it first comes by the point."""
    if not point:
        return
    from dagster._core.storage.runs import SqlRunStorage

    from ingest_pipelines import pipeline
    from ingest_pipelines.landing.land import _Spooled
    from ingest_pipelines.merge import apply, early_load
    from ingest_pipelines.merge.faults import EARLY_FAULT_POINTS, FAULT_POINTS
    from ingest_pipelines.orchestration import early_loads
    from ingest_pipelines.orchestration.assets import import_asset
    from ingest_pipelines.orchestration.runs import launch, run_locks
    from ingest_pipelines.pipeline import query_step, steps

    passed_before = False

    def act(passed: str = point) -> None:
        nonlocal passed_before
        if passed == point and not passed_before:
            passed_before = True
            os.kill(os.getpid(), number)

    def after(module: ModuleType | type, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def called(*positional: Any, **named: Any) -> Any:
            result = function(*positional, **named)
            act()
            return result

        setattr(module, name, called)

    if point in FAULT_POINTS:
        setattr(steps, "apply", partial(apply, fault=act))  # noqa: B010  # the module's own name for it
    elif point in EARLY_FAULT_POINTS:
        setattr(early_loads, "LARGE", 0)  # noqa: B010  # else the file would have to be large
        setattr(early_load, "EarlyLoad", partial(early_load.EarlyLoad, fault=act))  # noqa: B010
    elif point == "reading":
        after(_Spooled, "write")
    elif point == "fetching":
        setattr(query_step, "land_query", partial(_after_first_batch, act))  # noqa: B010
    elif point == "created":
        setattr(launch, "execute_run", lambda *_, **__: act())  # noqa: B010
    else:
        places: dict[str, tuple[ModuleType | type, str]] = {
            "chosen": (launch, "_choose"),
            "held": (run_locks, "hold"),
            "stored": (SqlRunStorage, "add_run"),
            "started": (import_asset, "find_run_context"),
            "landed": (pipeline, "land"),
            "validated": (pipeline, "validate"),
            "ended": (launch, "read_report"),
        }
        after(*places[point])


def _set_clock(ahead: int) -> None:
    """The product's clock, and Dagster's, is so many seconds ahead of the true time; no server's is."""
    true_time, delta = time.time, timedelta(seconds=ahead)

    class Dates(type):
        """Every date and time is one of the class below, too."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Ahead(datetime, metaclass=Dates):
        """`now` is wrong."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # the true class's instances
            return datetime.now(tz) + delta

    time.time = lambda: true_time() + ahead
    for name, module in list(sys.modules.items()):
        if name.startswith("ingest_pipelines.") and getattr(module, "datetime", None) is datetime:
            setattr(module, "datetime", Ahead)  # noqa: B010


def _after_first_batch(act: Callable[[], None], item: Item, batches: Iterator[RecordBatch], *others: Any) -> Landing:
    from ingest_pipelines.landing import land_query

    def passed_on() -> Iterator[RecordBatch]:
        for number, batch in enumerate(batches):
            if number == 1:
                act()
            yield batch

    return land_query(item, passed_on(), *others)


if __name__ == "__main__":
    serve()
