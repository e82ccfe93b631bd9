"""The items that a query import should read now: its open item, else a new one. The ledger has it before its run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import Item, ItemKey, ItemKind
from ingest_pipelines.orchestration.assets.partitions import ended_windows, window_item
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.orchestration.value_shape import printable_cursor
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.files import safe_name

WINDOWS_PER_TICK = 20
"""After a long downtime the missed windows are loaded in portions, oldest first."""

_OPEN = {"new", "failed", "refused"}
"""An item in one of these states is retried, and no new one is opened; it is loaded once the cause is gone."""


@dataclass(frozen=True)
class QueryItems:
    """Items to run, oldest first.

    Attributes:
        retried: whether they had a run before.
    """

    items: tuple[Item, ...]
    retried: bool = False


def find_query_items(site: Site, bound: BoundImport) -> QueryItems:
    """The items that the import should read now; all are in the ledger.

    Raises:
        TargetUnavailable: nothing is lost, the next call finds the same items.
        MissingDriver: the connection's optional package is not installed.
    """
    now, uri = site.clock(), open_query(bound.connection).uri()
    with site.target.session() as connection:
        if bound.spec.source.window is not None:
            due = _windows(connection, bound, uri, now)
        else:
            due = _whole(connection, bound, uri, now)
        ledger.register_items(connection, due.items, now)
    return due


@dataclass(frozen=True)
class NewDrain:
    """The drain that a tick would begin now.

    Attributes:
        item: not in the ledger yet.
        committed: the cursor's value in the ledger; None: no drain has loaded a row yet.
    """

    item: Item
    committed: str | None


def find_new_drain(site: Site, bound: BoundImport) -> NewDrain | None:
    """The drain that a tick would begin now, after an earlier one; the ledger is not changed.

    None: there is no drain yet, or one that is not settled, or the import's connection is out of reach.
    """
    uri = open_query(bound.connection).uri()
    with site.target.session() as connection:
        cursor = ledger.find_cursor(connection, bound.name)
        committed = cursor.value if cursor is not None else None
        is_first = committed is None and ledger.newest_item(connection, bound.name, "cursor") is None
        if is_first or ledger.failing_since(connection, bound.connection_name):
            return None
        found = _whole(connection, bound, uri, site.clock())
    return None if found.retried else NewDrain(found.items[0], committed)


def _whole(connection: psycopg.Connection, bound: BoundImport, uri: str, now: datetime) -> QueryItems:
    """One drain of the cursor, or one reading of the whole query."""
    kind: ItemKind = "query" if bound.spec.source.cursor is None else "cursor"
    last = ledger.newest_item(connection, bound.name, kind)
    if last is not None:
        state = ledger.find_item_state(connection, bound.name, last.key)
        if state is not None and state.status in _OPEN:
            return QueryItems((last,), retried=True)
    cursor = ledger.find_cursor(connection, bound.name) if kind == "cursor" else None
    name = (
        "query"
        if kind == "query"
        else f"from_{safe_name(printable_cursor(cursor.value) if cursor and cursor.value else 'start')}"
    )
    key = f"{now.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}_{name}"
    while ledger.find_item_state(connection, bound.name, ItemKey(key)) is not None:
        # the clock was set back to this second: a settled item's key would start no run, or load nothing
        now += timedelta(seconds=1)
        key = f"{now.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}_{name}"
    fingerprint = hashlib.sha256(f"{uri}\0{key}".encode()).hexdigest()
    return QueryItems((Item(bound.name, ItemKey(key), kind, uri=uri, fingerprint=fingerprint),))


def keep_due_windows(site: Site, bound: BoundImport, window: Item) -> None:
    """Registers the windows that are due before this one, which a person chose.

    Ticks count from the newest window in the ledger: once this one is there, they would pass the others over.
    """
    if not bound.spec.has_ticks or window.window_start is None:
        return
    now = site.clock()
    with site.target.session() as connection:
        last = ledger.newest_item(connection, bound.name, "window")
        if last is None or last.window_end is None or window.window_start <= last.window_end:
            return
        uri = open_query(bound.connection).uri()
        keys = ended_windows(bound, min(now, window.window_start), after=last.window_end)
        ledger.register_items(connection, [window_item(bound, key, uri, now) for key in keys], now)


def _windows(connection: psycopg.Connection, bound: BoundImport, uri: str, now: datetime) -> QueryItems:
    """The windows that ended since the newest one in the ledger, so that none is missed during a downtime."""
    last = ledger.newest_item(connection, bound.name, "window")
    keys = ended_windows(bound, now, after=last.window_end if last is not None else None)
    return QueryItems(tuple(window_item(bound, key, uri, now) for key in keys[:WINDOWS_PER_TICK]))
