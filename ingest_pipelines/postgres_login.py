"""Logs in to Postgres so that a refusal has its SQLSTATE.

libpq tells of a failed login in the server's words alone, which may be in any language. The code is in the protocol,
and libpq writes the protocol down if it is asked to: into memory that is gone when the login has ended.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo

CANNOT_CONNECT = "08001"
REFUSED = "08004"
BROKEN = "08006"
PASSWORD_REFUSED = "28P01"  # noqa: S105 (a code)

_REFUSAL = re.compile(r'^B\t\d+\tErrorResponse\t S "[^"]*"(?: V "[^"]*")? C "([0-9A-Z]{5})"', re.MULTILINE)
_NO_TLS = re.compile(r"^B\t\d+\tSSLResponse\t N", re.MULTILINE)
_STARTED = re.compile(r"^F\t\d+\tStartupMessage", re.MULTILINE)


def connect(conninfo: str = "", **settings: Any) -> psycopg.Connection:
    """A new connection, as `psycopg.connect` makes it; several addresses of a host are tried as libpq does.

    Args:
        settings: libpq's parameters, over those in `conninfo`.

    Raises:
        psycopg.ProgrammingError: a parameter does not exist, or has a value that libpq does not take.
        psycopg.Error: no connection. Its `sqlstate` is the server's, or of class 08: CANNOT_CONNECT (nobody answers),
            REFUSED (no TLS, which `sslmode` demands) or BROKEN. Its text holds nothing that the server said.
    """
    chosen = conninfo_to_dict(conninfo, **settings)
    deadline = time.monotonic() + timeout_from_conninfo(chosen)
    pgconn = pq.PGconn.connect_start(make_conninfo("", **chosen).encode())
    connected = False
    try:
        with _traced(pgconn) as trace:
            connected = pgconn.status != pq.ConnStatus.BAD and _polled(pgconn, deadline, trace)
        if not connected:
            raise _failure(pgconn, trace, chosen)
        pgconn.nonblocking = 1
        return psycopg.Connection(pgconn)
    finally:
        if not connected:
            pgconn.finish()


def _polled(pgconn: pq.abc.PGconn, deadline: float, trace: _Trace) -> bool:
    """Whether the login came to a good end before the deadline.

    libpq repeats a refused one without TLS, where `sslmode` leaves it the choice. A wrong password is not sent again:
    the server counts.
    """
    wanted = {pq.PollingStatus.READING: selectors.EVENT_READ, pq.PollingStatus.WRITING: selectors.EVENT_WRITE}
    status = pq.PollingStatus.WRITING
    while status in wanted:
        with selectors.DefaultSelector() as selector:  # libpq may go on with another socket
            selector.register(pgconn.socket, wanted[status])
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return False
        status = pq.PollingStatus(pgconn.connect_poll())
        if pgconn.error_message and PASSWORD_REFUSED in _REFUSAL.findall(trace.text):
            return False
    return status == pq.PollingStatus.OK


class _Trace:
    """What client and server said during the login."""

    def __init__(self, memory: int | None = None) -> None:
        self._memory = memory
        self._text = ""

    @property
    def text(self) -> str:
        """All of it so far; libpq writes line by line."""
        if self._memory is not None:
            self._text = os.pread(self._memory, 1 << 20, 0).decode(errors="replace")
        return self._text

    def close(self) -> None:
        """The memory is about to go; the text stays."""
        _ = self.text
        self._memory = None


@contextmanager
def _traced(pgconn: pq.abc.PGconn) -> Iterator[_Trace]:
    """The protocol of what happens in the block. Without it (psycopg traces on Linux only) refusals have no code."""
    if pgconn.status == pq.ConnStatus.BAD or not hasattr(os, "memfd_create"):
        yield _Trace()
        return
    with closing(os.fdopen(os.memfd_create("login"), "rb")) as memory:
        try:
            pgconn.trace(memory.fileno())
            pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        except psycopg.NotSupportedError:
            yield _Trace()
            return
        trace = _Trace(memory.fileno())
        try:
            yield trace
        finally:
            pgconn.untrace()
            trace.close()


def _failure(pgconn: pq.abc.PGconn, trace: _Trace, chosen: dict[str, Any]) -> psycopg.Error:
    """Why there is no connection, as an error with a code."""
    refusals = _REFUSAL.findall(trace.text)
    if refusals:
        return _error(refusals[-1])
    if pgconn.needs_password:
        return _error(PASSWORD_REFUSED)
    if not trace.text:  # nobody was spoken to
        if not _taken(chosen):
            return psycopg.ProgrammingError("a connection parameter has a value that libpq does not take")
        return _error(CANNOT_CONNECT)
    if _NO_TLS.search(trace.text) and not _STARTED.search(trace.text):
        return _error(REFUSED)
    return _error(BROKEN)


def _error(state: str) -> psycopg.Error:
    try:
        kind = errors.lookup(state)
    except KeyError:
        kind = psycopg.OperationalError
    error = kind(f"the login failed ({state})")
    error.sqlstate = state
    return error


def _taken(chosen: dict[str, Any]) -> bool:
    """Whether libpq takes the parameters, wherever they lead: it begins to connect to a port of our own."""
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
