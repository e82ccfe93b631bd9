"""`ingest.metrics`: counts per import, and how many of its items are open."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class ImportMetrics:
    """A row of `ingest.metrics`.

    Attributes:
        loads_committed ...: loads by how they ended. Only `loads_failed` may decrease: a run that tries again replaces
            its own failed load.
        rows_read, rows_inserted ...: of committed loads.
        rejects_open: rejected values that are not resolved; a row may have several.
        last_committed_at: replays are left out.
        lag_seconds: since the last load that committed or found nothing new; of a cursor without open items, since the
            last look. None: there was no load.
        source_up: the source answered when it was last looked at, or was not looked at.
    """

    import_name: str
    loads_committed: int
    loads_skipped: int
    loads_refused: int
    loads_failed: int
    loads_running: int
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_unmatched: int
    rows_skipped: int
    rows_rejected: int
    rejects_open: int
    last_committed_at: datetime | None
    lag_seconds: float | None
    items_open: int
    oldest_item_at: datetime | None
    source_up: bool
    rows_deleted: int = 0


@dataclass(frozen=True)
class OpenItemCount:
    """How many items of an import are open in one state, and since when the oldest."""

    import_name: str
    state: str
    items: int
    oldest_at: datetime


def list_metrics(connection: psycopg.Connection) -> list[ImportMetrics]:
    """One per import, by name. Reads every load and every open reject: a second for a million."""
    with connection.cursor(row_factory=class_row(ImportMetrics)) as cursor:
        return cursor.execute(
            """
            SELECT import AS import_name, loads_committed, loads_skipped, loads_refused, loads_failed, loads_running,
                   rows_read, rows_inserted, rows_updated, rows_unchanged, rows_unmatched, rows_skipped, rows_rejected,
                   rows_deleted,
                   rejects_open, last_committed_at, lag_seconds, items_open, oldest_item_at, source_up
            FROM ingest.metrics ORDER BY import
            """
        ).fetchall()


def list_open_item_counts(connection: psycopg.Connection) -> list[OpenItemCount]:
    """What the watcher counted last, by import and state."""
    with connection.cursor(row_factory=class_row(OpenItemCount)) as cursor:
        return cursor.execute(
            "SELECT import AS import_name, state, items, oldest_at FROM ingest.open_item_counts ORDER BY import, state"
        ).fetchall()


def record_open_items(
    connection: psycopg.Connection, watcher: str, counts: Collection[OpenItemCount], now: datetime
) -> None:
    """Replaces what was counted before; writes only what is different.

    Args:
        watcher: the name of the machine that counts.
    """
    columns = (
        [count.import_name for count in counts],
        [count.state for count in counts],
        [count.items for count in counts],
        [count.oldest_at for count in counts],
    )
    connection.execute("LOCK TABLE ingest.open_item_counts IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(
        """
        DELETE FROM ingest.open_item_counts c
        WHERE NOT EXISTS (SELECT FROM unnest(%s::text[], %s::text[]) n (import, state)
                          WHERE n.import = c.import AND n.state = c.state)
        """,
        columns[:2],
    )
    connection.execute(
        """
        INSERT INTO ingest.open_item_counts AS c (import, state, items, oldest_at)
        SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[])
        ON CONFLICT (import, state) DO UPDATE SET items = EXCLUDED.items, oldest_at = EXCLUDED.oldest_at
        WHERE (c.items, c.oldest_at) IS DISTINCT FROM (EXCLUDED.items, EXCLUDED.oldest_at)
        """,
        columns,
    )
    connection.execute(
        """
        INSERT INTO ingest.watchers (name, counted_at) VALUES (%s, %s)
        ON CONFLICT (name) DO UPDATE SET counted_at = EXCLUDED.counted_at
        """,
        (watcher, now),
    )
