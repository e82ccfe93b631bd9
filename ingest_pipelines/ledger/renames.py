"""An import that got another name (`renamed_from`): its history moves to the new name."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import psycopg
from psycopg import sql

from ingest_pipelines.ledger.audit import record_audit

Rename = Literal["renamed", "nothing to rename", "has a history of its own"]

_LOCK = 7_308_604_758_122_394_673
"""Advisory lock of renames: one at a time per Postgres database."""

_OF_ONE_IMPORT = (
    "items",
    "loads",
    "cursors",
    "corrections",
    "source_checks",
    "event_batches",
    "unmatched",
    "alerts",
    "alert_routes",
)
"""Tables with a column `import`. The audit trail keeps the names that were true at the time."""

_KEPT_ONCE = ("cursors", "source_checks", "alerts", "alert_routes")
"""Those of them whose rows say how an import is now: what a name's first minutes left there gives way."""


def rename_import(connection: psycopg.Connection, old: str, new: str, who: str, now: datetime) -> Rename:
    """Moves history, cursor, items, rejects, mapping lock and source check from the old name to the new one.

    It is one transaction, the caller's, and calling it again changes nothing. A load of the old name that was under way
    meanwhile is moved by the next call.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    if not has_history(connection, old):
        return "nothing to rename"
    again = connection.execute(
        "SELECT 1 FROM ingest.audit WHERE import = %s AND what = 'renamed' AND detail ->> 'from' = %s", (new, old)
    ).fetchone()
    if again is None and has_history(connection, new):
        return "has a history of its own"
    values = {"old": old, "new": new}
    for table in _KEPT_ONCE:
        query = sql.SQL(
            "DELETE FROM ingest.{table} WHERE import = %(new)s"
            " AND EXISTS (SELECT FROM ingest.{table} WHERE import = %(old)s)"
        )
        connection.execute(query.format(table=sql.Identifier(table)), values)
    connection.execute(
        """
        DELETE FROM ingest.items n USING ingest.items o
        WHERE n.import = %(new)s AND n.status NOT IN ('committed', 'skipped') AND o.import = %(old)s AND o.key = n.key
        """,
        values,
    )
    connection.execute(
        "DELETE FROM ingest.items o USING ingest.items n WHERE o.import = %(old)s AND n.import = %(new)s"
        " AND n.key = o.key",
        values,
    )
    for table in _OF_ONE_IMPORT:
        query = sql.SQL("UPDATE ingest.{table} SET import = %(new)s WHERE import = %(old)s")
        connection.execute(query.format(table=sql.Identifier(table)), values)
    connection.execute(
        """
        WITH before AS (DELETE FROM ingest.imports WHERE name = %(old)s RETURNING *)
        INSERT INTO ingest.imports AS i (name, database, fingerprint, mapping, status, activated_at, columns)
        SELECT %(new)s, database, fingerprint, mapping, status, activated_at, columns FROM before
        ON CONFLICT (name) DO UPDATE SET
            fingerprint = COALESCE(i.fingerprint, EXCLUDED.fingerprint),
            mapping = COALESCE(i.mapping, EXCLUDED.mapping), columns = COALESCE(i.columns, EXCLUDED.columns),
            status = COALESCE(i.status, EXCLUDED.status), activated_at = COALESCE(EXCLUDED.activated_at, i.activated_at)
        """,
        values,
    )
    connection.execute("UPDATE ingest.fields SET created_by = %(new)s WHERE created_by = %(old)s", values)
    record_audit(connection, who, "renamed", now, import_name=new, detail={"from": old})
    return "renamed"


def is_renamed_since(connection: psycopg.Connection, name: str, moment: datetime | None) -> bool:
    """Whether the import took its history over from another name after that moment."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM ingest.audit WHERE import = %s AND what = 'renamed' AND at > %s)", (name, moment)
    ).fetchone()
    return row is not None and bool(row[0])


def has_history(connection: psycopg.Connection, name: str) -> bool:
    """Whether the import has items, loads, a cursor or a locked mapping."""
    row = connection.execute(
        """
        SELECT EXISTS (SELECT FROM (SELECT FROM ingest.items WHERE import = %(name)s ORDER BY key LIMIT 1) i)
            OR EXISTS (SELECT FROM (SELECT FROM ingest.loads WHERE import = %(name)s ORDER BY id LIMIT 1) l)
            OR EXISTS (SELECT FROM ingest.cursors WHERE import = %(name)s)
            OR EXISTS (SELECT FROM ingest.imports WHERE name = %(name)s AND mapping IS NOT NULL)
        """,
        {"name": name},
    ).fetchone()
    return row is not None and bool(row[0])
