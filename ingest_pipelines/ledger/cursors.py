"""`ingest.cursors`: the last committed value of each query import's cursor column."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class CursorState:
    """The value after which an import's next chunk starts; `load` is None if a person set it."""

    import_name: str
    value: str | None
    load: int | None
    updated_at: datetime


def find_cursor(connection: psycopg.Connection, import_name: str) -> CursorState | None:
    """The import's committed cursor; None before its first committed chunk."""
    with connection.cursor(row_factory=class_row(CursorState)) as cursor:
        return cursor.execute(
            "SELECT import AS import_name, value, load, updated_at FROM ingest.cursors WHERE import = %s",
            (import_name,),
        ).fetchone()


def set_cursor(
    connection: psycopg.Connection, import_name: str, value: str | None, now: datetime, *, load: int | None = None
) -> None:
    """Sets the value after which the import's next chunk starts."""
    connection.execute(
        """
        INSERT INTO ingest.cursors (import, value, load, updated_at) VALUES (%s, %s, %s, %s)
        ON CONFLICT (import) DO UPDATE
        SET value = EXCLUDED.value, load = EXCLUDED.load, updated_at = EXCLUDED.updated_at
        """,
        (import_name, value, load, now),
    )
