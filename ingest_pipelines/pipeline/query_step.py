"""A query's rows on local disk. A cursor's are one chunk, up to where no row of it can be missing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.cursor_values import cursor_text, not_after
from ingest_pipelines.errors import CursorStuck
from ingest_pipelines.landing import Chunk, cursor_cap, land_query, largest_value
from ingest_pipelines.model import Item, Landing, Workspace
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.base import Client, QuerySource
from ingest_pipelines.sources.request import Request, cursor_after, cursor_start, cursor_value, request_of


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


def _land_chunk(
    item: Item, bound: BoundImport, workspace: Workspace, now: datetime, source: QuerySource, asked: Request
) -> Landing:
    """The rows of a drain's next chunk, up to where nothing of it can be missing."""
    cursor, drain, where = bound.spec.source.cursor, bound.spec.source.drain, f"import {bound.name}, item {item.key}"
    assert cursor is not None
    start, committed = cursor_start(bound), cursor_value(item.cursor_committed, bound)
    chunk = Chunk(
        cursor.column, cursor.kind, cursor_after(item, bound), asked.limit, now, ZoneInfo(bound.spec.timezone),
        committed=committed, alone=not drain,
        comes_after=lambda text, other: source.comes_after(asked.query, cursor.column, text, other),
    )  # fmt: skip
    if cursor.lag and item.cursor_cap is None:
        largest = largest_value(source.largest(asked.query, cursor.column, start), chunk, where)
        if largest is not None and committed is not None and not not_after(committed, largest):
            raise _went_back(where, bound)
        item = replace(item, cursor_cap=cursor_text(start if largest is None else cursor_cap(largest, chunk)))
    chunk = replace(chunk, cap=cursor_value(item.cursor_cap, bound))
    landing = _land_request(item, bound, workspace, source, asked, chunk)
    if landing.cut or (drain and landing.cursor_to is not None):
        return landing
    # Nothing follows: what no chunk of this query will ever show is looked for.
    if not landing.rows and committed is not None and source.behind(asked.query, cursor.column, start, committed):
        raise _went_back(where, bound)
    if source.lacks_values(asked.query, cursor.column):
        raise CursorStuck(
            f"{where}: there are rows without a value in '{cursor.column}', which the query never reads",
            hint=f"give them a value, or leave them out on purpose: AND {cursor.column} IS NOT NULL",
        )
    return landing


def _went_back(where: str, bound: BoundImport) -> CursorStuck:
    """The source no longer has what the cursor has passed: new rows may get the same values again."""
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
