"""Where a drain and its chunks start, and how far they move the committed value. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Protocol

from ingest_pipelines.cursor.values import (
    CursorKind,
    CursorValue,
    Moment,
    cursor_text,
    in_future,
    less_lag,
    not_after,
    parse_cursor,
)
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item


class CursorSpec(Protocol):
    """What the import's YAML says of its cursor."""

    @property
    def kind(self) -> CursorKind:
        """What the column holds."""

    @property
    def initial(self) -> CursorValue:
        """The value before the first row."""

    @property
    def lag(self) -> int | float | str:
        """How far before the committed value a drain starts; 0: it starts there."""

    @property
    def lag_amount(self) -> timedelta | Decimal:
        """The lag as it is taken off a value."""


def next_chunk(item: Item, cursor: CursorSpec, committed: str | None, reached: Sequence[str]) -> Item:
    """The drain's next chunk: after this run's last one, or after the committed value less the lag.

    Args:
        item: the drain; its upper bound is kept.
        committed: what the ledger has now; None: nothing yet, and the chunk starts at the initial value.
        reached: `cursor_to` of the chunks that this run has committed, in order.
    """
    start, upper_bound = committed, item.cursor_upper_bound
    if reached:
        start = reached[-1]
        # A run that was interrupted no longer knows the upper bound that it began with.
        upper_bound = upper_bound or (committed if cursor.lag else None)
    elif committed is not None:
        start = cursor_text(less_lag(parse_cursor(committed, cursor.kind), cursor.lag_amount))
    return replace(item, cursor_from=start, cursor_committed=committed, cursor_upper_bound=upper_bound)


def chunk_start(item: Item, cursor: CursorSpec) -> CursorValue:
    """Where the item's rows start, exclusive.

    Raises:
        UsageError: see `ledger_value`.
    """
    start = ledger_value(item.cursor_from, cursor, item.import_name)
    return cursor.initial if start is None else start


def ledger_value(text: str | None, cursor: CursorSpec, import_name: str) -> CursorValue | None:
    """A text of the ledger's as the import's cursor holds it.

    Raises:
        UsageError: the text spells no value of the column's kind.
    """
    if text is None:
        return None
    try:
        return parse_cursor(text, cursor.kind)
    except ValueError as error:
        raise UsageError(
            f"import {import_name}: the cursor in the ledger does not fit cursor.start: {error}",
            hint=f"ingest cursor set {import_name} VALUE",
        ) from None


def upper_bound(largest: CursorValue, now: datetime, zone: tzinfo) -> CursorValue:
    """How far a drain that begins now may move the committed value: to the largest value there is, not after now.

    A row that becomes visible late lies at most one lag below the largest value at that time. Rows beyond the largest
    value of now may have such rows before them.
    """
    if not in_future(largest, now, zone):
        return largest
    return last_past(now, zone, zoned=isinstance(largest, Moment) and largest.zoned, is_date=isinstance(largest, date))


def last_past(now: datetime, zone: tzinfo, *, zoned: bool = False, is_date: bool = False) -> CursorValue:
    """The last date or timestamp that is not after now. A day is past once it is over: until then it gets rows."""
    local = now.astimezone(zone)
    if is_date:
        return local.date() - timedelta(days=1)
    return Moment.of(now if zoned else local.replace(tzinfo=None))


def advanced(
    reached: CursorValue, committed: CursorValue | None, upper_bound: CursorValue | None
) -> CursorValue | None:
    """What the committed value becomes: what was reached, up to the upper bound. None: it stays, it never goes back."""
    if upper_bound is not None and not_after(upper_bound, reached):
        reached = upper_bound
    return None if committed is not None and not_after(reached, committed) else reached


def lies_before(largest: CursorValue | None, committed: CursorValue | None) -> bool:
    """Whether the source's largest value is below the committed one, as after a restore from a backup."""
    return largest is not None and committed is not None and not not_after(committed, largest)


def opened_at(item: Item) -> str | None:
    """The committed value that the chunk was opened at."""
    return item.cursor_from if item.cursor_committed is None else item.cursor_committed


def moved_since(item: Item, committed: str | None) -> bool:
    """Whether another load has moved the committed value since the chunk was opened."""
    return committed is not None and committed != opened_at(item)
