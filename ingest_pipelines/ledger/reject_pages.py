"""Rejected rows a page at a time, for a grid: each look reads its page only."""

from __future__ import annotations

from collections.abc import Collection

import psycopg
from psycopg.rows import class_row

from ingest_pipelines.ledger.rejects import RejectedRow


def reject_page(
    connection: psycopg.Connection,
    load: int,
    *,
    code: str | None = None,
    field: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[RejectedRow]:
    """The load's open rejected rows in line order, with all rules that each breaks.

    Args:
        code: only rows that broke this rule.
        field: only rows that broke a rule of this field.
        after: only lines after this one.
    """
    with connection.cursor(row_factory=class_row(RejectedRow)) as cursor:
        return cursor.execute(
            """
            WITH chosen AS (
                SELECT DISTINCT line FROM ingest.rejects
                WHERE load = %(load)s AND line > %(after)s AND code <> 'unmatched' AND resolved_at IS NULL
                  AND (%(code)s::text IS NULL OR code = %(code)s) AND (%(field)s::text IS NULL OR field = %(field)s)
                ORDER BY line LIMIT %(limit)s
            )
            SELECT r.load, r.line, min(r.key) AS key,
                   (array_agg(r.row) FILTER (WHERE r.row IS NOT NULL))[1] AS row,
                   array_agg(r.field ORDER BY r.field, r.code) AS fields,
                   array_agg(r.code ORDER BY r.field, r.code) AS codes,
                   array_agg(r.reason ORDER BY r.field, r.code) AS reasons
            FROM chosen c JOIN ingest.rejects r ON r.load = %(load)s AND r.line = c.line AND r.code <> 'unmatched'
            GROUP BY r.load, r.line ORDER BY r.line
            """,
            {"load": load, "code": code, "field": field, "after": after, "limit": limit},
        ).fetchall()


def open_rejected_rows(connection: psycopg.Connection, load: int, lines: Collection[int]) -> list[RejectedRow]:
    """Those of these rows of the load whose rejects are open, by line."""
    with connection.cursor(row_factory=class_row(RejectedRow)) as cursor:
        return cursor.execute(
            """
            SELECT load, line, min(key) AS key, (array_agg(row) FILTER (WHERE row IS NOT NULL))[1] AS row,
                   array_agg(field ORDER BY field, code) AS fields, array_agg(code ORDER BY field, code) AS codes,
                   array_agg(reason ORDER BY field, code) AS reasons
            FROM ingest.rejects
            WHERE load = %s AND line = ANY(%s) AND code <> 'unmatched' AND resolved_at IS NULL
            GROUP BY load, line ORDER BY line
            """,
            (load, sorted(lines)),
        ).fetchall()
