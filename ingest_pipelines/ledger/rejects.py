"""`ingest.rejects`: rejected source rows, one record per broken rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Json

from ingest_pipelines.ledger.retention import expired_loads

FETCH = 2_000
"""How many rows the export holds in memory, if they are not wide."""

FETCH_BYTES = 32 << 20
"""How many bytes of rejected rows a reader holds in memory, if no single row has more: rows may have a megabyte."""


@dataclass(frozen=True)
class Reject:
    """One broken rule of one row."""

    load: int
    line: int
    key: str | None
    field: str
    code: str
    reason: str
    resolved_at: datetime | None


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row with all the rules that it broke.

    Attributes:
        row: the source row's raw cells by column; None if the merge rejected the row.
        fields, codes, reasons: aligned, one per broken rule.
    """

    load: int
    line: int
    key: str | None
    row: Mapping[str, str | None] | None
    fields: Sequence[str]
    codes: Sequence[str]
    reasons: Sequence[str]


@dataclass(frozen=True)
class RowState:
    """Whether a rejected row is still open, and the rules it broke."""

    open: bool
    codes: frozenset[str]


@dataclass(frozen=True)
class NewReject:
    """One broken rule of one row, to be written to the ledger.

    Attributes:
        row: the source row's cells by column.
    """

    line: int
    key: str | None
    field: str
    code: str
    reason: str
    row: Mapping[str, str | None] | None


def add_rejects(connection: psycopg.Connection, load: int, rejects: Sequence[NewReject]) -> None:
    """Writes the rejects of the load."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ingest.rejects (load, line, key, field, code, reason, row)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    load,
                    reject.line,
                    reject.key,
                    reject.field,
                    reject.code,
                    reject.reason,
                    None if reject.row is None else Json(reject.row),
                )
                for reject in rejects
            ],
        )


def blank_rejects(connection: psycopg.Connection, load: int) -> None:
    """Removes all values from the load's rejects: one of them may be of somebody who was forgotten meanwhile."""
    connection.execute(
        "UPDATE ingest.rejects SET key = NULL, row = NULL,"
        " reason = 'its cells are not kept, because a person was forgotten meanwhile' WHERE load = %s",
        (load,),
    )


def list_rejects(
    connection: psycopg.Connection,
    import_name: str,
    *,
    load: int | None = None,
    code: str | None = None,
    limit: int | None = None,
    unresolved: bool = False,
    open_first: bool = False,
) -> list[Reject]:
    """Broken rules by line; where `load` is not given, of the import's last load with unresolved ones.

    Where all are resolved: of its last load that had any and was no replay, whose rejects were another load's first.

    Rows without a profile (`unmatched`) are no rejects: they are listed only where `code` asks for them.

    Args:
        open_first: list unresolved ones before the others.
    """
    # A reject that is no `unmatched` row is counted in `rejected`. The other way round a failed load counts none.
    rejecting = "l.rejected > 0 OR l.unmatched > 0" if code == "unmatched" else "l.rejected > 0"
    kind = "= 'unmatched'" if code == "unmatched" else "<> 'unmatched'"
    query = sql.SQL(
        """
        SELECT r.load, r.line, r.key, r.field, r.code, r.reason, r.resolved_at
        FROM ingest.rejects r
        WHERE r.load = COALESCE(%(load)s, (
                  SELECT l.id FROM ingest.loads l
                  WHERE l.import = %(import)s AND ({rejecting}) AND EXISTS (
                      SELECT FROM ingest.rejects x WHERE x.load = l.id AND x.resolved_at IS NULL AND x.code {kind})
                  ORDER BY l.id DESC LIMIT 1), (
                  SELECT l.id FROM ingest.loads l
                  WHERE NOT %(unresolved)s AND l.import = %(import)s AND ({rejecting})
                    AND NOT EXISTS (
                      SELECT FROM ingest.items i WHERE i.import = l.import AND i.key = l.item AND i.kind = 'replay')
                    AND EXISTS (SELECT FROM ingest.rejects x WHERE x.load = l.id AND x.code {kind})
                  ORDER BY l.id DESC LIMIT 1))
          AND EXISTS (SELECT FROM ingest.loads l WHERE l.id = r.load AND l.import = %(import)s)
          AND r.code {kind} AND (%(code)s::text IS NULL OR r.code = %(code)s)
          AND NOT (%(unresolved)s AND r.resolved_at IS NOT NULL)
        ORDER BY (%(open_first)s AND r.resolved_at IS NOT NULL), r.line, r.field, r.code
        LIMIT %(limit)s
        """
    ).format(rejecting=sql.SQL(rejecting), kind=sql.SQL(kind))
    parameters = {
        "import": import_name,
        "load": load,
        "code": code,
        "limit": limit,
        "unresolved": unresolved,
        "open_first": open_first,
    }
    with connection.cursor(row_factory=class_row(Reject)) as cursor:
        return cursor.execute(query, parameters).fetchall()


def rejected_rows(
    connection: psycopg.Connection, import_name: str, load: int, *, unresolved: bool = True
) -> Iterator[RejectedRow]:
    """The load's rejected rows in line order, streamed; the connection's transaction stays open meanwhile."""
    widest = connection.execute("SELECT max(octet_length(row::text)) FROM ingest.rejects WHERE load = %s", (load,))
    with connection.cursor(name="rejected_rows", row_factory=class_row(RejectedRow)) as cursor:
        cursor.itersize = rows_at_once(widest, FETCH)
        yield from cursor.execute(
            """
            SELECT r.load, r.line, min(r.key) AS key,
                   (array_agg(r.row) FILTER (WHERE r.row IS NOT NULL))[1] AS row,
                   array_agg(r.field ORDER BY r.field, r.code) AS fields,
                   array_agg(r.code ORDER BY r.field, r.code) AS codes,
                   array_agg(r.reason ORDER BY r.field, r.code) AS reasons
            FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load
            WHERE r.load = %s AND l.import = %s AND r.code <> 'unmatched' AND NOT (%s AND r.resolved_at IS NOT NULL)
            GROUP BY r.load, r.line
            ORDER BY r.line
            """,
            (load, import_name, unresolved),
        )


def rows_at_once(widest: psycopg.Cursor[tuple[int | None]], most: int) -> int:
    """How many rows a reader fetches at a time: at most `most` rows and FETCH_BYTES.

    Args:
        widest: answers with the bytes of the widest row; None: there are no rows.
    """
    [row] = widest.fetchall()
    return max(1, min(most, FETCH_BYTES // max(1, row[0] or 0)))


def reject_codes(connection: psycopg.Connection, load: int) -> dict[str, int]:
    """Rejected rows of a load per rule code; a row counts once per code."""
    return dict(
        connection.execute(
            "SELECT code, count(DISTINCT line) FROM ingest.rejects WHERE load = %s GROUP BY code ORDER BY code",
            (load,),
        ).fetchall()
    )


def rejected_columns(connection: psycopg.Connection, load: int) -> list[str]:
    """The source columns stored with the load's unresolved rows, in the source's order.

    Rows that matching rejected have only the mapped columns; the others have all.
    """
    shapes = connection.execute(
        """
        SELECT DISTINCT (SELECT array_agg(name) FROM json_object_keys(r.row) AS name)
        FROM ingest.rejects r
        WHERE r.load = %s AND r.code <> 'unmatched' AND r.resolved_at IS NULL AND r.row IS NOT NULL
        """,
        (load,),
    ).fetchall()
    widest_first = sorted((columns or [] for (columns,) in shapes), key=len, reverse=True)
    return list(dict.fromkeys(name for columns in widest_first for name in columns))


def count_open(connection: psycopg.Connection, load: int) -> int:
    """How many rejected rows of the load are still open."""
    row = connection.execute(
        "SELECT count(DISTINCT line) FROM ingest.rejects"
        " WHERE load = %s AND code <> 'unmatched' AND resolved_at IS NULL",
        (load,),
    ).fetchone()
    return int(row[0]) if row else 0


def row_states(connection: psycopg.Connection, load: int) -> dict[int, RowState]:
    """The state of every rejected row of the load, by line."""
    rows = connection.execute(
        "SELECT line, bool_or(resolved_at IS NULL), array_agg(code) FROM ingest.rejects"
        " WHERE load = %s AND code <> 'unmatched' GROUP BY line",
        (load,),
    )
    return {line: RowState(is_open, frozenset(codes)) for line, is_open, codes in rows}


def purge_rejects(connection: psycopg.Connection, before: datetime, imports: Sequence[str] | None = None) -> int:
    """Deletes the rejects of loads that started before that time, of these imports or all; the loads' counts stay.

    Deletes the corrections of these rejects, too. Returns the number of rejects.
    """
    expired = expired_loads(connection, sql.Identifier("ingest", "rejects"), before, imports)
    connection.execute("DELETE FROM ingest.corrections WHERE reject_load = ANY(%s)", (expired,))
    return connection.execute("DELETE FROM ingest.rejects WHERE load = ANY(%s)", (expired,)).rowcount
