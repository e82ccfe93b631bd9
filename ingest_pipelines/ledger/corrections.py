"""`ingest.corrections`: which reject each row of a replay corrects.

A bad row is unresolved in exactly one place: the load that rejected it first. The replay's load resolves the rejects
of the rows that it takes, in its own transaction. A row that it rejects again stays unresolved in the first load and is
marked resolved in the replay's load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from ingest_pipelines.model import Item


@dataclass(frozen=True)
class Correction:
    """One row of a replay.

    Attributes:
        line: the physical line in the replay's file on which the row starts.
        reject_load, reject_line: the reject that it corrects.
    """

    line: int
    reject_load: int
    reject_line: int


def add_corrections(connection: psycopg.Connection, item: Item, corrections: Sequence[Correction]) -> None:
    """Records which reject each row of the replay corrects; calling it twice is safe."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ingest.corrections (import, item, line, reject_load, reject_line)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (item.import_name, item.key, correction.line, correction.reject_load, correction.reject_line)
                for correction in corrections
            ],
        )


def count_settled(connection: psycopg.Connection, item: Item) -> int:
    """How many rows of the replay correct rejects that are not open: resolved by another replay, or purged."""
    row = connection.execute(
        """
        SELECT count(*) FROM ingest.corrections c
        WHERE c.import = %s AND c.item = %s AND NOT EXISTS (
            SELECT FROM ingest.rejects r
            WHERE r.load = c.reject_load AND r.line = c.reject_line AND r.code <> 'unmatched' AND r.resolved_at IS NULL)
        """,
        (item.import_name, item.key),
    ).fetchone()
    return int(row[0]) if row else 0


def resolve_corrected(connection: psycopg.Connection, item: Item, load: int, now: datetime) -> None:
    """Resolves the rejects of the rows that the replay's load took."""
    connection.execute(
        """
        UPDATE ingest.rejects r SET resolved_at = %(now)s
        FROM ingest.corrections c
        WHERE c.import = %(import)s AND c.item = %(item)s AND r.load = c.reject_load AND r.line = c.reject_line
          AND r.code <> 'unmatched' AND r.resolved_at IS NULL
          AND NOT EXISTS (
              SELECT FROM ingest.rejects again
              WHERE again.load = %(load)s AND again.line = c.line AND again.code <> 'unmatched')
        """,
        {"import": item.import_name, "item": item.key, "load": load, "now": now},
    )


def close_rejected_again(connection: psycopg.Connection, item: Item, load: int, now: datetime) -> None:
    """Marks the replay load's own rejects resolved: they stay open in the load that rejected them first."""
    connection.execute(
        """
        UPDATE ingest.rejects r SET resolved_at = %s
        FROM ingest.corrections c
        WHERE c.import = %s AND c.item = %s AND r.load = %s AND r.line = c.line
          AND r.code <> 'unmatched' AND r.resolved_at IS NULL
        """,
        (now, item.import_name, item.key, load),
    )


def corrected_rows(connection: psycopg.Connection, item: Item, load: int) -> dict[int, int]:
    """For a replay's committed load: {load whose rejects it resolved: number of rows}."""
    return dict(
        connection.execute(
            """
            SELECT c.reject_load, count(*) FILTER (WHERE NOT EXISTS (
                SELECT FROM ingest.rejects again
                WHERE again.load = %s AND again.line = c.line AND again.code <> 'unmatched'))
            FROM ingest.corrections c WHERE c.import = %s AND c.item = %s
            GROUP BY c.reject_load ORDER BY c.reject_load
            """,
            (load, item.import_name, item.key),
        ).fetchall()
    )
