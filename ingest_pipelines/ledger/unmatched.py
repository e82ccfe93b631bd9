"""`ingest.unmatched`: rows without a profile that wait for it. `merge` writes and applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class KeptRows:
    """The rows of one import that wait.

    Attributes:
        until: when the time of the first one is over.
    """

    import_name: str
    rows: int
    until: datetime


def kept_rows(connection: psycopg.Connection, now: datetime) -> Mapping[str, KeptRows]:
    """The rows that wait, of every import that has any."""
    with connection.cursor(row_factory=class_row(KeptRows)) as cursor:
        found = cursor.execute(
            "SELECT import AS import_name, count(*) AS rows, min(kept_until) AS until FROM ingest.unmatched"
            " WHERE kept_until >= %s GROUP BY import",
            (now,),
        ).fetchall()
    return {kept.import_name: kept for kept in found}


def purge_unmatched(connection: psycopg.Connection, now: datetime, target: str) -> int:
    """Deletes the rows that waited for profiles of that table and whose time is over; returns how many."""
    return connection.execute(
        "DELETE FROM ingest.unmatched WHERE target = %s AND kept_until < %s", (target, now)
    ).rowcount
