"""A code server is ready before the next one is needed: a changed project is loaded without the seconds of its imports.

Webserver and daemon replace their code server when the project changed. The next one waits with everything imported
(`code_server`); it takes some 100 MB. One whose code is out of date, or that does not answer, is not used: Dagster then
starts its own, as it does without this module.

Waits for: a code server that loads changed definitions again without another process.
If `open_ipc_subprocess` goes from `dagster._grpc.server`: webserver and daemon do not start, and say which. If Dagster
gives its code servers other arguments: `test_standby.py` fails, and each change waits for the imports.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Timer
from time import sleep
from typing import Any

from dagster._grpc import server

from ingest_pipelines.config.settings import own_environment

CODE_SERVER = (
    "-c",
    "from ingest_pipelines.orchestration.dagster_internals.code_server import main; main()  # dagster api grpc",
)
"""Arguments for Python. The comment is for people who look for code servers among processes."""

FIRST_SECONDS, NEXT_SECONDS = 20.0, 2.0
"""After so long the next one is started: once the first has loaded a project for sure, and the machine is less busy."""

LOOK_SECONDS, BUSY_SHARE, MOST_LOOKS = 1.0, 0.5, 30
"""The next one also waits while the code server before it takes half a core or more: that one loads a large project."""

NAME, STANDBY_NAME = "code-server", "code-standby"
"""What `ps -eo pid,comm` calls one that was needed, and one that waits with everything imported."""

STARTS = b"starts\n"
"""The answer of a process that has the arguments, and whose code is that of the files."""

ANSWER_SECONDS = 10.0
"""So long one may take that is still importing."""

_STARTS_PROCESSES = "open_ipc_subprocess"
"""The function by which Dagster starts code servers."""

_LOG = logging.getLogger("ingest_pipelines.code_servers")


@dataclass
class _Waiting:
    """A process that waits for the arguments of a code server.

    Attributes:
        environment: that of the process.
    """

    process: subprocess.Popen[bytes]
    line: socket.socket
    environment: Mapping[str, str]

    def become(self, words: Sequence[str]) -> bool:
        """Whether the process is a code server with those arguments from now on. If not, it has ended."""
        with suppress(OSError):
            self.line.settimeout(ANSWER_SECONDS)
            self.line.sendall(json.dumps(list(words)).encode() + b"\n")
            if self.line.recv(len(STARTS)) == STARTS:
                self.line.close()
                return True
        self.end()
        return False

    def end(self) -> None:
        """Ends the process."""
        self.line.close()
        self.process.kill()
        self.process.wait()


class Standby:
    """Keeps one process that may become a code server of the module.

    Args:
        module: whose code servers it is for.
    """

    def __init__(self, module: str, first_seconds: float = FIRST_SECONDS, next_seconds: float = NEXT_SECONDS) -> None:
        self._module, self._seconds, self._next_seconds = module, first_seconds, next_seconds
        self._lock = Lock()
        self._waiting: _Waiting | None = None
        self._taken: int | None = None

    def take(
        self, parts: Sequence[str], cwd: str | None, environment: Mapping[str, str]
    ) -> subprocess.Popen[Any] | None:
        """The process that waited and is the code server of this command line now; None: there is none for it."""
        if list(parts[:5]) != [sys.executable, "-m", "dagster", "api", "grpc"] or self._module not in parts:
            return None
        with self._lock:
            waiting, self._waiting = self._waiting, None
        self._taken = waiting.process.pid if waiting is not None else None
        self.start_later()
        if waiting is None:
            return None
        is_alike = cwd is None and dict(environment) == dict(waiting.environment)
        if is_alike and waiting.become(parts[3:]):
            return waiting.process
        if not is_alike:
            waiting.end()
        _LOG.info("the code server that waited cannot be used: another one is started")
        return None

    @property
    def waiting(self) -> int | None:
        """The id of the process that waits."""
        return self._waiting.process.pid if self._waiting is not None else None

    def start_later(self) -> None:
        """Starts the next one, once the machine is less busy."""
        timer = Timer(self._seconds, self._start_once_loaded, [self._taken])
        timer.daemon = True
        timer.start()
        self._seconds = self._next_seconds

    def _start_once_loaded(self, taken: int | None) -> None:
        if taken is not None:
            wait_while_busy(taken)
        self.start()

    def close(self) -> None:
        """Ends the one that waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.end()

    def start(self) -> None:
        """Starts the next one, unless there is one."""
        with self._lock:
            if self._waiting is not None:
                return
            environment = own_environment()
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, *CODE_SERVER, str(theirs.fileno())],
                    env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                )  # fmt: skip
            self._waiting = _Waiting(process, ours, environment)


def wait_while_busy(process: int) -> None:
    """Returns once the process takes less than BUSY_SHARE of a core, has ended, or after MOST_LOOKS looks."""
    before = _cpu_seconds(process)
    for _ in range(MOST_LOOKS):
        sleep(LOOK_SECONDS)
        now = _cpu_seconds(process)
        if now - before < BUSY_SHARE * LOOK_SECONDS:
            return
        before = now


def _cpu_seconds(process: int) -> float:
    """Of user and system, by all threads of the process; 0 where there is none, or the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def keep_one_ready(module: str) -> Standby:
    """Replaces the function by which this process starts code servers: those of the module may have waited."""
    open_process: Callable[..., subprocess.Popen[Any]] = getattr(server, _STARTS_PROCESSES)
    standby = Standby(module)

    def open_ipc_subprocess(parts: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        process = standby.take(parts, options.get("cwd"), options.get("env") or own_environment())
        return process or open_process(parts, **options)

    setattr(server, _STARTS_PROCESSES, open_ipc_subprocess)
    return standby
