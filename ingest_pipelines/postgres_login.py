"""Logs in to Postgres so that a refused login has its SQLSTATE.

libpq reports a failed login only in the server's words, which may be in any language. The code is in the protocol,
which libpq can trace: into memory that is freed when the login has ended.
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo

CANNOT_CONNECT = "08001"
REFUSED = "08004"
BROKEN = "08006"
INVALID_CREDENTIALS = "28P01"
UNTRUSTED = "08U01"
"""Ours: the server's certificate is not what `sslmode` and `sslrootcert` demand."""
LOGIN_REFUSED = "28U01"
"""Ours: a refusal whose code cannot be read on this operating system."""

KEEPALIVES: Mapping[str, int] = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Libpq's parameters by which we notice within a minute that a server is gone."""

SERVER_KEEPALIVES: Mapping[str, str] = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
    "client_connection_check_interval": "2s",
}
"""Settings of a session by which the server notices that we are gone, and lets go of locks and queries: it asks an idle
connection after 30 s, and looks every two seconds at that of a long statement."""

_ASK_FOR_TLS = struct.pack("!ii", 8, 80877103)
_TLS_SECONDS = 5.0
_DEMAND_TLS = {"require", "verify-ca", "verify-full"}
"""Values of `sslmode`: with the others a server without TLS, or with any certificate, is as good."""

_REFUSAL = re.compile(r'^B\t\d+\tErrorResponse\t S "[^"]*"(?: V "[^"]*")? C "([0-9A-Z]{5})"', re.MULTILINE)
_NO_TLS = re.compile(r"^B\t\d+\tSSLResponse\t N", re.MULTILINE)
_TLS = re.compile(r"^B\t\d+\tSSLResponse\t S", re.MULTILINE)
_LIBPQ_LOST = (b"server closed the connection unexpectedly", b"could not receive data from server")
"""Libpq's own words, in English unless a process asks for others; no server says them."""
_STARTED = re.compile(r"^F\t\d+\tStartupMessage", re.MULTILINE)


def connect(conninfo: str = "", **settings: Any) -> psycopg.Connection:
    """A new connection, like `psycopg.connect`; several addresses of a host are tried as libpq does.

    Args:
        settings: libpq parameters that override those in `conninfo`.

    Raises:
        psycopg.ProgrammingError: a parameter does not exist, or libpq does not accept its value.
        psycopg.Error: no connection. Its `sqlstate` is the server's, or of class 08: CANNOT_CONNECT (no answer),
            REFUSED (no TLS, which `sslmode` demands), UNTRUSTED or BROKEN. Off Linux, a login that is refused after the
            password was sent is LOGIN_REFUSED. Its text contains nothing that the server said.
    """
    chosen = conninfo_to_dict(conninfo, **settings)
    deadline = time.monotonic() + timeout_from_conninfo(chosen)
    pgconn = pq.PGconn.connect_start(make_conninfo("", **chosen).encode())
    connected = False
    try:
        with _traced(pgconn) as trace:
            connected = pgconn.status != pq.ConnStatus.BAD and _polled(pgconn, deadline, trace)
        if not connected:
            raise _failure(pgconn, trace, chosen, deadline)
        pgconn.nonblocking = 1
        return psycopg.Connection(pgconn)
    finally:
        if not connected:
            pgconn.finish()


def _polled(pgconn: pq.abc.PGconn, deadline: float, trace: _Trace) -> bool:
    """Whether the login succeeded before the deadline.

    libpq repeats a refused login without TLS if `sslmode` allows both. A wrong password is not sent again: servers
    count them.
    """
    wanted = {pq.PollingStatus.READING: selectors.EVENT_READ, pq.PollingStatus.WRITING: selectors.EVENT_WRITE}
    status = pq.PollingStatus.WRITING
    while status in wanted:
        with selectors.DefaultSelector() as selector:  # libpq may continue with another socket
            selector.register(pgconn.socket, wanted[status])
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return False
        status = pq.PollingStatus(pgconn.connect_poll())
        trace.reached.add(pq.ConnStatus(pgconn.status))
        if pgconn.error_message and trace.refuses_password(pgconn):
            return False
    return status == pq.PollingStatus.OK


class _Trace:
    """The protocol of the login.

    Attributes:
        complete: whether the protocol was traced; if not, only `reached` is known.
        reached: the states that the login went through.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.complete = memory is not None
        self.reached: set[pq.ConnStatus] = set()
        self._memory = memory
        self._text = ""

    @property
    def text(self) -> str:
        """The protocol so far; libpq writes line by line."""
        if self._memory is not None:
            self._text = os.pread(self._memory, 1 << 20, 0).decode(errors="replace")
        return self._text

    def refuses_password(self, pgconn: pq.abc.PGconn) -> bool:
        """Whether the server refuses the password; without the protocol, whether it refuses the login after it."""
        if self.complete:
            return INVALID_CREDENTIALS in _REFUSAL.findall(self.text)
        waits = pgconn.status in {pq.ConnStatus.AWAITING_RESPONSE, pq.ConnStatus.AUTH_OK, pq.ConnStatus.OK}
        lost = any(words in pgconn.error_message for words in _LIBPQ_LOST)
        return bool(pgconn.used_password) and not waits and not lost

    def close(self) -> None:
        """Keeps the text; the memory can be freed."""
        _ = self.text
        self._memory = None


@contextmanager
def _traced(pgconn: pq.abc.PGconn) -> Iterator[_Trace]:
    """Traces the protocol during the block. psycopg traces only on Linux; elsewhere refusals have no code."""
    if pgconn.status == pq.ConnStatus.BAD or not hasattr(os, "memfd_create"):
        yield _Trace()
        return
    with closing(os.fdopen(os.memfd_create("login"), "rb")) as memory:
        try:
            end = _trace_into(pgconn, memory.fileno())
            pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        except psycopg.NotSupportedError:
            yield _Trace()
            return
        trace = _Trace(memory.fileno())
        try:
            yield trace
        finally:
            end()
            trace.close()


def _trace_into(pgconn: pq.abc.PGconn, memory: int) -> Callable[[], None]:
    """Begins to trace; what is returned ends it.

    `PGconn.trace` makes a C stream that nobody closes: 4.6 kB of each login stay for ever. So libpq gets a stream of
    ours where it is psycopg's own.
    """
    libpq, connection = _bundled_libpq(), getattr(pgconn, "pgconn_ptr", None)
    if libpq is None or connection is None:
        pgconn.trace(memory)
        return pgconn.untrace
    libc = _libc()
    stream = libc.fdopen(os.dup(memory), b"w")
    libpq.PQtrace(connection, stream)

    def end() -> None:
        libpq.PQuntrace(connection)
        libc.fclose(stream)

    return end


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.fdopen.argtypes, libc.fdopen.restype = [ctypes.c_int, ctypes.c_char_p], ctypes.c_void_p
    libc.fclose.argtypes = [ctypes.c_void_p]
    return libc


@cache
def _bundled_libpq() -> ctypes.CDLL | None:
    """The libpq that psycopg's wheel brings and has loaded; None: psycopg uses another one."""
    binary = find_spec("psycopg_binary") if pq.__impl__ == "binary" else None
    if binary is None or binary.origin is None:
        return None
    for file in (Path(binary.origin).parent.parent / "psycopg_binary.libs").glob("libpq-*.so*"):
        libpq = ctypes.CDLL(str(file))
        libpq.PQtrace.argtypes, libpq.PQtrace.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        libpq.PQuntrace.argtypes, libpq.PQuntrace.restype = [ctypes.c_void_p], None
        return libpq
    return None


def _failure(pgconn: pq.abc.PGconn, trace: _Trace, chosen: dict[str, Any], deadline: float) -> psycopg.Error:
    """The error, with its code, for a login that failed."""
    refusals = _REFUSAL.findall(trace.text)
    if refusals:
        return _error(refusals[-1])
    if pgconn.needs_password:
        return _error(INVALID_CREDENTIALS)
    if not trace.complete and time.monotonic() < deadline and trace.refuses_password(pgconn):
        return _error(LOGIN_REFUSED)
    began = bool(_STARTED.search(trace.text)) or pq.ConnStatus.AWAITING_RESPONSE in trace.reached
    in_tls = bool(_TLS.search(trace.text)) or pq.ConnStatus.SSL_STARTUP in trace.reached
    settings = {option.keyword.decode(): option.val.decode() for option in pgconn.info if option.val}
    if not began and settings.get("sslmode") in _DEMAND_TLS:  # else a login without TLS would have been tried
        if _NO_TLS.search(trace.text):
            return _error(REFUSED)
        if in_tls and (problem := _tls_problem(pgconn, chosen, settings)):
            return _error(problem)
    if not (trace.text or began or in_tls):  # nothing was sent
        if not _accepted(chosen):
            return psycopg.ProgrammingError("libpq does not accept the value of a connection parameter")
        return _error(CANNOT_CONNECT)
    return _error(BROKEN)


def _tls_problem(pgconn: pq.abc.PGconn, chosen: Mapping[str, Any], settings: Mapping[str, str]) -> str:
    """REFUSED, UNTRUSTED, or "" where only the network can be the reason: TLS is begun once more, and no login."""
    root = settings.get("sslrootcert") or str(Path.home() / ".postgresql" / "root.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.get("sslmode") == "verify-full" or root == "system"
    try:
        if root == "system":
            context.load_default_certs()
        else:
            context.load_verify_locations(root)
    except OSError:  # no such file, or no certificate in it
        if settings.get("sslmode", "").startswith("verify"):
            return UNTRUSTED
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (pgconn.hostaddr or pgconn.host).decode(), int(pgconn.port)
    try:
        with socket.create_connection(address, timeout=_TLS_SECONDS) as connection:
            if settings.get("sslnegotiation") != "direct":
                connection.sendall(_ASK_FOR_TLS)
                answer = connection.recv(1)
                if answer != b"S":
                    return REFUSED if answer == b"N" else ""
            name = str(chosen.get("host") or address[0]).split(",")[0]
            context.wrap_socket(connection, server_hostname=name).close()
    except ssl.SSLCertVerificationError:
        return UNTRUSTED
    except OSError:
        return ""
    return ""


def _error(state: str) -> psycopg.Error:
    try:
        kind = errors.lookup(state)
    except KeyError:
        kind = psycopg.OperationalError
    error = kind(f"the login failed ({state})")
    error.sqlstate = state
    return error


def _accepted(chosen: dict[str, Any]) -> bool:
    """Whether libpq accepts the parameters: it starts to connect with them to a local port of ours."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        host, port = listener.getsockname()
        pgconn = pq.PGconn.connect_start(
            make_conninfo("", **{**chosen, "hostaddr": host, "host": host, "port": port}).encode()
        )
        try:
            return pgconn.status != pq.ConnStatus.BAD
        finally:
            pgconn.finish()
