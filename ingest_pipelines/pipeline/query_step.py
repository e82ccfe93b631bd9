"""A query's rows on local disk. A cursor's are one chunk, up to where no row of it can be missing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from ingest_pipelines.config import BoundImport
from ingest_pipelines.cursor import bounds
from ingest_pipelines.cursor.bounds import chunk_start, ledger_value, lies_before, upper_bound
from ingest_pipelines.cursor.chunk import Chunk
from ingest_pipelines.cursor.column import largest_value
from ingest_pipelines.cursor.values import CursorValue, cursor_text
from ingest_pipelines.errors import CursorStuck
from ingest_pipelines.landing import land_query
from ingest_pipelines.model import Item, Landing, Workspace
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.base import Client, QuerySource
from ingest_pipelines.sources.request import Request, request_of


def land_rows(item: Item, bound: BoundImport, workspace: Workspace, now: datetime, client: Client | None) -> Landing:
    """The rows that the item asks its query for, landed.

    Raises:
        What `land` raises.
    """
    with open_query(bound.connection, client) as source:
        asked = request_of(item, bound, source)
        if bound.spec.source.cursor is None:
            return _land_request(item, bound, workspace, source, asked)
        return _land_chunk(item, bound, workspace, now, source, asked)


def has_nothing_new(item: Item, bound: BoundImport, committed: str | None, client: Client | None = None) -> bool:
    """Whether a drain that begins now would read no row, and its source passes the checks that follow the last chunk.

    The source is asked with the query of the drain's first chunk, for one row.

    Args:
        item: the drain; the ledger need not have it.
        committed: the ledger's value; None: nothing yet.

    Raises:
        What `land` raises: the drain would raise it too.
    """
    cursor = bound.spec.source.cursor
    assert cursor is not None
    chunk = bounds.next_chunk(item, cursor, committed, ())
    with open_query(bound.connection, client) as source:
        asked = request_of(chunk, bound, source)
        with closing(source.batches(asked.query, asked.parameters, limit=1)) as batches:
            if any(batch.num_rows for batch in batches):
                return False
        _check_rows_never_read(
            f"import {bound.name}, item {item.key}", bound, source, asked, ledger_value(committed, cursor, bound.name)
        )
        return committed is not None or not source.cannot_compare(asked.query, cursor.column, cursor.initial)


def _land_chunk(
    item: Item, bound: BoundImport, workspace: Workspace, now: datetime, source: QuerySource, asked: Request
) -> Landing:
    """The rows of the drain's next chunk, landed up to a value before which no row is missing."""
    cursor, drain, where = bound.spec.source.cursor, bound.spec.source.drain, f"import {bound.name}, item {item.key}"
    assert cursor is not None
    zone, initial = ZoneInfo(bound.spec.timezone), cursor.initial
    committed = ledger_value(item.cursor_committed, cursor, bound.name)
    if cursor.lag and item.cursor_upper_bound is None:
        answer = source.largest(asked.query, cursor.column, initial)
        largest = largest_value(answer, cursor.column, cursor.kind, where)
        if lies_before(largest, committed):
            raise _went_back(where, bound)
        furthest = initial if largest is None else upper_bound(largest, now, zone)
        item = replace(item, cursor_upper_bound=cursor_text(furthest))
    chunk = Chunk(
        cursor.column, cursor.kind, chunk_start(item, cursor), asked.limit, now, zone,
        committed=committed, upper_bound=ledger_value(item.cursor_upper_bound, cursor, bound.name), ends_run=not drain,
        comes_after=lambda text, other: source.comes_after(asked.query, cursor.column, text, other),
    )  # fmt: skip
    landing = _land_request(item, bound, workspace, source, asked, chunk)
    if landing.cut or (drain and landing.cursor_to is not None):
        return landing
    _check_rows_never_read(where, bound, source, asked, None if landing.rows else committed)
    if not landing.rows and committed is None and source.cannot_compare(asked.query, cursor.column, initial):
        raise CursorStuck(
            f"{where}: the database cannot compare '{cursor.column}' with cursor.start, so no row comes after it",
            hint="nothing was loaded; write cursor.start as the database writes a value of that column",
        )
    return landing


def _check_rows_never_read(
    where: str, bound: BoundImport, source: QuerySource, asked: Request, committed: CursorValue | None
) -> None:
    """Looks, after the last chunk, for rows that no chunk of this query will ever read.

    Args:
        committed: the ledger's value, if the chunk had no rows: are all rows before it? None: that is not asked.

    Raises:
        CursorStuck: there are such rows.
    """
    cursor = bound.spec.source.cursor
    assert cursor is not None
    if committed is not None and source.behind(asked.query, cursor.column, cursor.initial, committed):
        raise _went_back(where, bound)
    if source.lacks_values(asked.query, cursor.column):
        raise CursorStuck(
            f"{where}: there are rows without a value in '{cursor.column}', which the query never reads",
            hint=f"give them a value, or leave them out on purpose: AND {cursor.column} IS NOT NULL",
        )


def _went_back(where: str, bound: BoundImport) -> CursorStuck:
    """The source lost rows that were loaded: new rows may get their values again, which the cursor has passed."""
    assert bound.spec.source.cursor is not None
    return CursorStuck(
        f"{where}: every '{bound.spec.source.cursor.column}' in the source lies before the cursor: "
        "was it restored from a backup?",
        hint="nothing was loaded; if the source is right, go on from the largest value that the backup had: "
        f"ingest cursor set {bound.name} VALUE",
    )


def _land_request(
    item: Item,
    bound: BoundImport,
    workspace: Workspace,
    source: QuerySource,
    asked: Request,
    chunk: Chunk | None = None,
) -> Landing:
    with closing(source.batches(asked.query, asked.parameters)) as batches:
        return land_query(item, batches, bound.required_columns, workspace.spool, bound.spec.source.limits, chunk)
