"""The sessions of a run take turns on one connection: a login costs both sides more than what a session asks.

Each session is a transaction with its own settings, as it is behind a transaction pooler, so nothing of one is left to
the next. A connection is used again only if its transaction was committed, and only within a few seconds; if it cannot
begin another one, the session logs in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

import psycopg
from psycopg.pq import TransactionStatus

LONGEST_REST_SECONDS = 5.0
"""A connection that was idle for longer is closed instead of used: a firewall or a pooler may have dropped it."""


class KeptSession:
    """At most one idle connection of this process, to one address; none outside of the blocks of `keeping`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks = 0
        self._idle: tuple[str, float, psycopg.Connection] | None = None

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """During the block a connection is kept. After the last of several blocks it is closed."""
        with self._lock:
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                left = None if self._blocks else self._swap(None)
            if left is not None:
                left.close()

    def take(self, url: str) -> psycopg.Connection | None:
        """The idle connection to that address, which is the caller's from now on; None if there is none."""
        with self._lock:
            if self._idle is None or self._idle[0] != url:
                return None
            since = self._idle[1]
            connection = self._swap(None)
        assert connection is not None
        if monotonic() - since <= LONGEST_REST_SECONDS:
            return connection
        connection.close()
        return None

    def give_back(self, url: str, connection: psycopg.Connection) -> bool:
        """Whether the connection is kept for the next session; if not, the caller closes it."""
        is_idle = not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE
        if not is_idle or connection.cursor_factory is not psycopg.Cursor:  # `Target.ledger` replaces it
            return False
        with self._lock:
            if self._blocks == 0:
                return False
            before = self._swap((url, monotonic(), connection))
        if before is not None:
            before.close()
        return True

    def _swap(self, idle: tuple[str, float, psycopg.Connection] | None) -> psycopg.Connection | None:
        before, self._idle = self._idle, idle
        return None if before is None else before[2]


KEPT = KeptSession()
"""That of this process. A run, and a command that executes one, keep it for as long as they last."""
