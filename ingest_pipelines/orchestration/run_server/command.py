"""A command that a process of the run server executes for the one that a person started.

It has that one's arguments, working directory, environment, umask and standard files, and prints and ends as it would.
Ctrl-C reaches it through the person's process; if that is killed, it is interrupted, too.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread

from ingest_pipelines.config.settings import take_environment
from ingest_pipelines.orchestration.run_server.request import EXIT, CommandRequest, is_wanted, own_python


def execute_command(
    request: CommandRequest,
    standard_files: Sequence[int],
    connection: socket.socket,
    command: Callable[[Sequence[str]], int],
) -> None:
    """The command; nothing, if the caller does not wait any more or runs other code than this process."""
    if list(request.python) != own_python() or len(standard_files) != 3 or not is_wanted(connection):
        return
    connection.settimeout(None)
    _take_over(request, standard_files)
    is_over = Event()
    Thread(target=_end_with_the_caller, args=(connection, is_over), daemon=True).start()
    code = _code_of(command, request.words)
    is_over.set()
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # `| head` has closed the pipe
            file.flush()
    with suppress(OSError):
        connection.sendall(b"%s%d\n" % (EXIT, code))


def _take_over(request: CommandRequest, standard_files: Sequence[int]) -> None:
    os.chdir(request.folder)
    os.umask(request.umask)
    take_environment(request.environment)
    time.tzset()
    for number, file in enumerate(standard_files):
        os.dup2(file, number)
        os.close(file)
    sys.argv[:] = ["ingest", *request.words]
    (encoding, errors), *outputs = request.encodings
    sys.stdin = os.fdopen(0, encoding=encoding, errors=errors, closefd=False)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding=encoding, errors=errors, closefd=False, buffering=1)
        for number, (encoding, errors) in enumerate(outputs, 1)
    )


def _code_of(command: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """The command's exit code; 1 with a traceback on stderr, as Python ends, where it fails unexpectedly."""
    try:
        return command(words)
    except BaseException:
        traceback.print_exc()
        return 1


def _end_with_the_caller(connection: socket.socket, is_over: Event) -> None:
    """Interrupts this process if the caller ends before the command does. Until then the caller says nothing."""
    with suppress(OSError):
        if not connection.recv(1) and not is_over.is_set():
            os.kill(os.getpid(), signal.SIGINT)
