"""Where a chunk of a cursor import ends: complete up to its last value, so that the next one loses nothing.

A LIMIT may cut through rows that share a value, or that the database takes for equal. Rows that it may have cut from
others are held back, and read whole by the next chunk. See "Why a cursor loses no row" in docs/loading.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.cursor_values import (
    CursorKind,
    CursorValue,
    Moment,
    Spelled,
    cursor_text,
    in_future,
    not_after,
)
from ingest_pipelines.errors import CursorStuck

_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

_HELD_ROWS = 50_000
"""Rows of a chunk of texts that are held back until its end is known, at least."""


@dataclass(frozen=True)
class Chunk:
    """What is known of a chunk before it is read.

    Attributes:
        column: the cursor column's name in the result.
        after: where the chunk starts, exclusive.
        limit: how many rows the chunk has at most; None: all that there are. One row more is read, which shows whether
            other rows follow, and whether their value is another one.
        now, zone: values after `now` never become the cursor; those without a zone are read in `zone`.
        committed: the ledger's cursor, which no chunk takes back.
        cap: the ledger's cursor does not pass it; None: no cap.
        comes_after: whether a text comes after another one, as the database compares.
        alone: whether the run ends with this chunk.
    """

    column: str
    kind: CursorKind
    after: CursorValue
    limit: int | None
    now: datetime
    zone: tzinfo
    committed: CursorValue | None = None
    cap: CursorValue | None = None
    comes_after: Callable[[str, str], bool] | None = None
    alone: bool = False


class CursorTrack:
    """Watches a chunk's cursor column, batch by batch."""

    def __init__(self, chunk: Chunk, where: str, spells: Spelled | None = None) -> None:
        """Args: spells: what the column's texts are in the source; None: texts."""
        self._chunk = chunk
        self._where = where
        self._spells = spells
        self._held: list[pa.RecordBatch] = []
        self._last: CursorValue | None = None
        self._largest: CursorValue | None = None
        self._largest_past: CursorValue | None = None
        self._read = self._nulls = 0
        self._sorted = self._standing = self._none_passed = True

    def take(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """What may be landed of the batch, and of those before it."""
        column = batch.column(self._chunk.column)
        self._read += len(column)
        self._nulls += column.null_count
        if self._nulls or not len(column):
            return
        values = self._typed(column)
        first, last = _value(values[0]), _value(values[-1])
        self._watch(values, first)
        if self._chunk.limit is None:
            self._pass(values)
            yield batch
        elif self._chunk.kind == "text":
            self._held.append(batch)
            while sum(map(len, self._held)) - len(self._held[0]) >= _HELD_ROWS:
                yield self._passed(self._held.pop(0))
        else:
            if self._last != last:
                tail = pc.index(values, values[-1]).as_py() if self._sorted else 0
                yield from self._release(batch.slice(0, tail))
                batch = batch.slice(tail)
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
        if not self.cut:
            yield from self._release()
            return
        if not self._sorted:
            raise self._stuck(
                f"its rows do not come in the order of '{self._chunk.column}', and the LIMIT cuts some off",
                f"write ORDER BY {self._chunk.column} LIMIT ...",
            )
        if self._chunk.kind == "text":
            yield from self._before_a_proven_boundary()
        if self._none_passed:
            raise self._stuck(
                f"all {self._chunk.limit} rows share one value of '{self._chunk.column}', and there are more of them",
                "raise the LIMIT above the number of rows with one value, or choose a column that tells them apart",
            )

    def reached(self) -> str | None:
        """The largest value landed, as text; None: no row, or only rows of where the chunk started.

        The latter come again where a query says >= or a database rounds; they are no news, and no loop.

        Raises:
            CursorStuck: there are other rows, and none lies beyond where the chunk started.
        """
        if self._largest is None or self._standing:
            return None
        if not_after(self._largest, self._chunk.after):
            if self._chunk.kind == "text" and not self.cut:
                return None  # other spellings of where the chunk started, which a >= brings again: all of them are read
            raise self._stuck(
                f"its values of '{self._chunk.column}' do not grow: none is beyond where the chunk started",
                f"the query must say WHERE {self._chunk.column} > {{lastItem}}; for rows that come late use cursor.lag",
            )
        return cursor_text(self._largest)

    def commits(self) -> str | None:
        """What the ledger's cursor becomes with the chunk: a lag reads again what is behind it, and takes it not back.

        Raises:
            CursorStuck: it stays, although rows were left for the next chunk, and the run ends with this one.
        """
        chunk, value = self._chunk, self._largest_past
        if value is not None and chunk.kind != "text":
            value = chunk.cap if chunk.cap is not None and not_after(chunk.cap, value) else value
            value = None if chunk.committed is not None and not_after(value, chunk.committed) else value
        if value is None and chunk.alone and self.cut:
            raise self._stuck(
                "the lag holds more rows than one chunk, or the future does",
                "nothing was loaded; raise the query's LIMIT, lower cursor.lag, or leave out drain: false",
            )
        value = chunk.committed if value is None else value
        return None if value is None else cursor_text(value)

    @property
    def cut(self) -> bool:
        """Whether the source holds more rows than a chunk has."""
        return self._chunk.limit is not None and self._read > self._chunk.limit

    def _watch(self, values: pa.Array, first: CursorValue) -> None:
        self._standing &= self._is_start(first) and bool(pc.all(pc.equal(values, values[0])).as_py())
        if self._chunk.kind == "text":  # the order of texts is the database's own
            return
        if self._last is not None:
            self._sorted &= not_after(self._last, first)
        if len(values) > 1:
            head, tail = values.slice(0, len(values) - 1), values.slice(1)
            self._sorted &= bool(pc.all(pc.less_equal(head, tail)).as_py())

    def _is_start(self, value: CursorValue) -> bool:
        return not_after(value, self._chunk.after) and not_after(self._chunk.after, value)

    def _before_a_proven_boundary(self) -> Iterator[pa.RecordBatch]:
        """Texts up to one that the last text comes after, by the database's own word: what lies between is held back.

        The database orders texts, so those before the boundary are all that there are. It is looked for from the end,
        in steps that double.
        """
        rows = pa.Table.from_batches(self._held)
        texts = pc.cast(rows.column(self._chunk.column), pa.string()).combine_chunks()
        changes = pc.indices_nonzero(pc.not_equal(texts.slice(0, len(texts) - 1), texts.slice(1))).to_pylist()
        boundaries = [*([] if self._largest is None else [0]), *(place + 1 for place in changes)]
        last, at, step = texts[-1].as_py(), len(boundaries) - 1, 1
        assert self._chunk.comes_after is not None
        while at >= 0:
            boundary = boundaries[at]
            if self._chunk.comes_after(last, texts[boundary - 1].as_py() if boundary else str(self._largest)):
                yield from map(self._passed, rows.slice(0, boundary).to_batches())
                return
            at, step = max(at - step, 0) if at else -1, 2 * step
        self._none_passed = True

    def _release(self, *more: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        for batch in (*self._held, *more):
            if batch.num_rows:
                yield self._passed(batch)
        self._held = []

    def _passed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self._pass(self._typed(batch.column(self._chunk.column)))
        return batch

    def _pass(self, values: pa.Array) -> None:
        """The rows are landed; their largest value is where the next chunk starts."""
        self._none_passed &= self._is_start(_value(values[0])) and self._is_start(_value(values[-1]))
        if self._chunk.kind == "text":
            self._largest = self._largest_past = _value(values[-1])
            return
        found = largest = pc.max(values)
        self._largest = _larger(self._largest, _value(largest))
        if in_future(_value(largest), self._chunk.now, self._chunk.zone):
            past = _past(values, self._chunk)
            if not len(past):
                return
            found = pc.max(past)
        self._largest_past = _larger(self._largest_past, _value(found))

    def _typed(self, column: pa.Array) -> pa.Array:
        try:
            return typed(column, self._chunk.kind, self._spells)
        except ValueError:
            raise self._stuck(*_unusable(column, self._chunk.column, self._chunk.kind, self._spells)) from None

    def _stuck(self, what: str, hint: str) -> CursorStuck:
        return CursorStuck(f"{self._where}: {what}", hint=hint)


def _larger(value: CursorValue | None, other: CursorValue) -> CursorValue:
    return other if value is None or not_after(value, other) else value


def typed(column: pa.Array, kind: CursorKind, spells: Spelled | None) -> pa.Array:
    """The column as its kind is compared. Texts that spell the source's numbers or moments are read as such.

    Raises:
        ValueError: the column holds something else.
    """
    of = column.type
    is_text = pa.types.is_string(of) or pa.types.is_large_string(of)
    if kind == "text" and is_text and spells is None:
        return column
    if kind == "number" and (pa.types.is_integer(of) or pa.types.is_decimal(of)):
        return column
    if kind == "moment" and (pa.types.is_timestamp(of) or pa.types.is_date(of)):
        return column
    if kind == spells and is_text:
        return pc.cast(column, _spelled(column, kind))  # ArrowInvalid is a ValueError
    raise ValueError(f"{of} holds no {kind}")


def _unusable(column: pa.Array, name: str, kind: CursorKind, spells: Spelled | None) -> tuple[str, str]:
    """Why the column cannot be a cursor of the kind, and what to do."""
    of = column.type
    if pa.types.is_floating(of):
        return (
            f"'{name}' is {of}, a binary floating-point number, whose digits in the database no cursor can hold",
            f"select it, compare it and order by it as a decimal: CAST({name} AS DECIMAL(38, 10)) AS {name}",
        )
    if kind == spells and pc.any(pc.match_substring_regex(column, "(?i)^[+-]?(nan|inf|infinity)$")).as_py():
        return (
            f"'{name}' holds infinity or NaN, which no cursor can pass",
            f"leave these rows out in the query's WHERE, or give them a value of their own in '{name}'",
        )
    if kind == spells:
        what = "more than 76 digits" if kind == "number" else "dates that are none of the years 1 to 9999"
        return f"'{name}' holds {what}", "leave these rows out in the query's WHERE, or choose another column"
    if spells == "enum":
        return (
            f"'{name}' is an enumeration, which the database orders by its list and compares as text",
            f"select it, compare it and order by it as text: CAST({name} AS CHAR) AS {name}",
        )
    says = {"number": "numbers", "moment": "dates or timestamps", "text": "text"}
    hint = "write cursor.start as a number, as '2026-01-31', as '2026-01-31T00:00:00', or as text"
    if spells is None and (pa.types.is_string(of) or pa.types.is_large_string(of)):
        hint = f"the database orders it as text: write cursor.start as text, or CAST {name} to {says[kind]} wherever "
        hint += "the query selects it, compares it and orders by it"
    return f"'{name}' is {says[spells] if spells else of}, and its start says it holds {says[kind]}", hint


def largest_value(largest: pa.Array, chunk: Chunk, where: str) -> CursorValue | None:
    """The value of an array of one; None of an empty one.

    Raises:
        CursorStuck: it is none that a cursor can hold.
    """
    if not len(largest):
        return None
    spells: Spelled | None = None if chunk.kind == "text" else chunk.kind
    try:
        return _value(typed(largest, chunk.kind, spells)[0])
    except ValueError:
        what, hint = _unusable(largest, chunk.column, chunk.kind, spells)
        raise CursorStuck(f"{where}: {what}", hint=hint) from None


def cursor_cap(largest: CursorValue, chunk: Chunk) -> CursorValue:
    """How far the ledger's cursor may go in a drain that begins now: to the largest value there is, not after now.

    A row that becomes visible late is one whose number is at most `lag` below the largest by then. What is read beyond
    the largest of now may have such rows before it.
    """
    if not in_future(largest, chunk.now, chunk.zone):
        return largest
    return _last_past(chunk, zoned=isinstance(largest, Moment) and largest.zoned, is_date=isinstance(largest, date))


def _spelled(texts: pa.Array, kind: CursorKind) -> pa.DataType:
    """The type that the texts are read as: the widest number with their decimals, or a moment like the first one."""
    if kind == "number":
        fractions = pc.replace_substring_regex(texts, r"^[^.]*\.?", "")
        return pa.decimal256(76, pc.max(pc.binary_length(fractions)).as_py() or 0)
    text = texts[0].as_py()
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


def _last_past(chunk: Chunk, *, zoned: bool = False, is_date: bool = False) -> CursorValue:
    """The last value that lies not after now. A day does so once it is over: rows of it come until then."""
    local = chunk.now.astimezone(chunk.zone)
    if is_date:
        return local.date() - timedelta(days=1)
    return Moment.of(chunk.now if zoned else local.replace(tzinfo=None))


def _past(values: pa.Array, chunk: Chunk) -> pa.Array:
    """Those of the dates or timestamps that lie not after now."""
    kind = values.type
    last = _last_past(chunk, zoned=pa.types.is_timestamp(kind) and kind.tz is not None, is_date=pa.types.is_date(kind))
    if isinstance(last, Moment):
        bound = pa.scalar(last.nanoseconds // _UNITS[kind.unit], pa.int64()).cast(kind)
    else:
        bound = pa.scalar(last, kind)
    return values.filter(pc.less_equal(values, bound))
