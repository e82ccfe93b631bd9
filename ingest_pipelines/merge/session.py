"""The settings of a session, so that we read and write the same whatever the role or the database has set.

They end with the transaction, so that they work behind a transaction pooler and never change another session. BEGIN
and the settings are one round trip.

Settings that belong to the owner of the database are left alone: `session_replication_role` (whether triggers fire),
`default_tablespace`, `default_table_access_method`, `row_security`, `role`.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge.sqlstates import meaning_of

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
    # Time limits that are meant for people's queries. We limit the wait for locks ourselves. Every two seconds the
    # server checks that the client is alive, so that a killed loader's merge does not run on.
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "10min",
    "client_connection_check_interval": "2s",
}
"""Settings of every session."""

LOADS: Mapping[str, str] = {
    "temp_buffers": "64MB",
    "jit": "off",
    "synchronous_commit": "on",  # `committed` must survive a crash of the server
}
"""Further settings of a load's session."""

_APPLY = """
    SELECT pg_catalog.set_config(name, value, true)
    FROM ROWS FROM (pg_catalog.unnest(%(names)s::pg_catalog.text[]), pg_catalog.unnest(%(values)s::pg_catalog.text[]))
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
"""


def prepare(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    """Begins a transaction with these settings and READS_AND_WRITES, except those that the server does not know.

    Raises:
        TargetUnavailable: the server is a standby, and the settings are those of a load.
    """
    wanted = {**READS_AND_WRITES, **settings}
    if is_standby(connection) and settings.keys() >= LOADS.keys():
        raise _only_reads()
    try:
        with connection.pipeline():  # BEGIN and this, at once
            connection.execute(_APPLY, {"names": list(wanted), "values": list(wanted.values())})
    except psycopg.errors.FeatureNotSupported:  # BEGIN READ WRITE, where a pooler hides that it is a standby
        raise _only_reads() from None


def is_standby(connection: psycopg.Connection) -> bool:
    """Whether the server is a standby, which takes no changes. It reports this in every session."""
    return connection.info.parameter_status("in_hot_standby") == "on"


def _only_reads() -> TargetUnavailable:
    meaning = meaning_of("25006")
    return TargetUnavailable(f"target: {meaning.says}", hint=meaning.hint)
