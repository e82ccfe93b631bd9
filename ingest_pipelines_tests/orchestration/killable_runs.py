"""`ingest` in processes that kill or stop themselves at a point. As a program it forks one for each command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import psutil

from ingest_pipelines_tests.waiting import until


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
        return int(self._runner.ask("wait", self.pid))

    def wait_until_stopped(self) -> None:
        until(lambda: self.is_stopped)


class Runner:
    """Commands in processes of their own, forked from one that has imported everything. A context manager."""

    def __init__(self, folder: Path, environment: Mapping[str, str], program: str = __name__) -> None:
        """Args: program: the module that runs as the process; its `main` calls `serve`."""
        self._folder, self._environment, self._program, self._count = folder, environment, program, 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **self._environment},
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for left in psutil.Process(self._process.pid).children():  # of a test that failed
            left.kill()
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def start(self, *words: str, dies_at: str = "", stops_at: str = "") -> Running:
        """The command, begun. It kills itself with SIGKILL, or stops itself with SIGSTOP, at a point."""
        self._count += 1
        output = self._folder / f"output-{self._count}"
        return Running(self, int(self.ask("start", words, dies_at, stops_at, str(output))), output)

    def run(self, *words: str, dies_at: str = "") -> tuple[int, str]:
        """Exit code and output of the command."""
        running = self.start(*words, dies_at=dies_at)
        return running.wait(), running.text

    def ask(self, *request: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


BEFORE_THE_RUN = ("chosen", "locked")
"""Points at which Dagster does not know the run yet."""

POINTS = (*BEFORE_THE_RUN, "created", "started", "landed", "validated", "ended")
"""Points of a run, in order, besides those of its load."""


_ALL_THAT_A_RUN_IMPORTS = (
    "ingest_pipelines.cli.app",
    "ingest_pipelines.cli.loading",
    "ingest_pipelines.cli.target",
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
        command, *arguments = json.loads(line)
        answer = _start(*arguments) if command == "start" else _wait(*arguments)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _start(words: list[str], dies_at: str, stops_at: str, output: str) -> int:
    child = os.fork()
    if child:
        return child
    with open(output, "w", encoding="utf-8") as file:  # noqa: PTH123  # its descriptor becomes both streams
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        _act_at(dies_at, signal.SIGKILL)
        _act_at(stops_at, signal.SIGSTOP)
        code = _ingest(words)
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
    ahead = [point]
    from ingest_pipelines import pipeline
    from ingest_pipelines.merge import apply
    from ingest_pipelines.merge.early_load import EarlyLoad
    from ingest_pipelines.merge.faults import EARLY_FAULT_POINTS, FAULT_POINTS
    from ingest_pipelines.orchestration import early_loads
    from ingest_pipelines.orchestration.assets import import_asset
    from ingest_pipelines.orchestration.runs import launch, run_locks
    from ingest_pipelines.pipeline import steps

    def act(passed: str = point) -> None:
        if passed in ahead:
            ahead.remove(passed)
            os.kill(os.getpid(), number)

    def after(module: ModuleType, name: str) -> None:
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
        setattr(early_loads, "EarlyLoad", partial(EarlyLoad, fault=act))  # noqa: B010
    elif point == "created":
        setattr(launch, "execute_run", lambda *_, **__: act())  # noqa: B010
    else:
        module, name = {
            "chosen": (launch, "_choose"),
            "locked": (run_locks, "hold"),
            "started": (import_asset, "find_run_context"),
            "landed": (pipeline, "land"),
            "validated": (pipeline, "validate"),
            "ended": (launch, "read_report"),
        }[point]
        after(module, name)


if __name__ == "__main__":
    serve()
