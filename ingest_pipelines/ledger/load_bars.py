"""The last loads of many imports, as a line of small bars shows them, and whether there is anything new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from ingest_pipelines.model import LoadStatus


@dataclass(frozen=True)
class LoadBar:
    """What a bar says of one load."""

    import_name: str
    id: int
    status: LoadStatus
    read: int
    rejected: int


def recent_bars(connection: psycopg.Connection, imports: Sequence[str], last: int = 20) -> dict[str, list[LoadBar]]:
    """The last loads of each of these imports, the oldest first; one look into the index per import."""
    bars: dict[str, list[LoadBar]] = {name: [] for name in imports}
    with connection.cursor(row_factory=class_row(LoadBar)) as cursor:
        rows = cursor.execute(
            """
            SELECT n.import AS import_name, l.id, l.status, l.read, l.rejected
            FROM unnest(%s::text[]) n(import) CROSS JOIN LATERAL (
                SELECT id, status, read, rejected FROM ingest.loads d
                WHERE d.import = n.import ORDER BY d.id DESC LIMIT %s
            ) l ORDER BY l.id
            """,
            (list(imports), last),
        )
        for bar in rows:
            bars[bar.import_name].append(bar)
    return bars


def newest_entries(connection: psycopg.Connection) -> tuple[int | None, int | None]:
    """The newest load and the newest action of a person, by their ids; None: there is none."""
    row = connection.execute("SELECT (SELECT max(id) FROM ingest.loads), (SELECT max(id) FROM ingest.audit)").fetchone()
    assert row is not None
    return row[0], row[1]


def imports_since(connection: psycopg.Connection, load: int | None, action: int | None) -> set[str]:
    """The imports that have a load or an action of a person after these, of `newest_entries`; of the last thousand."""
    rows = connection.execute(
        """
        (SELECT import FROM ingest.loads WHERE id > %s ORDER BY id DESC LIMIT 1000)
        UNION (SELECT import FROM ingest.audit WHERE id > %s ORDER BY id DESC LIMIT 1000)
        """,
        (load or 0, action or 0),
    )
    return {name for (name,) in rows if name is not None}
