"""Traces of people in the ledger, and how `ingest forget` erases them. The counts of loads stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from ingest_pipelines.ledger.rejects import rows_at_once

FETCH = 20_000
"""How many rejects are held in memory, if they are not wide."""


@dataclass(frozen=True)
class Traces:
    """What the ledger may have of people.

    Attributes:
        imports: names of the imports that may have loaded them.
        keys: their keys, as text.
        profiles: numbers of their profiles.
        rejects: (load, line) of their rejected rows.
        cursors: (import, value, the value just before it) where a cursor stands at one of their keys.
    """

    imports: Sequence[str]
    keys: Sequence[str]
    profiles: Sequence[int]
    rejects: Sequence[tuple[int, int]]
    cursors: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class RejectCells:
    """A reject as it is searched: the row's cells by column, as JSON text; None: the ledger has none."""

    load: int
    line: int
    import_name: str
    key: str | None
    row: str | None


def reject_cells(connection: psycopg.Connection, imports: Sequence[str]) -> Iterator[list[RejectCells]]:
    """The rejects of the imports' loads, resolved ones too, some at a time; one per row and key."""
    of_imports = (list(imports),)
    widest = connection.execute(
        "SELECT max(octet_length(r.row::text)) FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load"
        " WHERE l.import = ANY(%s)",
        of_imports,
    )
    at_once = rows_at_once(widest, FETCH)
    with connection.cursor(name="reject_cells") as cursor:
        cursor.execute(
            """
            SELECT r.load, r.line, l.import, r.key, r.row::text
            FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load
            WHERE l.import = ANY(%s) AND (r.key IS NOT NULL OR r.row IS NOT NULL)
            """,
            of_imports,
        )
        while rows := cursor.fetchmany(at_once):
            yield [RejectCells(*row) for row in rows]


def imports_of_database(connection: psycopg.Connection, database: str, others: Sequence[str]) -> list[str]:
    """Imports that may have loaded into the database: its own, and those whose database the ledger does not know.

    Args:
        others: imports of the project's other databases.
    """
    rows = connection.execute(
        """
        SELECT l.import FROM (SELECT DISTINCT import FROM ingest.loads) l
        LEFT JOIN ingest.imports i ON i.name = l.import
        WHERE COALESCE(i.database, %(database)s) = %(database)s AND l.import <> ALL(%(others)s)
        ORDER BY 1
        """,
        {"database": database, "others": list(others)},
    )
    return [name for (name,) in rows]


def profiles_of_keys(connection: psycopg.Connection, imports: Sequence[str], keys: Sequence[str]) -> list[int]:
    """The numbers that profiles with these keys have, or had, as far as events are kept."""
    rows = connection.execute(
        "SELECT DISTINCT e.profile_id FROM ingest.event_batches b"
        " CROSS JOIN LATERAL unnest(b.profiles, b.keys) e (profile_id, key)"
        " WHERE b.import = ANY(%(imports)s) AND b.keys && %(keys)s::text[] AND e.key = ANY(%(keys)s)"
        " AND e.profile_id IS NOT NULL ORDER BY 1",
        {"imports": list(imports), "keys": list(keys)},
    )
    return [number for (number,) in rows]


_EVENTS = sql.SQL(
    "b.import = ANY(%(imports)s) AND (b.keys && %(keys)s::text[] OR b.profiles && %(profiles)s::bigint[])"
)


def count_traced_events(connection: psycopg.Connection, traces: Traces) -> int:
    """How many events are of these people."""
    query = sql.SQL(
        "SELECT count(*) FROM ingest.event_batches b CROSS JOIN LATERAL unnest(b.profiles, b.keys) e (profile_id, key)"
        " WHERE {} AND (e.key = ANY(%(keys)s) OR e.profile_id = ANY(%(profiles)s))"
    ).format(_EVENTS)
    row = connection.execute(query, _event_values(traces)).fetchone()
    return int(row[0]) if row else 0


def erase_events(connection: psycopg.Connection, traces: Traces) -> int:
    """Empties their events; those of others keep their numbers, which are places in a batch."""
    events = count_traced_events(connection, traces)
    if events:
        query = sql.SQL(
            """
            UPDATE ingest.event_batches b SET (profiles, keys) = (
                SELECT array_agg(CASE WHEN theirs THEN NULL ELSE profile_id END ORDER BY position),
                       array_agg(CASE WHEN theirs THEN NULL ELSE key END ORDER BY position)
                FROM (SELECT e.*, e.key = ANY(%(keys)s) OR e.profile_id = ANY(%(profiles)s) AS theirs
                      FROM unnest(b.profiles, b.keys) WITH ORDINALITY e (profile_id, key, position)) e)
            WHERE {}
            """
        ).format(_EVENTS)
        connection.execute(query, _event_values(traces))
        connection.execute(  # readers rely on it that a batch has an event
            "DELETE FROM ingest.event_batches WHERE import = ANY(%s) AND array_remove(profiles, NULL) = '{}'",
            (list(traces.imports),),
        )
    return events


def _event_values(traces: Traces) -> dict[str, object]:
    return {"imports": list(traces.imports), "keys": list(traces.keys), "profiles": list(traces.profiles)}


def count_traced_rejects(connection: psycopg.Connection, traces: Traces) -> int:
    """How many rejected rows are of these people."""
    return len(set(traces.rejects))


def erase_rejects(connection: psycopg.Connection, traces: Traces) -> int:
    """Deletes their rejects, and what a replay knows of them."""
    values = {"loads": [load for load, _ in traces.rejects], "lines": [line for _, line in traces.rejects]}
    connection.execute(
        """
        DELETE FROM ingest.corrections c USING unnest(%(loads)s::bigint[], %(lines)s::bigint[]) AS theirs (load, line)
        WHERE c.reject_load = theirs.load AND c.reject_line = theirs.line
        """,
        values,
    )
    connection.execute(
        """
        DELETE FROM ingest.rejects r USING unnest(%(loads)s::bigint[], %(lines)s::bigint[]) AS theirs (load, line)
        WHERE r.load = theirs.load AND r.line = theirs.line
        """,
        values,
    )
    return len(set(traces.rejects))


def cursor_values(connection: psycopg.Connection, import_name: str) -> list[str]:
    """Every value of the import's cursor in the ledger: committed, of its loads and items, in the audit."""
    rows = connection.execute(
        """
        SELECT DISTINCT value FROM (
            SELECT value FROM ingest.cursors WHERE import = %(import)s
            UNION ALL SELECT unnest(ARRAY[cursor_from, cursor_to]) FROM ingest.loads WHERE import = %(import)s
            UNION ALL SELECT cursor_from FROM ingest.items WHERE import = %(import)s
            UNION ALL SELECT unnest(ARRAY[detail->>'from', detail->>'to']) FROM ingest.audit
                      WHERE import = %(import)s AND what = 'cursor set'
        ) every WHERE value IS NOT NULL AND value <> 'forgotten' ORDER BY 1
        """,
        {"import": import_name},
    )
    return [value for (value,) in rows]


_CURSORS = sql.SQL("unnest(%(imports)s::text[], %(at)s::text[], %(before)s::text[]) AS theirs (import, at, before)")


def _on_cursors(connection: psycopg.Connection, statement: LiteralString, traces: Traces) -> psycopg.Cursor:
    """Executes a statement that names the people's cursors as `{cursors}`."""
    imports, at, before = zip(*traces.cursors, strict=True) if traces.cursors else ((), (), ())
    values = {"imports": list(imports), "at": list(at), "before": list(before)}
    return connection.execute(sql.SQL(statement).format(cursors=_CURSORS), values)


def _counted(connection: psycopg.Connection, statement: LiteralString, traces: Traces) -> int:
    row = _on_cursors(connection, statement, traces).fetchone()
    return int(row[0]) if row else 0


def count_traced_cursors(connection: psycopg.Connection, traces: Traces) -> int:
    """How many committed cursors stand at one of their keys."""
    return _counted(
        connection,
        "SELECT count(*) FROM ingest.cursors c JOIN {cursors} ON c.import = theirs.import AND c.value = theirs.at",
        traces,
    )


def erase_cursors(connection: psycopg.Connection, traces: Traces) -> int:
    """Moves such cursors to the value just before the key: its row is read again, and left out."""
    return _on_cursors(
        connection,
        "UPDATE ingest.cursors c SET value = theirs.before FROM {cursors}"
        " WHERE c.import = theirs.import AND c.value = theirs.at",
        traces,
    ).rowcount


def count_traced_loads(connection: psycopg.Connection, traces: Traces) -> int:
    """How many loads and items begin or end at one of their keys."""
    return _counted(
        connection,
        """
        SELECT (SELECT count(*) FROM ingest.loads l JOIN {cursors}
                ON l.import = theirs.import AND theirs.at IN (l.cursor_from, l.cursor_to))
             + (SELECT count(*) FROM ingest.items i JOIN {cursors}
                ON i.import = theirs.import AND i.cursor_from = theirs.at)
        """,
        traces,
    )


def erase_load_cursors(connection: psycopg.Connection, traces: Traces) -> int:
    """Moves where loads and items begin and end to the value just before the key."""
    rows = count_traced_loads(connection, traces)
    if rows:
        _on_cursors(
            connection,
            "UPDATE ingest.loads l SET cursor_to = theirs.before FROM {cursors}"
            " WHERE l.import = theirs.import AND l.cursor_to = theirs.at",
            traces,
        )
        # It is part of the key of a run's load, and another load of the run may begin at the value before.
        _on_cursors(
            connection,
            """
            UPDATE ingest.loads l SET cursor_from = CASE WHEN EXISTS (
                SELECT FROM ingest.loads o WHERE o.import = l.import AND o.item = l.item AND o.run_id = l.run_id
                                             AND o.cursor_from = theirs.before)
                THEN 'forgotten' ELSE theirs.before END
            FROM {cursors} WHERE l.import = theirs.import AND l.cursor_from = theirs.at
            """,
            traces,
        )
        _on_cursors(
            connection,
            "UPDATE ingest.items i SET cursor_from = theirs.before FROM {cursors}"
            " WHERE i.import = theirs.import AND i.cursor_from = theirs.at",
            traces,
        )
    return rows


def count_traced_audit(connection: psycopg.Connection, traces: Traces) -> int:
    """How many entries say that a person set a cursor to, or from, one of their keys."""
    return _counted(
        connection,
        "SELECT count(*) FROM ingest.audit a JOIN {cursors} ON a.import = theirs.import AND a.what = 'cursor set'"
        " AND theirs.at IN (a.detail->>'from', a.detail->>'to')",
        traces,
    )


def erase_audit(connection: psycopg.Connection, traces: Traces) -> int:
    """Removes such values from the audit; who did what and when stays."""
    entries = count_traced_audit(connection, traces)
    if entries:  # a role that may not change the audit needs the right only if there is something to erase
        _on_cursors(
            connection,
            """
            UPDATE ingest.audit a SET detail = (
                SELECT jsonb_object_agg(key, CASE WHEN value = to_jsonb(theirs.at) THEN '"forgotten"' ELSE value END)
                FROM jsonb_each(a.detail))
            FROM {cursors}
            WHERE a.import = theirs.import AND a.what = 'cursor set'
              AND theirs.at IN (a.detail->>'from', a.detail->>'to')
            """,
            traces,
        )
    return entries
