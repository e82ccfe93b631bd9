"""The target Postgres: how to connect to it, and how a load's session is set up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ingest_pipelines.errors import TargetDenied
from ingest_pipelines.merge.driver_errors import translate

APPLICATION = "ingest_pipelines"
"""`application_name` of every connection; a load adds its import."""


@dataclass(frozen=True)
class Target:
    """The Postgres that holds profiles and ledger. Its URL holds a password and is never shown.

    Attributes:
        lock_timeout_seconds: how long a load waits for its target table; then TargetBusy, which is tried again.
        connect_timeout_seconds: how long a connection may take.
        work_mem: for the merge's sorts and joins.
    """

    url: str = field(repr=False)
    lock_timeout_seconds: float = 60.0
    connect_timeout_seconds: int = 10
    work_mem: str = "256MB"

    def connect(self) -> psycopg.Connection:
        """A new connection that notices a dead server within a minute.

        Raises:
            TargetUnavailable: no answer.
            TargetDenied: wrong address, login or database.
        """
        try:
            return psycopg.connect(
                self.url, connect_timeout=self.connect_timeout_seconds, application_name=APPLICATION,
                client_encoding="UTF8", keepalives=1, keepalives_idle=30, keepalives_interval=10, keepalives_count=3,
                tcp_user_timeout=60_000,
            )  # fmt: skip
        except psycopg.ProgrammingError:  # its message repeats parts of the URL, and one of them is the password
            raise TargetDenied(
                "target: INGEST_DATABASE_URL cannot be read as an address",
                hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with @ / % in a password as %40 %2F %25",
            ) from None
        except psycopg.Error as error:
            raise translate(error, "target") from None

    @contextmanager
    def session(self, where: str = "target") -> Iterator[psycopg.Connection]:
        """A connection for reading and for small writes: commits at the end, driver errors translated."""
        with self.connect() as connection:
            try:
                yield connection
                connection.commit()
            except psycopg.Error as error:
                raise translate(error, where) from None


def begin(target: Target, name: str) -> psycopg.Connection:
    """A connection in the transaction of a load, with its settings."""
    connection = target.connect()
    try:
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = False
        prepare_session(connection, target, name)
    except psycopg.Error:
        connection.close()
        raise
    return connection


def prepare_session(connection: psycopg.Connection, target: Target, name: str) -> None:
    """The transaction's own settings: they end with it, so poolers and other users are not disturbed.

    A role's or a database's time limits are lifted for the load; the wait for locks is ours. The server asks every
    ten seconds whether the client still lives, so that a killed loader's merge does not run on. An asynchronous
    commit is made synchronous: `committed` must survive a crash of the server.
    """
    connection.execute(
        """
        SELECT set_config(setting, value, true)
        FROM (VALUES
            ('application_name', %s),
            ('lock_timeout', %s),
            ('statement_timeout', '0'),
            ('transaction_timeout', '0'),
            ('idle_in_transaction_session_timeout', '10min'),
            ('client_connection_check_interval', '10s'),
            ('work_mem', %s),
            ('temp_buffers', '64MB'),
            ('jit', 'off'),
            ('timezone', 'UTC'),
            ('synchronous_commit', 'on')
        ) wanted (setting, value)
        WHERE current_setting(setting, true) IS NOT NULL
          AND NOT (setting = 'synchronous_commit' AND current_setting(setting) IN ('remote_write', 'remote_apply'))
        """,
        (f"{APPLICATION}: {name}"[:63], f"{max(1, round(target.lock_timeout_seconds * 1000))}ms", target.work_mem),
    )


def scalar(
    connection: psycopg.Connection, query: LiteralString | sql.SQL | sql.Composed, values: Sequence[Any] = ()
) -> Any:
    """The one value of a query that answers with one row."""
    found = connection.execute(query, values).fetchone()
    assert found is not None
    return found[0]


def look_up_by_index(connection: psycopg.Connection, by_index: bool) -> None:
    """How rows find their profiles: by the index, in the order of their keys, unless they are most of the table.

    The planner cannot be asked while a load goes on: it does not know how fast the table grows.
    """
    connection.execute(
        "SELECT set_config(name, %s, true) FROM unnest(%s::text[]) name",
        ("off" if by_index else "on", ["enable_hashjoin", "enable_mergejoin", "enable_seqscan"]),
    )


def lock_number(schema: str, table: str) -> int:
    """The advisory lock of a target table: the same number in every process, a bigint."""
    digest = hashlib.sha256(f"ingest_pipelines {schema}.{table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_table(connection: psycopg.Connection, schema: str, table: str) -> None:
    """The target table is this transaction's, among loads. Waits up to the session's `lock_timeout`."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(schema, table),))


def lock_table_at_once(connection: psycopg.Connection, schema: str, table: str) -> bool:
    """Whether the target table is this transaction's, among loads; nobody is waited for."""
    return bool(scalar(connection, "SELECT pg_try_advisory_xact_lock(%s)", (lock_number(schema, table),)))


def holder_of(connection: psycopg.Connection, schema: str, table: str) -> str:
    """Who holds the table or its advisory lock right now, for an error message; "" where nobody does."""
    number = lock_number(schema, table) % 2**64
    found = connection.execute(
        """
        SELECT a.pid, a.application_name, a.usename, date_trunc('second', clock_timestamp() - a.xact_start)::text
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.granted AND a.pid <> pg_backend_pid() AND (
              (l.locktype = 'advisory' AND l.classid = %s AND l.objid = %s AND l.objsubid = 1
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
           OR (l.locktype = 'relation' AND l.relation = to_regclass(format('%%I.%%I', %s::text, %s::text))
               AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')))
        ORDER BY a.xact_start LIMIT 1
        """,
        (number >> 32, number & 0xFFFFFFFF, schema, table),
    ).fetchone()
    if found is None:
        return ""
    pid, application, user, since = found
    return f"held by '{application or 'a session'}' (pid {pid}, user {user}, for {since or 'a while'})"
