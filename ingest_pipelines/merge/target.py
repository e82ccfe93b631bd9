"""The target Postgres: how to connect to it, and how a load's session is set up."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Timer
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ingest_pipelines import postgres_login
from ingest_pipelines.errors import IngestError, TargetDenied, TargetForbids, TargetUnavailable
from ingest_pipelines.ledger.migrate import HEAD, NoLedger, migrate, revision
from ingest_pipelines.merge.concerned import concerned, missing_grants
from ingest_pipelines.merge.driver_errors import LOCK_ERRORS, translate, translate_login
from ingest_pipelines.merge.session import LOADS, is_standby, prepare

WAITS = logging.getLogger("ingest_pipelines.waits")
"""Told what a load or a run of this process waits for; `ingest run` says it on the terminal."""

TELL_SECONDS = 3.0
"""A wait that is longer is told."""

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
        """A new connection that notices a dead server within a minute; its transactions read and write.

        Nothing is prepared on the server: a pooler may give each transaction another session of it.

        Raises:
            TargetUnavailable: no answer.
            TargetDenied: wrong address, login or database.
        """
        try:
            connection = postgres_login.connect(
                self.url, connect_timeout=self.connect_timeout_seconds, application_name=APPLICATION,
                client_encoding="UTF8", keepalives=1, keepalives_idle=30, keepalives_interval=10, keepalives_count=3,
                tcp_user_timeout=60_000,
            )  # fmt: skip
        except psycopg.Error as error:
            if error.sqlstate is not None:
                raise translate_login(error, "target") from None
            raise TargetDenied(  # its message repeats parts of the URL, and one of them is the password
                "target: INGEST_DATABASE_URL cannot be read as an address",
                hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with @ / % in a password as %40 %2F %25",
            ) from None
        connection.prepare_threshold = None
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.deferrable = False
        if not is_standby(connection):  # which does not take READ WRITE
            connection.read_only = False
        return connection

    @contextmanager
    def session(self, where: str = "target") -> Iterator[psycopg.Connection]:
        """A transaction for reading and for small writes: commits at the end, driver errors translated."""
        with self.connect() as connection:
            try:
                prepare_session(connection, self)
                yield connection
                connection.commit()
            except psycopg.Error as error:
                raise problem(connection, error, where) from None

    @contextmanager
    def ledger(self) -> Iterator[psycopg.Connection]:
        """A transaction for reading the ledger. Where there is none yet, nothing is in it, and none is made."""
        with self.session() as connection:
            at = revision(connection)
            if at is None:
                connection.cursor_factory = NoLedger
            elif at != HEAD:
                self.migrate()
            yield connection

    def migrate(self) -> None:
        """The ledger is up to date.

        Where the connection breaks, the ledger is asked anew: the break may have followed the commit.

        Raises:
            TargetUnavailable, TargetBusy: retryable.
            TargetForbids: the role may not make the ledger; the hint has the GRANT.
            TargetDenied: no login.
        """
        try:
            self._migrate()
        except TargetUnavailable:
            self._migrate()

    def _migrate(self) -> None:
        try:
            migrate(self.connect, lambda connection: prepare_session(connection, self))
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
                raise translate(error, _LEDGER) from None
            with self.connect() as connection:
                raise _migration_problem(connection, error) from None


def _migration_problem(connection: psycopg.Connection, error: psycopg.Error) -> IngestError:
    if isinstance(error, psycopg.errors.InsufficientPrivilege) and (at := revision(connection)) is not None:
        return TargetForbids(
            f"{_LEDGER} is that of an earlier version ({at}; this one needs {HEAD}), and the role "
            f"{connection.info.user} may not change it",
            hint="nothing was changed; let the owner of the schema ingest, or an administrator, run: ingest status; "
            "then give the role its rights again (deploy/sql/frozen.sql)",
        )
    return problem(connection, error, _LEDGER)


_LEDGER = "target: the ledger"


def problem(
    connection: psycopg.Connection, error: psycopg.Error, where: str, schema: str = "", tables: Sequence[str] = ()
) -> IngestError:
    """The error to raise instead of the driver's; raise it `from None`. The connection's transaction is rolled back.

    Args:
        where: import and item, the start of the message.
        schema, tables: the import's target and what stands beside it.
    """
    about = holder = grants = ""
    with suppress(psycopg.Error):  # whatever else can be found out
        connection.rollback()
        if isinstance(error, LOCK_ERRORS) and tables:
            holder = holder_of(connection, schema, tables[0])
        about = concerned(connection, error)
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            grants = missing_grants(connection, schema, tables)
        connection.rollback()
    hint = f"nothing was committed; as an administrator of the target: {grants}" if grants else ""
    return translate(error, where, concerned=about, holder=holder, hint=hint)


def begin(target: Target, name: str) -> psycopg.Connection:
    """A connection in the transaction of a load, with its settings."""
    connection = target.connect()
    try:
        prepare_session(connection, target, name, LOADS)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_session(
    connection: psycopg.Connection, target: Target, name: str = "", settings: Mapping[str, str] = MappingProxyType({})
) -> None:
    """The transaction under way, or a new one, has the settings that we rely on; they end with it."""
    prepare(
        connection,
        {
            "application_name": f"{APPLICATION}: {name}"[:63] if name else APPLICATION,
            "lock_timeout": f"{max(1, round(target.lock_timeout_seconds * 1000))}ms",
            "work_mem": target.work_mem,
            **settings,
        },
    )


def scalar(
    connection: psycopg.Connection,
    query: LiteralString | sql.SQL | sql.Composed,
    values: Sequence[Any] | Mapping[str, Any] = (),
) -> Any:
    """The one value of a query that answers with one row."""
    found = connection.execute(query, values).fetchone()
    assert found is not None
    return found[0]


def force_index_lookups(connection: psycopg.Connection, by_index: bool) -> None:
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
    """The target table is this transaction's, among loads. Waits up to the session's `lock_timeout`.

    A wait of more than a few seconds is told, with who held the table when it began.
    """
    if lock_table_at_once(connection, schema, table):
        return
    holder = holder_of(connection, schema, table) or "another load had it a moment ago"
    told = Timer(TELL_SECONDS, WAITS.warning, ("waiting for table %s.%s: %s", schema, table, holder))
    told.daemon = True
    told.start()
    try:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(schema, table),))
    finally:
        told.cancel()


def lock_out_writers(connection: psycopg.Connection, schema: str, table: str) -> None:
    """Nobody else writes to the table, which may not exist yet; readers go on. Waits up to the `lock_timeout`."""
    if scalar(connection, "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", (schema, table)) is not None:
        lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(lock.format(sql.Identifier(schema, table)))


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
