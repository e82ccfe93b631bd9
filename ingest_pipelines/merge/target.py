"""The target Postgres: connections, sessions and locks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Timer
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ingest_pipelines import postgres_login
from ingest_pipelines.errors import IngestError, TargetDenied, TargetForbids, TargetUnavailable
from ingest_pipelines.ledger.migrate import HEAD, NoLedger, migrate, revision
from ingest_pipelines.ledger.migrate import LOCK as MIGRATIONS_LOCK
from ingest_pipelines.merge.concerned import concerned, missing_grants
from ingest_pipelines.merge.driver_errors import LOCK_ERRORS, translate, translate_login
from ingest_pipelines.merge.kept_session import KEPT
from ingest_pipelines.merge.session import TRIES, UNLIMITED, ended_by_a_limit, is_standby, prepare
from ingest_pipelines.merge.sqlstates import TARGET_URL

WAITS = logging.getLogger("ingest_pipelines.waits")
"""Logs what a load or a run of this process waits for. `ingest run` prints it on the terminal."""

WARN_AFTER_SECONDS = 3.0
"""A longer wait is logged."""

APPLICATION = "ingest_pipelines"
"""`application_name` of every connection; a load adds its import."""

_OPTIONS_REFUSED = (
    psycopg.errors.UndefinedObject, psycopg.errors.ProtocolViolation, psycopg.errors.FeatureNotSupported,
)  # fmt: skip
"""How a server says that it does not know a setting, and a pooler that it takes none."""


@dataclass(frozen=True)
class Target:
    """The Postgres that holds profiles and ledger. Its URL holds a password and is never printed.

    Attributes:
        lock_timeout_seconds: how long a load waits for its target table before it raises TargetBusy (retryable).
        connect_timeout_seconds: how long a connection may take.
        work_mem: for the merge's sorts and joins.
    """

    url: str = field(repr=False)
    lock_timeout_seconds: float = 60.0
    connect_timeout_seconds: int = 10
    work_mem: str = "256MB"

    def connect(self, options: Sequence[str] = ()) -> psycopg.Connection:
        """A new connection that notices a dead server within a minute; its transactions read and write.

        Nothing is prepared on the server: a pooler may give each transaction another session of it. Its transactions
        have the settings of the role and the database: `begin` gives them ours.

        Args:
            options: start-up options, best first. A server or a pooler that refuses all of them gets none.

        Raises:
            TargetUnavailable: no answer.
            TargetDenied: wrong address, login or database.
        """
        try:
            connection = self._log_in(options)
        except psycopg.Error as error:
            if error.sqlstate is not None:
                raise translate_login(error, "target") from None
            raise TargetDenied(  # its message repeats parts of the URL, and one of them is the password
                f"target: {TARGET_URL} cannot be read as an address",
                hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with @ / % in a password as %40 %2F %25",
            ) from None
        connection.prepare_threshold = None
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.deferrable = False
        if not is_standby(connection):  # which does not take READ WRITE
            connection.read_only = False
        return connection

    def _log_in(self, options: Sequence[str]) -> psycopg.Connection:
        for chosen in options:
            with suppress(*_OPTIONS_REFUSED):
                return self._log_in_with({"options": f"{conninfo_to_dict(self.url).get('options', '')} {chosen}"})
        try:
            return self._log_in_with({})
        except psycopg.Error as error:  # a login is a transaction, too
            if options or not ended_by_a_limit(error):
                raise
        return self._log_in(UNLIMITED)

    def _log_in_with(self, options: Mapping[str, str]) -> psycopg.Connection:
        return postgres_login.connect(
            self.url, connect_timeout=self.connect_timeout_seconds, application_name=APPLICATION,
            client_encoding="UTF8", tcp_user_timeout=60_000, **postgres_login.KEEPALIVES, **options,
        )  # fmt: skip

    def begin(self, name: str = "", settings: Mapping[str, str] = MappingProxyType({})) -> psycopg.Connection:
        """A new connection in a transaction with the settings that we rely on, whatever limits the role has.

        Raises:
            TargetUnavailable, TargetDenied: what `connect` raises, or the server is a standby and this is for a load.
            psycopg.Error: the connection broke before the first statement.
        """
        for options in ((), *[UNLIMITED] * (TRIES - 2)):
            try:
                return self._begin(name, settings, options)
            except psycopg.Error as error:
                if not ended_by_a_limit(error):
                    raise
        return self._begin(name, settings, UNLIMITED)

    def _begin(self, name: str, settings: Mapping[str, str], options: Sequence[str] = ()) -> psycopg.Connection:
        connection = self.connect(options)
        try:
            prepare_session(connection, self, name, settings)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def session(self, where: str = "target") -> Iterator[psycopg.Connection]:
        """A transaction for reading and for small writes: commits at the end, driver errors translated.

        It is on the connection of an earlier one where one is kept: see `kept_session`.
        """
        try:
            connection = self._begin_again() or self.begin()
        except psycopg.Error as error:
            raise translate(error, where) from None
        with ExitStack() as closing:
            closing.enter_context(connection)
            try:
                yield connection
                connection.commit()
            except psycopg.Error as error:
                raise problem(connection, error, where) from None
            if KEPT.give_back(self.url, connection):
                closing.pop_all()

    def _begin_again(self) -> psycopg.Connection | None:
        """A transaction on the kept connection; None if there is none, or it has broken meanwhile."""
        connection = KEPT.take(self.url)
        if connection is None:
            return None
        try:
            prepare_session(connection, self)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):  # nothing was done: the session logs in
                return None
            raise
        return connection

    @contextmanager
    def ledger(self) -> Iterator[psycopg.Connection]:
        """A transaction for reading the ledger. A target without a ledger reads as an empty one, and gets none."""
        with self.session() as connection:
            at = revision(connection)
            if at is None:
                connection.cursor_factory = NoLedger
            elif at != HEAD:
                self.migrate()
            yield connection

    def migrate(self) -> None:
        """Migrates the ledger to the newest version.

        If the connection breaks, this tries once more, because the first try may have committed.

        Raises:
            TargetUnavailable, TargetBusy: retryable.
            TargetForbids: the role may not create the ledger; the hint has the GRANT.
            TargetDenied: the login was refused.
        """
        try:
            self._migrate()
        except TargetUnavailable:
            self._migrate()

    def _migrate(self) -> None:
        try:
            migrate(self.begin, lambda connection: prepare_session(connection, self))
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
                raise translate(error, _LEDGER) from None
            with self.begin() as connection:
                raise _migration_problem(connection, error) from None


def _migration_problem(connection: psycopg.Connection, error: psycopg.Error) -> IngestError:
    at = None
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        with suppress(psycopg.errors.InsufficientPrivilege):  # it may not even be read
            at = revision(connection)
    if at is not None:
        return TargetForbids(
            f"{_LEDGER} is that of an earlier version ({at}; this one needs {HEAD}), and the role "
            f"{connection.info.user} may not change it",
            hint="nothing was changed; let the owner of the schema ingest, or an administrator, run: ingest status; "
            "then give the role its rights again (deploy/sql/frozen.sql)",
        )
    if isinstance(error, LOCK_ERRORS):
        return translate(error, _LEDGER, holder=_ledger_holder(connection))
    return problem(connection, error, _LEDGER)


_LEDGER = "target: the ledger"


def problem(
    connection: psycopg.Connection, error: psycopg.Error, where: str, schema: str = "", tables: Sequence[str] = ()
) -> IngestError:
    """The error to raise instead of the driver's, `from None`. Rolls the connection's transaction back.

    Args:
        where: import and item, the start of the message.
        schema, tables: the import's target table and those beside it.
    """
    about = holder = grants = ""
    with suppress(psycopg.Error):  # details, as far as the catalog answers
        connection.rollback()
        prepare(connection, {})
        if isinstance(error, LOCK_ERRORS) and tables:
            holder = holder_of(connection, schema, tables[0])
        about = concerned(connection, error)
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            grants = missing_grants(connection, schema, tables)
        connection.rollback()
    hint = f"nothing was committed; as an administrator of the target: {grants}" if grants else ""
    return translate(error, where, concerned=about, holder=holder, hint=hint)


def prepare_session(
    connection: psycopg.Connection, target: Target, name: str = "", settings: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Gives the current transaction, or a new one, the settings that we rely on; they end with it."""
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
    """The one value of a query that returns one row."""
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


def force_index_lookups(connection: psycopg.Connection, forced: bool) -> None:
    """Forces joins by index lookups, in the order of the keys, or leaves the choice to the planner again.

    During an early load the planner does not know how fast the table grows. Lookups are right unless the rows are most
    of the table.
    """
    connection.execute(
        "SELECT set_config(name, %s, true) FROM unnest(%s::text[]) name",
        ("off" if forced else "on", ["enable_hashjoin", "enable_mergejoin", "enable_seqscan"]),
    )


def lock_number(schema: str, table: str) -> int:
    """The advisory lock of a target table: the same number in every process, a bigint."""
    digest = hashlib.sha256(f"ingest_pipelines {schema}.{table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_table(connection: psycopg.Connection, schema: str, table: str) -> None:
    """Locks the target table against other loads. Waits up to the session's `lock_timeout`.

    A wait of more than a few seconds is logged, with the session that held the table when it began.
    """
    if lock_table_at_once(connection, schema, table):
        return
    holder = holder_of(connection, schema, table) or "another load had it a moment ago"
    warning = Timer(WARN_AFTER_SECONDS, WAITS.warning, ("waiting for table %s.%s: %s", schema, table, holder))
    warning.daemon = True
    warning.start()
    try:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(schema, table),))
    finally:
        warning.cancel()


def lock_rejects(connection: psycopg.Connection, schema: str, table: str, *, shared: bool) -> None:
    """Keeps `ingest forget` and loads that failed apart: their rejects are written without the table's own lock."""
    lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    number = lock_number(schema, f"{table} rejects")
    connection.execute(sql.SQL("SELECT {}(%s)").format(sql.Identifier(lock)), (number,))


def lock_out_writers(connection: psycopg.Connection, schema: str, table: str) -> None:
    """Locks all other writers out of the table, if it exists; readers go on. Waits up to the `lock_timeout`."""
    if scalar(connection, "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", (schema, table)) is not None:
        lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(lock.format(sql.Identifier(schema, table)))


def lock_table_at_once(connection: psycopg.Connection, schema: str, table: str) -> bool:
    """Locks the target table against other loads without waiting; returns whether it did."""
    return bool(scalar(connection, "SELECT pg_try_advisory_xact_lock(%s)", (lock_number(schema, table),)))


def holder_of(connection: psycopg.Connection, schema: str, table: str) -> str:
    """The session that holds the table or its advisory lock now, for a message; "" if none does."""
    number = lock_number(schema, table) % 2**64
    return _described(
        connection,
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
    )


def _ledger_holder(connection: psycopg.Connection) -> str:
    """The oldest session that uses the ledger's tables or migrates them now, for a message; "" if none does."""
    return _described(
        connection,
        """
        SELECT a.pid, a.application_name, a.usename, date_trunc('second', clock_timestamp() - a.xact_start)::text
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.granted AND a.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND ((l.locktype = 'advisory' AND l.classid = %s AND l.objid = %s AND l.objsubid = 1)
           OR (l.locktype = 'relation'
               AND l.relation IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('ingest')
                                  AND starts_with(relname, 'alembic_version') IS FALSE)))  -- which we read ourselves
        ORDER BY a.xact_start LIMIT 1
        """,
        (MIGRATIONS_LOCK >> 32, MIGRATIONS_LOCK & 0xFFFFFFFF),
    )


def _described(connection: psycopg.Connection, query: LiteralString, values: Sequence[Any]) -> str:
    holder = connection.execute(query, values).fetchone()
    if holder is None:
        return ""
    pid, application, user, since = holder
    return f"held by '{application or 'a session'}' (pid {pid}, user {user}, for {since or 'a while'})"
