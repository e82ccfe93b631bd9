"""The run server's process as the daemon starts it, and the way to it for `ingest run`."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from types import FrameType

from ingest_pipelines.config.settings import own_environment, read_settings
from ingest_pipelines.errors import INTERRUPTED, IngestError
from ingest_pipelines.orchestration.run_server.request import (
    EXIT,
    CommandRequest,
    begin,
    connected,
    own_python,
    read_line,
    send,
)

HANDED_OVER = frozenset({"run"})
"""Commands that a process of the run server may execute."""

ANSWER_SECONDS = 60.0
"""How long to wait for a process that is ready. It takes long where many commands start at once; there one that starts
by itself, which costs four times the CPU, makes all of them slower."""

SILENT_SECONDS = 3.0
"""A longer wait is told."""

KILLED = 137
"""Exit code if the process that executes the command is killed, as a shell says it."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Serves until the daemon that started it ends."""
    from ingest_pipelines.orchestration.run_server.process import serve

    each = ("ingest_pipelines.cli.built", "ingest_pipelines.orchestration.runs.launch")
    serve(_command, each, ("ingest_pipelines.cli.app",))


def _command(words: Sequence[str]) -> int:
    from ingest_pipelines.cli.built import ingest

    try:
        ingest(args=list(words), prog_name="ingest")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def handed_over(words: Sequence[str]) -> int | None:
    """The exit code of the command, executed where everything is imported; None: nobody executes it.

    Args:
        words: the arguments after `ingest`.
    """
    if not words or words[0] not in HANDED_OVER:
        return None
    try:
        state = read_settings().state
        with connected(state, ANSWER_SECONDS) as connection:
            send(connection, _request(words), [0, 1, 2])
            if not _is_answered(connection):
                return None
            with _signals_held_back():
                process = begin(connection)
                if process is None:
                    return None
                _forward_signals(process)
                connection.settimeout(None)
                return _code_of(connection)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped before it began; nothing changed\n")
        return INTERRUPTED
    except (IngestError, OSError, ValueError):  # the command itself finds the words for it
        return None


def _is_answered(connection: socket.socket) -> bool:
    """Whether a process is ready in time, or will never be."""
    if select([connection], [], [], SILENT_SECONDS)[0]:
        return True
    sys.stderr.write("waiting for `ingest up`, which executes this command after what came before it\n")
    return bool(select([connection], [], [], ANSWER_SECONDS - SILENT_SECONDS)[0])


def _request(words: Sequence[str]) -> CommandRequest:
    umask = os.umask(0o077)
    os.umask(umask)
    files = (sys.stdin, sys.stdout, sys.stderr)
    encodings = [(file.encoding, file.errors or "strict") for file in files]
    return CommandRequest(list(words), own_python(), str(Path.cwd()), umask, own_environment(), encodings)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """A signal that comes until they are forwarded waits for that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forward_signals(process: int) -> None:
    def forward(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(process, number)

    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:  # such as SIGHUP under nohup
            signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)


def _code_of(connection: socket.socket) -> int:
    """The exit code of the process, once it has ended."""
    try:
        line = read_line(connection)
    except OSError:
        line = b""
    if not line.startswith(EXIT):
        sys.stderr.write("the process that executed the command was killed; what it had not committed is rolled back\n")
        return KILLED
    return int(line.removeprefix(EXIT))
