"""Items that the ledger has and no load has settled, with the last load of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from ingest_pipelines.model import ItemKey, ItemKind, ItemStatus, LoadStatus


@dataclass(frozen=True)
class UnsettledItem:
    """An item whose status is `new`, `failed` or `refused`, and its last load, if it had one.

    Attributes:
        retryable: its last load failed for a reason that may go away by itself.
        load_status, load_error, load_ended_at, load_run: of the last load; None: it had none.
    """

    import_name: str
    key: ItemKey
    kind: ItemKind
    status: ItemStatus
    created_at: datetime
    load_status: LoadStatus | None
    load_error: str | None
    load_ended_at: datetime | None
    load_run: str | None
    retryable: bool = False


def unsettled_items(connection: psycopg.Connection, import_name: str | None = None) -> list[UnsettledItem]:
    """The unsettled items of all imports, or of one; oldest first.

    Left out: replays, whose rejects are open instead; and file versions that a newer version replaced at their path.
    """
    with connection.cursor(row_factory=class_row(UnsettledItem)) as cursor:
        return cursor.execute(
            """
            SELECT i.import AS import_name, i.key, i.kind, i.status, i.created_at, l.status AS load_status,
                   l.error AS load_error, COALESCE(l.finished_at, l.started_at) AS load_ended_at, l.run_id AS load_run,
                   i.retryable
            FROM ingest.items i
            LEFT JOIN LATERAL (
                SELECT d.status, d.error, d.started_at, d.finished_at, d.run_id FROM ingest.loads d
                WHERE d.import = i.import AND d.item = i.key ORDER BY d.id DESC LIMIT 1
            ) l ON i.status <> 'new'
            WHERE i.status IN ('new', 'failed', 'refused') AND (%(import)s::text IS NULL OR i.import = %(import)s)
              AND i.kind <> 'replay' AND NOT EXISTS (
                SELECT FROM ingest.items n
                WHERE i.kind = 'file' AND n.kind = 'file' AND n.import = i.import AND n.path = i.path
                  AND (n.modified_at, n.created_at, n.key) > (i.modified_at, i.created_at, i.key)
                OFFSET 0)  -- a look-up per open item, not a join with all items
            ORDER BY i.created_at, i.import, i.key
            """,
            {"import": import_name},
        ).fetchall()


def settled_among(connection: psycopg.Connection, items: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (import, item) pairs that the ledger has as committed or skipped, or that are replays."""
    names, keys = [name for name, _ in items], [key for _, key in items]
    rows = connection.execute(
        """
        SELECT asked.import, asked.key FROM unnest(%s::text[], %s::text[]) AS asked (import, key)
        CROSS JOIN LATERAL (  -- LIMIT: a look-up per item asked for, not a join with all items
            SELECT status, kind FROM ingest.items i WHERE i.import = asked.import AND i.key = asked.key LIMIT 1
        ) i
        WHERE i.status IN ('committed', 'skipped') OR i.kind = 'replay'
        """,
        (names, keys),
    )
    return {(name, key) for name, key in rows}


@dataclass(frozen=True)
class Activity:
    """When an import last registered an item and ended a load.

    Attributes:
        newest_item: the key of the item that was registered last.
    """

    newest_item: ItemKey
    registered_at: datetime
    load_at: datetime | None

    @property
    def last(self) -> datetime:
        """The later of both."""
        return max(self.registered_at, self.load_at or self.registered_at)


def activities(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, Activity]:
    """The last activity of these imports, by name; imports without an item are left out."""
    rows = connection.execute(
        """
        SELECT asked.name, i.key, i.created_at, l.at FROM unnest(%s::text[]) AS asked (name)
        CROSS JOIN LATERAL (
            SELECT key, created_at FROM ingest.items
            WHERE import = asked.name ORDER BY created_at DESC, key DESC LIMIT 1
        ) i
        LEFT JOIN LATERAL (
            SELECT COALESCE(finished_at, started_at) AS at FROM ingest.loads
            WHERE import = asked.name ORDER BY id DESC LIMIT 1
        ) l ON true
        """,
        (list(names),),
    ).fetchall()
    return {name: Activity(ItemKey(key), registered_at, load_at) for name, key, registered_at, load_at in rows}


def newest_window_ends(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, datetime]:
    """Per import the end of the newest window that the ledger has; imports without a window are left out."""
    rows: list[tuple[str, datetime]] = connection.execute(
        """
        SELECT asked.name, newest.window_end FROM unnest(%s::text[]) AS asked (name)
        CROSS JOIN LATERAL (
            SELECT window_end FROM ingest.items WHERE import = asked.name AND kind = 'window'
            AND window_end IS NOT NULL ORDER BY window_end DESC LIMIT 1
        ) newest
        """,
        (list(names),),
    ).fetchall()
    return dict(rows)
