"""How far a chunk of a cursor import goes: complete up to its largest value, so that the next one loses nothing.

A LIMIT may cut through rows that share a value. The last value of such a chunk is held back, and read whole by the next
one. Values after now are loaded but never become the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.cursor_values import CursorKind, CursorValue, Moment, cursor_text, in_future, not_after
from ingest_pipelines.errors import CursorStuck

_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True)
class Chunk:
    """What is known of a chunk before it is read.

    Attributes:
        column: the cursor column's name in the result.
        after: where the chunk starts, exclusive.
        limit: the query's LIMIT, where it is a plain number.
        may_cut: whether the query may leave rows for the next chunk.
        now, zone: values after `now` never become the cursor; those without a zone are read in `zone`.
        cap: the ledger's cursor does not pass it; None: no cap.
    """

    column: str
    kind: CursorKind
    after: CursorValue
    limit: int | None
    may_cut: bool
    now: datetime
    zone: tzinfo
    cap: CursorValue | None = None


class CursorTrack:
    """Watches a chunk's cursor column, batch by batch."""

    def __init__(self, chunk: Chunk, where: str) -> None:
        self._chunk = chunk
        self._where = where
        self._held: list[pa.RecordBatch] = []
        self._last: CursorValue | None = None
        self._largest: CursorValue | None = None
        self._read = self._nulls = self._passed = 0
        self._sorted = self._whole_numbers = self._standing = True
        self._repeats = False

    def take(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """What may be landed of the batch, and of those before it."""
        column = batch.column(self._chunk.column)
        self._read += len(column)
        self._nulls += column.null_count
        if self._nulls or not len(column):
            return
        values = self._typed(column)
        self._whole_numbers &= pa.types.is_integer(values.type)
        first, last = _value(values[0]), _value(values[-1])
        self._watch_order(values, first)
        if not self._chunk.may_cut:
            self._pass(values)
            self._last = last
            yield batch
            return
        if self._last != last:
            tail = pc.index(values, values[-1]).as_py() if self._sorted else 0
            for held in (*self._held, batch.slice(0, tail)):
                if held.num_rows:
                    self._pass(self._typed(held.column(self._chunk.column)))
                    yield held
            self._held, batch = [], batch.slice(tail)
        self._held.append(batch)
        self._last = last

    def rest(self) -> Iterator[pa.RecordBatch]:
        """What is to be landed after the last batch.

        Raises:
            CursorStuck: the chunk can't be ordered by its cursor, or holds more rows of one value than its LIMIT.
        """
        if self._nulls:
            raise self._stuck(
                f"{self._nulls} rows have no value in '{self._chunk.column}'",
                f"leave them out: WHERE {self._chunk.column} IS NOT NULL, or choose a column that is never NULL",
            )
        cut = self._cut
        if cut and not self._sorted:
            raise self._stuck(
                f"its rows do not come in the order of '{self._chunk.column}', and the LIMIT cuts some off",
                f"write ORDER BY {self._chunk.column} LIMIT ...",
            )
        if cut and (self._repeats or not self._whole_numbers):
            if self._passed:
                return
            if self._chunk.limit is not None:
                raise self._stuck(
                    f"all {self._read} rows share one value of '{self._chunk.column}', and there may be more of them",
                    "raise the LIMIT above the number of rows with one value, or choose a column that tells them apart",
                )
        for held in self._held:
            self._pass(self._typed(held.column(self._chunk.column)))
            yield held

    def reached(self) -> str | None:
        """The largest value landed, as text; None: no row, none before now, or only rows of where the chunk started.

        The latter come again where a query says >= or a database rounds; they are no news, and no loop.

        Raises:
            CursorStuck: there are other rows, and none lies beyond where the chunk started.
        """
        if self._largest is None or (self._standing and not self._cut):
            return None
        if not_after(self._largest, self._chunk.after):
            raise self._stuck(
                f"its values of '{self._chunk.column}' do not grow: none is beyond where the chunk started",
                f"the query must say WHERE {self._chunk.column} > {{lastItem}}; for rows that come late use cursor.lag",
            )
        return cursor_text(self._largest)

    @property
    def _cut(self) -> bool:
        """Whether the source may hold more rows than the chunk showed."""
        return self._chunk.may_cut and (self._chunk.limit is None or self._read >= self._chunk.limit)

    def _watch_order(self, values: pa.Array, first: CursorValue) -> None:
        after = self._chunk.after
        at_start = not_after(first, after) and not_after(after, first)
        self._standing &= at_start and bool(pc.all(pc.equal(values, values[0])).as_py())
        if self._last is not None:
            self._repeats |= first == self._last
            self._sorted &= self._chunk.kind == "text" or first == self._last or not_after(self._last, first)
        if len(values) > 1:
            head, tail = values.slice(0, len(values) - 1), values.slice(1)
            self._repeats |= bool(pc.any(pc.equal(head, tail)).as_py())
            if self._chunk.kind != "text":  # the order of texts is the database's own
                self._sorted &= bool(pc.all(pc.less_equal(head, tail)).as_py())

    def _pass(self, values: pa.Array) -> None:
        """The rows are landed; their largest value is where the next chunk starts, unless it lies in the future."""
        self._passed += len(values)
        if self._chunk.kind == "text":
            self._largest = _value(values[-1])
            return
        largest = pc.max(values)
        if in_future(_value(largest), self._chunk.now, self._chunk.zone):
            past = values.filter(pc.less_equal(values, _now_like(values.type, self._chunk)))
            if not len(past):
                return
            largest = pc.max(past)
        found = _value(largest)
        if self._largest is None or not_after(self._largest, found):
            self._largest = found

    def _typed(self, column: pa.Array) -> pa.Array:
        kind = self._chunk.kind
        try:
            return typed(column, kind)
        except ValueError:
            says = {"number": "numbers", "moment": "dates or timestamps", "text": "text"}[kind]
            raise self._stuck(
                f"'{self._chunk.column}' is {column.type}, and its start says it holds {says}",
                "write cursor.start as a number, as '2026-01-31', as '2026-01-31T00:00:00', or as text",
            ) from None

    def _stuck(self, what: str, hint: str) -> CursorStuck:
        return CursorStuck(f"{self._where}: {what}", hint=hint)


def typed(column: pa.Array, kind: CursorKind) -> pa.Array:
    """The column as its kind is compared. Text that spells numbers or moments is read as such.

    Raises:
        ValueError: the column holds something else.
    """
    of = column.type
    if kind == "text" and (pa.types.is_string(of) or pa.types.is_large_string(of)):
        return column
    if kind == "number" and (pa.types.is_integer(of) or pa.types.is_decimal(of)):
        return column
    if kind == "number" and pa.types.is_floating(of) and pc.all(pc.is_finite(column)).as_py():
        return column
    if kind == "moment" and (pa.types.is_timestamp(of) or pa.types.is_date(of)):
        return column
    if kind != "text" and (pa.types.is_string(of) or pa.types.is_large_string(of)):
        return pc.cast(column, _spelled(column[0].as_py(), kind))  # ArrowInvalid is a ValueError
    raise ValueError(f"{of} holds no {kind}")


def cursor_cap(largest: pa.Array, kind: CursorKind, start: CursorValue, now: datetime, zone: tzinfo) -> CursorValue:
    """How far the ledger's cursor may go in a drain that begins now: to the largest value there is, not after now.

    A row that becomes visible late is one whose number is at most `lag` below the largest by then. What is read beyond
    the largest of now may have such rows before it.
    """
    if not len(largest):
        return start
    found = _value(typed(largest, kind)[0])
    if not in_future(found, now, zone):
        return found
    if isinstance(found, Moment):
        return Moment.of(now if found.zoned else now.astimezone(zone).replace(tzinfo=None))
    return now.astimezone(zone).date()


def _spelled(text: str, kind: CursorKind) -> pa.DataType:
    """The type that texts like this one are read as."""
    if kind == "number":
        return pa.decimal256(76, 38)
    if len(text) == len("2026-01-31"):
        return pa.date32()
    zoned = text.endswith("Z") or "+" in text[10:] or "-" in text[10:]
    return pa.timestamp("us", "UTC" if zoned else None)


def _value(scalar: pa.Scalar) -> CursorValue:
    if pa.types.is_timestamp(scalar.type):
        return Moment(scalar.value * _UNITS[scalar.type.unit], scalar.type.tz is not None)
    value = scalar.as_py()
    if isinstance(value, float | Decimal):
        digits = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return Decimal(digits) if "." in digits else int(digits)
    assert isinstance(value, CursorValue)
    return value


def _now_like(kind: pa.DataType, chunk: Chunk) -> pa.Scalar:
    if pa.types.is_timestamp(kind):
        now = chunk.now if kind.tz else chunk.now.astimezone(chunk.zone).replace(tzinfo=None)
        return pa.scalar(Moment.of(now).nanoseconds // _UNITS[kind.unit], pa.int64()).cast(kind)
    return pa.scalar(chunk.now.astimezone(chunk.zone).date(), kind)
