"""The settings of a session, so that we read and write the same whatever the role or the database has set.

They end with the transaction, so that they work behind a transaction pooler and never change another session. BEGIN
and the settings are one round trip. A time limit of the role or the database may end the session, or the statement that
makes the settings, before they hold: then the statement is repeated, or the limits are lifted by the login (UNLIMITED).

Settings that belong to the owner of the database are left alone: `session_replication_role` (whether triggers fire),
`default_tablespace`, `default_table_access_method`, `row_security`, `role`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus

from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge.sqlstates import meaning_of
from ingest_pipelines.postgres_login import SERVER_KEEPALIVES

READS_AND_WRITES: Mapping[str, str] = {
    # How values are written as text, both ways.
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",  # floats read back as they are
    "bytea_output": "hex",
    "xmloption": "content",
    "array_nulls": "on",
    # How a statement is read.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",  # the catalog's names are compared with ours
    "restrict_nonsystem_relation_kind": "",  # `ingest.events` is a view
    # We read no notices, and a trigger may send one per row, with the row in it.
    "client_min_messages": "error",
    "exit_on_error": "off",  # an error is answered, and asked about
    # Time limits that are meant for people's queries. We limit the wait for locks ourselves.
    "lock_timeout": "60s",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "10min",
    **SERVER_KEEPALIVES,
}
"""Settings of every session."""

_LIMITS = (
    "statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout",
)  # fmt: skip
"""Time limits that can end a session before its first transaction has its settings. The last one came with 17."""

_OPTIONS = [f"-c {name}={READS_AND_WRITES[name]}" for name in _LIMITS]

UNLIMITED: Sequence[str] = (" ".join(_OPTIONS), " ".join(_OPTIONS[:-1]))
"""Start-up options of a session that no time limit ends, best first: servers before 17 refuse a login with the first of
them, and poolers refuse both. So they are for a session that lasts, and for one that a limit has ended."""

_ENDED_BY_A_LIMIT = {"57014", "57P05", "25P03", "25P04", "08P01"}
"""A statement was cancelled, a session or a transaction was idle or took too long; the last one is a pooler's: a limit
cancelled the statement by which it gives a client's settings to another session of the server."""

TRIES = 5
"""A limit of a millisecond rarely ends a statement of microseconds, and hardly ever five in a row. Nothing was done
before."""

LOADS: Mapping[str, str] = {
    "temp_buffers": "64MB",
    "jit": "off",
    "synchronous_commit": "on",  # `committed` must survive a crash of the server
}
"""Further settings of a load's session."""

_BEGIN = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED {} NOT DEFERRABLE; {} SET LOCAL statement_timeout = 0; ")
"""The limits end first, by statements that take no time: the statement for the others reads the catalog."""

_APPLY = sql.SQL("""
    SELECT pg_catalog.set_config(name, value, true)
    FROM ROWS FROM (pg_catalog.unnest({names}::pg_catalog.text[]), pg_catalog.unnest({values}::pg_catalog.text[]))
         AS wanted (name, value)
    WHERE pg_catalog.current_setting(name, true) IS NOT NULL
      AND NOT (name OPERATOR(pg_catalog.=) 'synchronous_commit'
               AND pg_catalog.current_setting(name) OPERATOR(pg_catalog.=) ANY(ARRAY['remote_write', 'remote_apply']))
      -- Behind a pooler the server's session may have had temporary tables: then their buffers cannot be changed.
      AND NOT (name OPERATOR(pg_catalog.=) 'temp_buffers' AND pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0)
    UNION ALL
    -- Temporary tables and Postgres's own functions come first, even if the path puts them last.
    SELECT pg_catalog.set_config('search_path', pg_catalog.concat('pg_temp, pg_catalog, ', path), true)
    FROM pg_catalog.current_setting('search_path') path
    WHERE pg_catalog.lower(path) OPERATOR(pg_catalog.~) 'pg_(catalog|temp)'
""")


def ended_by_a_limit(error: psycopg.Error) -> bool:
    """Whether a time limit may have cancelled the statement or ended the session.

    What the server says as it ends a session is lost if we send just then: the connection is broken, or the answers
    are others than the driver waits for. It has no code for either.
    """
    return error.sqlstate is None or error.sqlstate in _ENDED_BY_A_LIMIT


def prepare(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    """Begins a transaction with these settings and READS_AND_WRITES, except those that the server does not know.

    Raises:
        TargetUnavailable: the server is a standby, and the settings are those of a load.
        psycopg.Error: the connection broke, or a time limit ended the session.
    """
    standby = is_standby(connection)
    if standby and settings.keys() >= LOADS.keys():
        raise _only_reads()
    wanted = {**READS_AND_WRITES, **settings}
    apply = _APPLY.format(names=list(wanted), values=list(wanted.values()))
    if connection.info.transaction_status != TransactionStatus.IDLE:
        _send(connection, apply)
        return
    since_17 = connection.info.server_version >= 170000
    begin = _BEGIN.format(
        sql.SQL("" if standby else "READ WRITE"), sql.SQL("SET LOCAL transaction_timeout = 0;" if since_17 else "")
    )
    for tries_left in reversed(range(TRIES)):
        try:
            _send(connection, begin + apply)
            return
        except psycopg.errors.FeatureNotSupported:  # BEGIN READ WRITE, where a pooler hides that it is a standby
            raise _only_reads() from None
        except psycopg.errors.QueryCanceled:
            connection.rollback()
            if not tries_left:
                raise


def _send(connection: psycopg.Connection, statements: sql.Composed) -> None:
    """Sends the statements as one message, so that a transaction is never idle between them.

    psycopg itself waits for the answer to BEGIN before it sends another statement.
    """
    connection.pgconn.send_query(statements.as_bytes(connection))
    result = connection.wait(execute(connection.pgconn))[-1]
    if result.status == ExecStatus.FATAL_ERROR:
        raise error_from_result(result, connection.info.encoding)


def is_standby(connection: psycopg.Connection) -> bool:
    """Whether the server is a standby, which takes no changes. It reports this in every session."""
    return connection.info.parameter_status("in_hot_standby") == "on"


def _only_reads() -> TargetUnavailable:
    meaning = meaning_of("25006")
    return TargetUnavailable(f"target: {meaning.says}", hint=meaning.hint)
