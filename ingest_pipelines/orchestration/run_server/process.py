"""The run server's process, which the daemon starts: it forks processes for runs, and for commands.

It imports Dagster and what else starts no thread, opens no connection and reads no project, and forks processes that
wait for runs: a forked process inherits only the thread that forks, and would share the rest with its siblings. Each of
them imports what is left, among it Polars, whose import starts threads. So a run finds a process that has imported
everything, and reads the project's files by itself: it uses a YAML that was edited a moment ago.

The server answers nobody and asks no database anything: it forks, and waits for the ends of what it forked. If a run's
process dies, another one says so in Dagster. The server ends when its standard input does, when a file that was
imported has changed, and when its socket is gone; each time its runs end first.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.dagster_internals.warm_run import (
    WarmRun,
    end_forked,
    import_what_runs_need,
    report_crash,
)
from ingest_pipelines.orchestration.run_server.command import execute_command
from ingest_pipelines.orchestration.run_server.request import (
    RunRequest,
    is_wanted,
    pack,
    read_request,
    socket_path,
    unpack,
)
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.owner_only import private_folder, private_state, take_private_umask

READY, LEAVING = "ready\n", "leaving\n"
"""What it says on its standard output: it takes runs; it takes none any more, and another one may be started."""

IMPORTED_ONCE = (
    "alembic.command",
    "dagster_postgres",
    "ingest_pipelines.ledger",
    "ingest_pipelines.orchestration.dagster_internals.warm_run",
    "ingest_pipelines.orchestration.run_launcher",
    "ingest_pipelines.orchestration.run_queue",
    "psycopg",
    "psycopg2.extras",
    "sqlglot",
)
"""What the server imports for all."""

IMPORTED_BY_EACH = (
    "ingest_pipelines.orchestration.code_location",
    "ingest_pipelines.orchestration.storage",
    "ingest_pipelines.rules.pandera_polars",
)
"""What each process imports before it waits for a run: Polars, PyArrow and NumPy start threads as they are imported."""

SPARE = 2
"""Processes that wait for a run. Each takes some 150 MB, most of it shared with the server."""

LOOK_SECONDS = 2.0
"""Between two looks whether the socket is still there."""

NAME, SPARE_NAME = "ingest-run", "ingest-spare"
"""What `ps -eo pid,comm` calls a run's process, and one that waits; their command line is that of the server."""

OUT_OF_DATE = 3
"""Exit code of a process that found a changed file when it was asked for a run."""

_HELD_BACK = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
"""Signals that wait while a process is forked, so that none is handled by the wrong one."""

_TAKEN, _BEGUN = b"t", b"b"
"""What a process tells the server: a caller has come; the run is its own."""


Command = Callable[[Sequence[str]], int]
"""Executes a command with these arguments; its exit code."""


def serve(command: Command, imported: Sequence[str] = ()) -> None:
    """Serves until the daemon that started it ends.

    Args:
        imported: more modules that each process imports before it waits.
    """
    take_private_umask()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; runs roll back, then this ends
    state = read_settings().state
    import_what_runs_need()
    import_and_keep(IMPORTED_ONCE)
    with socket.socket(socket.AF_UNIX) as listener:
        own = _listen(listener, state)
        RunServer(state, listener, sys.stdin.fileno(), command, (*IMPORTED_BY_EACH, *imported)).serve()
        with suppress(OSError), socket_path(state) as path:
            if path.stat().st_ino == own:
                path.unlink()


def import_and_keep(modules: Sequence[str]) -> None:
    """Imports the modules. Nobody looks for garbage in what they made: it would copy memory that is shared.

    What is made later is looked through rarely: a run makes many objects and little garbage.
    """
    gc.disable()
    for name in modules:
        import_module(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def imported_files() -> Mapping[str, int]:
    """When each file that this process imported was last changed, in nanoseconds; 0: it is gone."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {file: changed_at(file) for file in files if file}


@dataclass
class _Worker:
    """A process that waits for a run, or executes one.

    Attributes:
        said: the file descriptor at which it says how far it is.
        words: what it has said.
    """

    said: int
    words: bytes = b""

    def listen(self) -> None:
        """Notes what the process has said since the last time."""
        with suppress(BlockingIOError):
            while more := os.read(self.said, 65_536):
                self.words += more

    @property
    def is_taken(self) -> bool:
        """Whether a caller has come to it."""
        return bool(self.words)

    @property
    def request(self) -> RunRequest | None:
        """Its run, once that is its own."""
        _, begun, packed = self.words.partition(_BEGUN)
        request = unpack(packed) if begun and packed.endswith(b"\n") else None
        return request if isinstance(request, RunRequest) else None


class RunServer:
    """Keeps processes that wait for runs, and notes how they end."""

    def __init__(
        self, state: Path, listener: socket.socket, life: int, command: Command, imported: Sequence[str]
    ) -> None:
        self._state, self._listener, self._life = state, listener, life
        self._command, self._imported = command, imported
        self._files = imported_files()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = _pipe()
        os.set_blocking(self._wakes, False)
        self._alive, self._lives = _pipe()  # ends with this process: then those that wait end, too
        self._workers: dict[int, _Worker] = {}
        self._is_serving = True

    def serve(self) -> None:
        """Until the file descriptor `life` ends, or an imported file changed, and no run is left."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the system wakes the selector
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._life, selectors.EVENT_READ)
        self._keep_spares()
        _say(READY)
        while self._is_serving or self._workers:
            ready = {key.fd for key, _ in self._selector.select(LOOK_SECONDS if self._is_serving else None)}
            if self._is_serving and not _has_socket(self._state):
                self._leave()  # a second daemon's server had taken the place, and has ended
            if self._is_serving and self._life in ready and not os.read(self._life, 4096):
                self._leave()
            for worker in self._workers.values():
                if worker.said in ready:
                    worker.listen()
            if self._woken in ready:
                with suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._note_ends()
            self._keep_spares()

    def _leave(self) -> None:
        """Takes no run any more."""
        self._is_serving = False
        self._selector.unregister(self._life)
        self._listener.close()
        os.close(self._lives)
        with suppress(OSError):  # the daemon is gone
            _say(LEAVING)

    def _keep_spares(self) -> None:
        while self._is_serving and sum(not worker.is_taken for worker in self._workers.values()) < SPARE:
            said, says = _pipe()
            pid = self._fork(partial(self._work, says))
            os.close(says)
            self._selector.register(said, selectors.EVENT_READ)
            self._workers[pid] = _Worker(said)

    def _note_ends(self) -> None:
        """Lets another process report each run whose process died."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker, code = self._workers.pop(pid, None), os.waitstatus_to_exitcode(status)
            if worker is None:
                continue  # one that reported
            worker.listen()
            self._selector.unregister(worker.said)
            os.close(worker.said)
            if worker.request is not None and code != 0:
                self._fork(partial(report, worker.request, code))
            elif self._is_serving and (code == OUT_OF_DATE or (code != 0 and not worker.is_taken)):
                self._leave()  # its code is out of date, or broken: the daemon starts another server

    def _fork(self, act: Callable[[], int]) -> int:
        """A process that does that and ends with the code that it returns; its id."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._become_another()
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                code = act()
            except BaseException:
                traceback.print_exc()
            finally:
                end_forked(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _become_another(self) -> None:
        """Drops what belongs to the server. `random` and `ssl` have fresh seeds after every fork by themselves."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._woken, self._wakes, *(worker.said for worker in self._workers.values())):
            os.close(end)
        if self._is_serving:
            os.close(self._lives)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # the standard output is for words to the daemon
        os.close(nothing)

    def _work(self, says: int) -> int:
        """Waits for a caller and executes its run; the exit code."""
        _call_this(SPARE_NAME)
        import_and_keep(self._imported)
        files = {**imported_files(), **self._files}
        connection = self._caller()
        if connection is None:
            return 0
        with connection:
            os.write(says, _TAKEN)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._listener.close()
            _call_this(NAME)
            if any(changed_at(file) != changed for file, changed in files.items()):
                return OUT_OF_DATE  # not answered: the caller starts the run by itself
            request, standard_files = read_request(connection)
            if isinstance(request, RunRequest):
                execute(self._state, request, connection, says)
            elif request is not None:
                execute_command(request, standard_files, connection, self._command)
        return 0

    def _caller(self) -> socket.socket | None:
        """The connection of the next caller; None once the server is gone."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            waiting.register(self._alive, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in waiting.select()}
                if self._alive in ready:
                    return None
                with suppress(BlockingIOError):  # a sibling was faster
                    return self._listener.accept()[0]


class RunUnfinished(Exception):
    """A run's process is about to end, and the run has not."""


def execute(state: Path, request: RunRequest, connection: socket.socket, says: int) -> None:
    """The run, in a process of its own; nothing, if the caller does not wait any more.

    Args:
        says: a file descriptor that is told once the run is this process's.

    Raises:
        RunUnfinished: Dagster's storage does not have the run's end. Its lock's file stays, as of a process that died.
    """
    is_own = False
    run_locks.hold(state, request.run_id)  # before the caller knows that it runs; released with the event of its end
    try:
        with WarmRun(request.packed) as run:
            is_own = is_wanted(connection)
            connection.close()
            if is_own:
                os.write(says, _BEGUN + pack(request))
                run.execute()
    finally:
        if not is_own:
            run_locks.release(state, request.run_id)
    if is_own and run_locks.life_of(state, request.run_id) == "alive":
        raise RunUnfinished(request.run_id)


def report(request: RunRequest, exit_code: int) -> int:
    """Says in Dagster that the run's process died, if the run has not ended; 0."""
    report_crash(request.packed, exit_code)
    return 0


def _listen(listener: socket.socket, state: Path) -> int:
    """The socket listens in the state folder, for this account only; its inode.

    A server that was killed leaves its socket; one that still serves another daemon loses it, and its runs go on.
    """
    private_state(state)
    private_folder(state / "runs")
    with socket_path(state) as path:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        listener.setblocking(False)
        return path.stat().st_ino


def _has_socket(state: Path) -> bool:
    try:
        with socket_path(state) as path:
            return path.exists()
    except OSError:
        return False


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    return read, write


def _say(word: str) -> None:
    os.write(1, word.encode())


def _call_this(name: str) -> None:
    with suppress(OSError):  # a name for people; no run depends on it
        file = os.open("/proc/self/comm", os.O_WRONLY)
        os.write(file, name.encode())
        os.close(file)


def changed_at(file: str) -> int:
    """When the file was last changed, in nanoseconds; 0: it is gone."""
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116  # of thousands of files: without a Path for each
    except OSError:
        return 0
