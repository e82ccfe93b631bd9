"""Asks the run server for a process: exactly one process does what is asked, or none does and the caller may do it.

The connection is handed to the process, which says that it is ready and waits for a last word. So a connection that
ends before that means that no process will do it, whichever process was killed, and when.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

SOCKET = "server.sock"
"""Its name in the folder of the run locks."""

SERVING, LEAVING = "ready\n", "leaving\n"
"""What the server says to the daemon: it takes runs; it takes none any more, and another one may be started."""

READY, GO = b"ready ", b"go\n"

EXIT = b"exit "
"""Begins the last line that the caller of a command gets; the exit code follows."""

ANSWER_SECONDS = 10.0
"""How long the server may take until a process is ready; on a quiet machine it takes a twentieth of a second."""

READ_SECONDS = 2.0
"""How long a caller may take to write its request."""

_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class RunRequest:
    """A run of the daemon to execute.

    Attributes:
        packed: the run's arguments, as Dagster packs them for a process.
    """

    run_id: str
    packed: str


@dataclass(frozen=True)
class CommandRequest:
    """A command to execute, as the process that asks would.

    Attributes:
        words: the arguments after `ingest`.
        python: what the process must have in common with the one that asks: see `own_python`.
        environment: all of its variables. They may hold secrets.
        encodings: encoding and error handler of its three standard files.
    """

    words: Sequence[str]
    python: Sequence[str]
    folder: str
    umask: int
    environment: Mapping[str, str] = field(repr=False)
    encodings: Sequence[Sequence[str]]


Request = RunRequest | CommandRequest


def pack(request: Request) -> bytes:
    """A line of JSON."""
    return json.dumps({"kind": type(request).__name__, **asdict(request)}).encode() + b"\n"


def unpack(line: bytes) -> Request:
    """What `pack` made.

    Raises:
        ValueError, TypeError: something else made it.
    """
    facts = json.loads(line)
    kind = facts.pop("kind", None)
    return CommandRequest(**facts) if kind == CommandRequest.__name__ else RunRequest(**facts)


def ask(connection: socket.socket, request: Request, files: Sequence[int] = ()) -> int | None:
    """The process that does what is asked; None: no process ever will.

    Args:
        files: file descriptors that the process gets.

    Raises:
        OSError: the same as None.
    """
    send(connection, request, files)
    return begin(connection)


def send(connection: socket.socket, request: Request, files: Sequence[int] = ()) -> None:
    """Sends the request, and nothing is done yet: the caller may still give it up, by the end of the connection."""
    line = pack(request)
    sent = socket.send_fds(connection, [line], list(files)) if files else 0
    connection.sendall(line[sent:])


def begin(connection: socket.socket) -> int | None:
    """The process that does what was sent, as of now; None: no process ever will.

    Raises:
        OSError: the same as None.
    """
    answer = read_line(connection)
    if not answer.startswith(READY):
        return None
    connection.sendall(GO)
    return int(answer.removeprefix(READY))


@contextmanager
def connected(state: Path, seconds: float = ANSWER_SECONDS) -> Iterator[socket.socket]:
    """A connection to the state folder's run server.

    Args:
        seconds: how long it may take until a process is ready.

    Raises:
        OSError: none serves, or not this account.
    """
    with socket.socket(socket.AF_UNIX) as connection, socket_path(state) as path:
        connection.settimeout(seconds)
        connection.connect(str(path))
        yield connection


def ask_for_run(state: Path, request: RunRequest, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether a process of the run server executes the run; if not, none ever will.

    Args:
        seconds: how long it may take until a process is ready.
    """
    try:
        with connected(state, seconds) as connection:
            return ask(connection, request) is not None
    except OSError:
        return False


def read_request(connection: socket.socket) -> tuple[Request | None, list[int]]:
    """What the caller asks for, and the file descriptors that it gives; None where it ended first."""
    connection.settimeout(READ_SECONDS)
    files: list[int] = []
    try:
        line, files, _, _ = socket.recv_fds(connection, 65_536, 3)
        return unpack(read_line(connection, line)), list(files)
    except (OSError, ValueError, TypeError):
        return None, list(files)


def is_wanted(connection: socket.socket) -> bool:
    """Says that this process is ready; whether the caller still waits for it. If so, this process is to do it."""
    connection.settimeout(ANSWER_SECONDS)
    try:
        connection.sendall(b"%s%d\n" % (READY, os.getpid()))
        return read_line(connection) == GO
    except OSError:
        return False


def own_python() -> list[str]:
    """This interpreter, this package, and what else decides which code a command executes, and with which rights."""
    places = (sys.prefix, __file__, *sys.path[1:])
    return [*map(os.path.realpath, places), sys.version, str(sys.flags.optimize), str(os.geteuid())]


def read_line(connection: socket.socket, line: bytes = b"") -> bytes:
    """The next line, or what came before the connection ended. The other side writes one line and waits.

    Args:
        line: its beginning, read before.
    """
    while not line.endswith(b"\n") and len(line) < _MOST_BYTES:
        received = connection.recv(65_536)
        if not received:
            break
        line += received
    return line


@contextmanager
def socket_path(state: Path) -> Iterator[Path]:
    """The socket's path during the block: short, because the kernel takes no longer one than 107 bytes.

    Raises:
        OSError: there is no such folder, or this system has no run server.
    """
    if sys.platform != "linux":
        raise OSError("the run server needs Linux")
    folder = os.open(state / "runs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{folder}/{SOCKET}")
    finally:
        os.close(folder)
