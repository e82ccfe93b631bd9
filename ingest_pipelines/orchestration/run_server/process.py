"""The run server's process, which the daemon starts: it forks processes for runs, and for commands.

It imports Dagster and what else starts no thread, opens no connection and reads no project, and forks processes that
wait for runs (`worker`): a forked process inherits only the thread that forks, and would share the rest with its
siblings. Each of them imports what is left, among it Polars, whose import starts threads. So a run finds a process
that has imported everything. It uses a YAML that was edited a moment ago.

The server answers no caller and asks no database anything: it forks, says which processes may wait for another run,
and waits for the ends of what it forked. If a run's process dies, another one says so in Dagster. The server ends
when its standard input does, when a file that was imported has changed, and when its socket is gone; each time its
runs end first.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.dagster_internals.warm_run import end_forked, import_what_runs_need
from ingest_pipelines.orchestration.run_server.request import LEAVING, SERVING, RunRequest, socket_path, unpack
from ingest_pipelines.orchestration.run_server.worker import (
    BEGUN,
    DONE,
    GO_ON,
    IMPORTED_BY_EACH,
    OUT_OF_DATE,
    Command,
    RunProcess,
    report,
)
from ingest_pipelines.orchestration.warm_imports import import_and_keep, imported_files
from ingest_pipelines.owner_only import private_folder, private_state, take_private_umask

IMPORTED_ONCE = (
    "alembic.command",
    "cloudpickle",
    "dagster_postgres",
    "ingest_pipelines.landing.encodings",
    "ingest_pipelines.ledger",
    "ingest_pipelines.merge.match",
    "ingest_pipelines.merge.preflight.obstacle",
    "ingest_pipelines.orchestration.alerts.local_book",
    "ingest_pipelines.orchestration.checks.anomaly_checks",
    "ingest_pipelines.orchestration.dagster_internals.warm_run",
    "ingest_pipelines.orchestration.instance",
    "ingest_pipelines.orchestration.monitoring.open_items",
    "ingest_pipelines.orchestration.run_launcher",
    "ingest_pipelines.orchestration.run_queue",
    "ingest_pipelines.orchestration.sensors.shared_file_sensor",
    "ingest_pipelines.orchestration.storage",
    "ingest_pipelines.sources.request",
    "psycopg",
    "psycopg2.extras",
    "sqlglot",
)
"""What the server imports for all: among others what of ours is large and imports none of Polars, PyArrow and NumPy,
which start threads."""

SPARE = 2
"""Processes that wait for a run. Each takes some 150 MB, most of it shared with the server."""

MOST_SPARE = 6
"""Processes that wait, with those that executed a run a moment ago: many small runs find them one after the other."""

PAUSE_SECONDS = 1.0
"""So long one of SPARE may be missing while another one waits: the process of a small run is back before that."""

LOOK_SECONDS = 2.0
"""Between two looks whether the socket is still there."""

_HELD_BACK = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
"""Signals that wait while a process is forked, so that none is handled by the wrong one."""


def serve(command: Command, imported: Sequence[str] = (), imported_once: Sequence[str] = ()) -> None:
    """Serves until the daemon that started it ends.

    Args:
        imported: more modules that each process imports before it waits.
        imported_once: more modules that the server imports for all.
    """
    take_private_umask()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; runs roll back, then this ends
    state = read_settings().state
    import_what_runs_need()
    import_and_keep((*IMPORTED_ONCE, *imported_once))
    with socket.socket(socket.AF_UNIX) as listener:
        own = _listen(listener, state)
        RunServer(state, listener, sys.stdin.fileno(), command, (*IMPORTED_BY_EACH, *imported)).serve()
        with suppress(OSError), socket_path(state) as path:
            if path.stat().st_ino == own:
                path.unlink()


@dataclass
class _Line:
    """The line to a process that waits for a run, or executes one.

    Attributes:
        server: this end of it.
        words: the beginning of a line of text that is not complete yet.
        last: the last complete one; empty while the process waits for its first run, or for another one.
        has_served: it has executed a run.
    """

    server: socket.socket
    words: bytes = b""
    last: bytes = b""
    has_served: bool = False

    def listen(self) -> None:
        """Notes what the process has said since the last time."""
        with suppress(BlockingIOError, ConnectionError):
            while more := self.server.recv(65_536):
                self.words += more
        *lines, self.words = self.words.split(b"\n")
        self.last = lines[-1] if lines else self.last

    @property
    def is_taken(self) -> bool:
        """Whether a caller has come to the process."""
        return bool(self.last or self.words)

    @property
    def request(self) -> RunRequest | None:
        """The process's run, from when it is its own until it is over."""
        request = unpack(self.last.removeprefix(BEGUN)) if self.last.startswith(BEGUN) else None
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
        self._lines: dict[int, _Line] = {}  # to each process that was forked for runs
        self._is_serving = True
        self._short_since: float | None = None

    def serve(self) -> None:
        """Until the file descriptor `life` ends, or an imported file changed, and no run is left."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the system wakes the selector
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._life, selectors.EVENT_READ)
        self._keep_spares()
        _say(SERVING)
        while self._is_serving or self._lines:
            ready = {key.fd for key, _ in self._selector.select(self._patience)}
            if self._is_serving and not _has_socket(self._state):
                self._leave()  # a second daemon's server had taken the place, and has ended
            if self._is_serving and self._life in ready and not os.read(self._life, 4096):
                self._leave()
            for line in self._lines.values():
                if line.server.fileno() in ready:
                    line.listen()
                    if line.last == DONE:
                        self._answer(line)
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

    @property
    def _patience(self) -> float | None:
        """How many seconds the server waits for a word, the end of a process, or its own end."""
        if not self._is_serving:
            return None
        return LOOK_SECONDS if self._short_since is None else PAUSE_SECONDS / 2

    @property
    def _spare(self) -> int:
        """How many processes wait for a run."""
        return sum(not line.is_taken for line in self._lines.values())

    def _keep_spares(self) -> None:
        spare, now = self._spare, monotonic()
        self._short_since = None if spare >= SPARE else self._short_since or now
        if not self._is_serving or self._short_since is None or (spare and now - self._short_since < PAUSE_SECONDS):
            return
        for _ in range(SPARE - spare):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            pid = self._fork(partial(self._work, ours, theirs))
            theirs.close()
            self._selector.register(ours, selectors.EVENT_READ)
            self._lines[pid] = _Line(ours)
        self._short_since = None

    def _work(self, ours: socket.socket, theirs: socket.socket) -> int:
        """What a forked process does; its exit code."""
        ours.close()
        files, command, imported = self._files, self._command, self._imported
        return RunProcess(self._state, theirs, self._listener, self._alive, files, command, imported).work()

    def _answer(self, line: _Line) -> None:
        """Lets a process whose run is over wait for another one, or end."""
        with suppress(OSError):  # it was killed
            if self._is_serving and self._spare < MOST_SPARE:
                socket.send_fds(line.server, [GO_ON], [self._listener.fileno()])
                line.last, line.has_served = b"", True
            else:
                line.server.shutdown(socket.SHUT_WR)

    def _note_ends(self) -> None:
        """Lets another process report each run whose process died."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            line, code = self._lines.pop(pid, None), os.waitstatus_to_exitcode(status)
            if line is None:
                continue  # one that reported
            line.listen()
            self._selector.unregister(line.server)
            line.server.close()
            if line.request is not None and code != 0:
                self._fork(partial(report, line.request, code))
            elif self._is_serving and (
                code == OUT_OF_DATE or (code != 0 and not line.is_taken and not line.has_served)
            ):
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
        for end in (self._woken, self._wakes):
            os.close(end)
        for line in self._lines.values():
            line.server.close()
        if self._is_serving:
            os.close(self._lives)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # the standard output is for words to the daemon
        os.close(nothing)


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
