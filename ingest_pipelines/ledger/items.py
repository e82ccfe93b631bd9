"""`ingest.items`: what there is to load, registered before the first byte is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from ingest_pipelines.model import Item, ItemKey, ItemKind, ItemStatus

_COLUMNS = sql.SQL(
    "import AS import_name, key, kind, uri, path, fingerprint, size, modified_at, serial, version,"
    " cursor_from, window_start, window_end"
)

_WAITS = sql.SQL("status IN ('new', 'failed') AND (status = 'new' OR retryable)")
"""No load has settled the item, and it may be loaded as it is."""

_MOST_BEFORE = 500


@dataclass(frozen=True)
class ItemState:
    """An item's status and when it was registered.

    Attributes:
        retryable: its last load failed for a reason that may go away by itself: a server that does not answer, or a
            process that died.
    """

    key: ItemKey
    status: ItemStatus
    created_at: datetime
    retryable: bool = False


@dataclass(frozen=True)
class WaitingItem:
    """An item that may be loaded again without a change of the item, and its state."""

    item: Item
    state: ItemState


def register_items(connection: psycopg.Connection, items: Sequence[Item], now: datetime) -> None:
    """Registers the items; items that are registered already stay unchanged.

    A tick sees all files of its folder, and nearly always the ledger has all of them: one query tells. New ones are
    written in the order of their keys, so that two ticks at once wait for each other, and never both.
    """
    registered = set(
        connection.execute(
            """
            SELECT seen.import, seen.key FROM unnest(%s::text[], %s::text[]) AS seen (import, key)
            CROSS JOIN LATERAL (  -- LIMIT: a look-up per item, not a join with all items
                SELECT FROM ingest.items i WHERE i.import = seen.import AND i.key = seen.key LIMIT 1
            ) i
            """,
            ([item.import_name for item in items], [item.key for item in items]),
        )
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO ingest.items (import, key, kind, uri, path, fingerprint, size, modified_at, serial, version,
                                      cursor_from, window_start, window_end, created_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (import, key) DO NOTHING
            """,
            [
                (
                    item.import_name, item.key, item.kind, item.uri, item.path, item.fingerprint, item.size,
                    item.modified_at, item.serial, item.version, item.cursor_from, item.window_start,
                    item.window_end, now,
                )
                for item in sorted(items, key=lambda item: (item.import_name, item.key))
                if (item.import_name, item.key) not in registered
            ],
        )  # fmt: skip


def find_item(connection: psycopg.Connection, import_name: str, key: str) -> Item | None:
    """The item with that key, as it was registered."""
    query = sql.SQL("SELECT {} FROM ingest.items WHERE import = %s AND key = %s").format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(query, (import_name, key)).fetchone()


def list_items(
    connection: psycopg.Connection, import_name: str, *, status: ItemStatus | None = None, last: int | None = None
) -> list[Item]:
    """The import's items, newest first; optionally only those with a status."""
    query = sql.SQL(
        "SELECT {} FROM ingest.items WHERE import = %s AND (%s::text IS NULL OR status = %s)"
        " ORDER BY created_at DESC, key DESC LIMIT %s"
    ).format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(query, (import_name, status, status, last)).fetchall()


def newest_item(connection: psycopg.Connection, import_name: str, kind: ItemKind) -> Item | None:
    """The import's newest item of that kind: by the end of its window if it has one, else by age."""
    newest_first = sql.SQL("window_end DESC" if kind == "window" else "created_at DESC, key DESC")
    query = sql.SQL("SELECT {} FROM ingest.items WHERE import = %s AND kind = %s ORDER BY {} LIMIT 1").format(
        _COLUMNS, newest_first
    )
    with connection.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(query, (import_name, kind)).fetchone()


def unsettled_windows(connection: psycopg.Connection, import_name: str) -> list[WaitingItem]:
    """The import's windows that no load has settled, oldest first."""
    query = sql.SQL(
        "SELECT {}, status, created_at, retryable FROM ingest.items"
        " WHERE import = %s AND kind = 'window' AND status IN ('new', 'failed', 'refused') ORDER BY window_start"
    ).format(_COLUMNS)
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_waiting(row) for row in cursor.execute(query, (import_name,))]


def newest_of_path(connection: psycopg.Connection, item: Item) -> Item | None:
    """The newest file that replaced the item at its path; None if none did."""
    query = sql.SQL(
        "SELECT {} FROM ingest.items WHERE import = %s AND path = %s AND kind = 'file' AND key <> %s"
        " AND modified_at >= %s ORDER BY modified_at DESC, created_at DESC LIMIT 1"
    ).format(_COLUMNS)
    with connection.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(query, (item.import_name, item.path, item.key, item.modified_at)).fetchone()


def item_states(connection: psycopg.Connection, import_name: str, keys: Sequence[str] | None = None) -> list[ItemState]:
    """Key, status and age of the import's items, newest first; optionally only of the given keys."""
    with connection.cursor(row_factory=class_row(ItemState)) as cursor:
        return cursor.execute(
            """
            SELECT key, status, created_at, retryable FROM ingest.items
            WHERE import = %s AND (%s::text[] IS NULL OR key = ANY(%s)) ORDER BY created_at DESC, key DESC
            """,
            (import_name, keys, keys),
        ).fetchall()


def imports_without_items(connection: psycopg.Connection, names: Sequence[str]) -> set[str]:
    """Those of the imports that never had an item."""
    names_without = connection.execute(
        "SELECT name FROM unnest(%s::text[]) name WHERE NOT EXISTS (SELECT FROM ingest.items WHERE import = name)",
        (list(names),),
    )
    return {name for (name,) in names_without}


def find_item_state(connection: psycopg.Connection, import_name: str, key: str) -> ItemState | None:
    """Status and age of one item."""
    with connection.cursor(row_factory=class_row(ItemState)) as cursor:
        return cursor.execute(
            "SELECT key, status, created_at, retryable FROM ingest.items WHERE import = %s AND key = %s",
            (import_name, key),
        ).fetchone()


def waiting_items(connection: psycopg.Connection) -> list[WaitingItem]:
    """Items of all imports that no load has settled and that may be loaded as they are, oldest first.

    They are `new`, or they failed for a reason that may go away by itself.
    """
    query = sql.SQL(
        "SELECT {}, status, created_at, retryable FROM ingest.items WHERE {} ORDER BY created_at, import, key"
    ).format(_COLUMNS, _WAITS)
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_waiting(row) for row in cursor.execute(query)]


def imports_with_waiting_items(connection: psycopg.Connection, names: Sequence[str]) -> set[str]:
    """Those of the imports that have one of `waiting_items`."""
    query = sql.SQL("SELECT DISTINCT import FROM ingest.items WHERE {} AND import = ANY(%s)").format(_WAITS)
    return {name for (name,) in connection.execute(query, (list(names),))}


def waiting_before(connection: psycopg.Connection, item: Item) -> list[WaitingItem]:
    """Items of the import that come before this one and may be loaded again as they are, the first one first.

    None where this item is settled, or failed for good: then a person asked for its run. Uploads and replays are left
    out. At most _MOST_BEFORE items.
    """
    query = sql.SQL(
        """
        WITH own AS (
            SELECT status, retryable, created_at FROM ingest.items WHERE import = %(import)s AND key = %(key)s
        )
        SELECT {}, status, created_at, retryable FROM ingest.items
        WHERE import = %(import)s AND {}
          AND kind NOT IN ('upload', 'replay')
          AND (COALESCE(modified_at, created_at), COALESCE(serial, -1), key) < (
              COALESCE(%(modified_at)s::timestamptz, (SELECT created_at FROM own)),
              COALESCE(%(serial)s::bigint, -1), %(key)s::text)
          AND NOT EXISTS (SELECT FROM own WHERE NOT (status = 'new' OR status = 'failed' AND retryable))
        ORDER BY COALESCE(modified_at, created_at), COALESCE(serial, -1), key LIMIT %(most)s
        """
    ).format(_COLUMNS, _WAITS)
    own = {"import": item.import_name, "key": item.key, "modified_at": item.modified_at, "serial": item.serial}
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_waiting(row) for row in cursor.execute(query, {**own, "most": _MOST_BEFORE})]


def _waiting(row: dict[str, Any]) -> WaitingItem:
    state = {name: row.pop(name) for name in ("status", "created_at", "retryable")}
    return WaitingItem(Item(**row), ItemState(row["key"], **state))


def set_item_status(connection: psycopg.Connection, item: Item, status: ItemStatus, *, retryable: bool = False) -> None:
    """Sets the item's status to the outcome of its last load.

    A committed item stays committed if a later load of it fails: its data is in the table. A cursor drain is many
    loads of one item, so its last load decides.

    Args:
        retryable: the load failed for a reason that may go away by itself.
    """
    connection.execute(
        """
        UPDATE ingest.items SET status = %s, retryable = %s
        WHERE import = %s AND key = %s AND (status <> 'committed' OR kind = 'cursor' OR %s = 'committed')
        """,
        (status, retryable, item.import_name, item.key, status),
    )


def skip_item(connection: psycopg.Connection, item: Item) -> ItemStatus | None:
    """Marks the item as never to be loaded, unless it is committed; the status that it had before."""
    row = connection.execute(
        """
        WITH before AS (SELECT status FROM ingest.items WHERE import = %(import)s AND key = %(key)s FOR UPDATE),
        skipped AS (
            UPDATE ingest.items SET status = 'skipped'
            WHERE import = %(import)s AND key = %(key)s AND (SELECT status FROM before) <> 'committed'
        )
        SELECT status FROM before
        """,
        {"import": item.import_name, "key": item.key},
    ).fetchone()
    return row[0] if row else None
