"""What an item asks its source for: the query, and the values that are bound in it. Pure, but for a table's columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.connections import QueryConnection
from ingest_pipelines.config.imports import SourceOfImport, Window
from ingest_pipelines.cursor.bounds import chunk_start
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.model import Item
from ingest_pipelines.sources.base import QuerySource
from ingest_pipelines.sources.cursor_query import chunk_limit, cursor_mistakes, one_row_more
from ingest_pipelines.sources.query_text import PLACEHOLDERS, Query, read_query
from ingest_pipelines.sources.window_query import window_mistakes


@dataclass(frozen=True)
class Request:
    """One query with its values.

    Attributes:
        limit: how many rows a chunk has at most; None: all that there are. The query asks for one row more.
    """

    query: str
    parameters: dict[str, CursorValue]
    limit: int | None = None


def request_of(item: Item, bound: BoundImport, source: QuerySource) -> Request:
    """What to ask the source for the item's rows.

    Raises:
        ConfigError: the query is no SELECT, its chunks could lose rows, or a placeholder has no value.
        UsageError: a cursor value in the ledger is none of the column's kind.
    """
    spec = bound.spec.source
    if spec.query is None:
        assert spec.table is not None
        return Request(source.select(spec.table, bound.required_columns), {})
    query = read_query(spec.query, source.dialect)
    if mistakes := [*_unbound(query, spec), *_lost_rows(query, spec)]:
        raise ConfigError([f"imports/{bound.name}.yaml: {mistake}" for mistake in mistakes])
    if spec.cursor is not None:
        return Request(one_row_more(query), {"lastItem": chunk_start(item, spec.cursor)}, chunk_limit(query))
    if spec.window is not None:
        assert item.window_start is not None
        assert item.window_end is not None
        return Request(spec.query, window_bounds(spec.window, item.window_start, item.window_end))
    return Request(spec.query, {})


def window_bounds(window: Window, start: datetime, end: datetime) -> dict[str, CursorValue]:
    """What is bound for `{windowStart}` and `{windowEnd}`."""
    zone = ZoneInfo(window.timezone)
    bounds = [moment.astimezone(zone) for moment in (start, end)]
    if window.wall_clock:
        bounds = [moment.replace(tzinfo=None) for moment in bounds]
    return {"windowStart": Moment.of(bounds[0]), "windowEnd": Moment.of(bounds[1])}


def first_window(window: Window) -> datetime:
    """When the first window starts."""
    day = window.start
    local = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day)
    return local.replace(tzinfo=ZoneInfo(window.timezone)) + window.offset


def query_mistakes(source: SourceOfImport, connection: QueryConnection) -> list[str]:
    """What `ingest check` can say of a query import without asking its database."""
    try:
        if source.query is None:
            return []
        query = read_query(source.query, connection.dialect.name)
    except ConfigError as error:
        return [f"source.{mistake}" for mistake in error.mistakes]
    return [*_unbound(query, source), *_lost_rows(query, source)]


def _unbound(query: Query, source: SourceOfImport) -> list[str]:
    """Placeholders that nothing gives a value, and words in braces that were meant to be one."""
    given = {
        "cursor: {column, start}": {"lastItem"} if source.cursor is None else set[str](),
        "window: {every, start}": {"windowStart", "windowEnd"} if source.window is None else set[str](),
    }
    names = dict.fromkeys(mark.name for mark in query.marks)
    mistakes = [
        f"source.query: {{{name}}} has a value only with {key}" for name in names for key in given if name in given[key]
    ]
    for opened, word, closed in zip(query.tokens, query.tokens[1:], query.tokens[2:], strict=False):
        written = query.text[word.start : word.end]
        meant = next((name for name in PLACEHOLDERS if written.replace("_", "").lower() == name.lower()), written)
        if (opened.value, closed.value) == ("{", "}") and meant != written:
            mistakes.append(f"source.query: {{{written}}} is no placeholder; did you mean {{{meant}}}?")
    return mistakes


def _lost_rows(query: Query, source: SourceOfImport) -> list[str]:
    """Why chunks of the query, or its windows, could lose rows."""
    cursor = source.cursor
    if cursor is None:
        return [f"source.{mistake}" for mistake in window_mistakes(query)] if source.window is not None else []
    return [f"source.{mistake}" for mistake in cursor_mistakes(query, cursor.column, is_text=cursor.kind == "text")]


def query_note(source: SourceOfImport, connection: QueryConnection) -> str | None:
    """That the parser does not understand a query which is sent all the same, and what protects its database then."""
    if source.query is None:
        return None
    stopped = read_query(source.query, connection.dialect.name).not_understood
    if stopped is None:
        return None
    return f"source.query: the parser understands it up to {stopped}; it is sent as it is. {connection.protection}"
