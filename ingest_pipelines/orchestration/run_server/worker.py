"""A process that the run server forked: it waits for a caller and executes the caller's run, or its command.

A process whose run succeeded, took little memory and left nothing behind waits for another run. So the imports and the
definitions are paid once for many small runs. After any other run the process ends, and with it all that the run had.
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ingest_pipelines.config.settings import own_environment
from ingest_pipelines.orchestration.dagster_internals.warm_run import WarmRun, preload, report_crash
from ingest_pipelines.orchestration.run_server.command import execute_command
from ingest_pipelines.orchestration.run_server.request import RunRequest, is_wanted, pack, read_request
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.warm_imports import call_this, have_changed, import_and_keep, imported_files

IMPORTED_BY_EACH = (
    "ingest_pipelines.orchestration.code_location",
    "ingest_pipelines.rules.pandera_polars",
    "ingest_pipelines.sources.csv_directory",
    "numpy.ma",
)
"""What each process imports before it waits for a run: Polars, PyArrow and NumPy start threads as they are imported."""

NAME, SPARE_NAME = "ingest-run", "ingest-spare"
"""What `ps -eo pid,comm` calls a run's process, and one that waits; their command line is that of the server."""

OUT_OF_DATE = 3
"""Exit code of a process that found a changed file when it was asked for a run."""

TAKEN, BEGUN, DONE = b"taken", b"begun ", b"done"
"""Lines that a process writes to the server: a caller has come; the run is its own; the run is over, and another one
may come."""

GO_ON = b"go on\n"
"""The server's answer to DONE, with the socket at which the next caller comes."""

KEPT_SECONDS = 30.0
"""So long a process that has executed a run waits for another one. Then it gives its memory back by its end."""

MOST_RUNS = 100
"""Runs that one process executes at most: what each of them may leave behind stays small."""

MOST_GROWTH = 96 << 20
"""A process that took more bytes for a run than this, beyond what it had before its first, gives them back by its end.
A run of ten rows takes some 40 MB."""

_SET_BY_DAGSTER = "SF_PARTNER"
"""A variable that Dagster sets in each process of a run: for Snowflake, which counts who uses it."""

Command = Callable[[Sequence[str]], int]
"""Executes a command with these arguments; its exit code."""


@dataclass(frozen=True)
class _Traces:
    """What a run may leave behind in its process, and the next run could notice."""

    environment: Mapping[str, str]
    folder: str
    threads: int
    sockets: int

    @classmethod
    def now(cls) -> Self:
        environment = own_environment()
        environment.pop(_SET_BY_DAGSTER, None)
        return cls(environment, os.getcwd(), threading.active_count(), _open_sockets())  # noqa: PTH109


class RunProcess:
    """The life of a forked process.

    Args:
        server: the server's end of the line; it hears TAKEN, BEGUN and DONE, and answers GO_ON or ends the line.
        listener: where callers come.
        alive: a file descriptor that ends with the server.
        files: when the files were last changed that the server had imported.
        imported: modules to import before the first caller comes.
    """

    def __init__(
        self,
        state: Path,
        server: socket.socket,
        listener: socket.socket,
        alive: int,
        files: Mapping[str, int],
        command: Command,
        imported: Sequence[str],
    ) -> None:
        self._state, self._server, self._listener, self._alive = state, server, listener, alive
        self._files, self._command, self._imported = dict(files), command, imported

    def work(self) -> int:
        """Waits for callers and executes their runs; the exit code."""
        call_this(SPARE_NAME)
        import_and_keep(self._imported)
        preload()
        gc.freeze()
        self._note_files()
        memory = _peak_memory()
        for number in range(MOST_RUNS):
            before = _Traces.now()
            connection = self._caller(KEPT_SECONDS if number else None)
            if connection is None:
                return 0
            with connection:
                self._server.sendall(TAKEN + b"\n")
                self._listener.close()  # nobody waits at it for this process
                signal.signal(signal.SIGINT, signal.default_int_handler)
                call_this(NAME)
                if have_changed(self._files):
                    return OUT_OF_DATE  # not answered: the caller starts the run by itself
                request, standard_files = read_request(connection)
                if not isinstance(request, RunRequest):
                    if request is not None:
                        execute_command(request, standard_files, connection, self._command)
                    return 0
                succeeded = execute(self._state, request, connection, self._begin)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if not succeeded or _peak_memory() - memory > MOST_GROWTH or not self._goes_on(before):
                return 0
        return 0

    def _begin(self, request: RunRequest) -> None:
        self._server.sendall(BEGUN + pack(request))

    def _goes_on(self, before: _Traces) -> bool:
        """Whether the process is as it was before the run, and the server has a use for it."""
        self._note_files()
        now = _Traces.now()
        if (now.environment, now.folder, now.threads) != (before.environment, before.folder, before.threads):
            return False
        if now.sockets >= before.sockets:  # without the listener it has one less
            return False
        call_this(SPARE_NAME)
        try:
            self._server.sendall(DONE + b"\n")
            answer, files, _, _ = socket.recv_fds(self._server, len(GO_ON), 1)
        except OSError:
            return False
        if answer != GO_ON or len(files) != 1:
            return False
        self._listener = socket.socket(fileno=files[0])
        self._listener.setblocking(False)
        return True

    def _note_files(self) -> None:
        """Keeps when the files were changed that were imported since the last time."""
        self._files = {**imported_files(), **self._files}

    def _caller(self, seconds: float | None) -> socket.socket | None:
        """The connection of the next caller; None once the server is gone, or where none comes in so many seconds."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            waiting.register(self._alive, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in waiting.select(seconds)}
                if self._alive in ready or not ready:
                    return None
                with suppress(BlockingIOError):  # a sibling was faster
                    return self._listener.accept()[0]


class RunUnfinished(Exception):
    """A run's process is about to end, and the run has not."""


def execute(state: Path, request: RunRequest, connection: socket.socket, begin: Callable[[RunRequest], None]) -> bool:
    """Whether the run succeeded, and is over for everybody. Nothing is executed if the caller does not wait any more.

    Args:
        begin: tells the server, once the run is this process's.

    Raises:
        RunUnfinished: Dagster's storage does not have the run's end, or somebody is about to interrupt the process
            (`run_locks.keeping`), which must execute no other run. The lock's file stays, as of a process that died.
    """
    is_own = succeeded = False
    run_locks.hold(state, request.run_id)  # before the caller knows that it runs; released with the event of its end
    try:
        with WarmRun(request.packed) as run:
            is_own = is_wanted(connection)
            connection.close()
            if is_own:
                begin(request)
                succeeded = run.execute()
    finally:
        if not is_own:
            run_locks.release(state, request.run_id)
    if is_own and run_locks.life_of(state, request.run_id) == "alive":
        raise RunUnfinished(request.run_id)
    return succeeded


def report(request: RunRequest, exit_code: int) -> int:
    """Says in Dagster that the run's process died, if the run has not ended; 0."""
    report_crash(request.packed, exit_code)
    return 0


def _open_sockets() -> int:
    sockets = 0
    for file in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):  # the folder's own
            sockets += os.readlink(f"/proc/self/fd/{file}").startswith("socket:")  # noqa: PTH115
    return sockets


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
