"""Where a chunk ends: at a value up to which no row is missing, so that the next chunk can start after it.

A LIMIT may cut between rows of one value, or of values that the database takes for equal. Such rows are held back, and
the next chunk reads all of them. "Why a cursor loses no row" in docs/loading.md has the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.cursor.bounds import advanced, last_past
from ingest_pipelines.cursor.column import NANOSECONDS_PER, Spelled, typed, unusable, value_of
from ingest_pipelines.cursor.values import CursorKind, CursorValue, Moment, cursor_text, in_future, not_after
from ingest_pipelines.errors import CursorStuck

_HELD_ROWS = 50_000
"""Of a chunk of texts at least so many rows are held back until its end is known."""


@dataclass(frozen=True)
class Chunk:
    """What is known of a chunk before it is read.

    Attributes:
        column: the cursor column's name in the result.
        after: where the chunk starts, exclusive.
        limit: the largest number of rows in the chunk; None: all rows. The query asks for one row more, which shows
            whether other rows follow, and whether they have another value.
        now, zone: values after `now` are never committed; those without a zone are read in `zone`.
        committed: the ledger's value when the chunk was opened; no chunk takes it back.
        upper_bound: the largest value that may be committed; None: any.
        comes_after: whether the database puts one text after another.
        ends_run: the run reads no other chunk.
    """

    column: str
    kind: CursorKind
    after: CursorValue
    limit: int | None
    now: datetime
    zone: tzinfo
    committed: CursorValue | None = None
    upper_bound: CursorValue | None = None
    comes_after: Callable[[str, str], bool] | None = None
    ends_run: bool = False


class ChunkEnd:
    """Finds the chunk's end: watches its cursor column batch by batch, and holds back rows that the LIMIT may cut."""

    def __init__(self, chunk: Chunk, where: str, spells: Spelled | None = None) -> None:
        """Args: spells: what the column's texts stand for in the source; None: for themselves."""
        self._chunk = chunk
        self._where = where
        self._spells = spells
        self._held: list[pa.RecordBatch] = []
        self._last: CursorValue | None = None
        self._largest: CursorValue | None = None
        self._largest_past: CursorValue | None = None
        self._read = self._nulls = 0
        self._sorted = self._only_start = self._landed_only_start = True

    def take(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The rows that can be landed now, of this batch and of rows held back before."""
        column = batch.column(self._chunk.column)
        self._read += len(column)
        self._nulls += column.null_count
        if self._nulls:
            return
        values = self._typed(column)  # also of no rows: a comparison with another type may be true for none
        if not len(column):
            return
        first, last = value_of(values[0]), value_of(values[-1])
        self._watch(values, first)
        if self._chunk.limit is None:
            self._note_landed(values)
            yield batch
        elif self._chunk.kind == "text":
            self._held.append(batch)
            while sum(map(len, self._held)) - len(self._held[0]) >= _HELD_ROWS:
                yield self._landed(self._held.pop(0))
        else:
            if self._last != last:
                tail = pc.index(values, values[-1]).as_py() if self._sorted else 0
                yield from self._land_held(batch.slice(0, tail))
                batch = batch.slice(tail)
            self._held.append(batch)
        self._last = last

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The rows to land after the last batch.

        Raises:
            CursorStuck: the rows are not in the cursor's order, or one value has more rows than the LIMIT.
        """
        if self._nulls:
            raise self._stuck(
                f"{self._nulls} rows have no value in '{self._chunk.column}'",
                f"leave them out: WHERE {self._chunk.column} IS NOT NULL, or choose a column that is never NULL",
            )
        if not self.cut:
            yield from self._land_held()
            return
        if not self._sorted:
            raise self._stuck(
                f"its rows do not come in the order of '{self._chunk.column}', and the LIMIT cuts some off",
                f"write ORDER BY {self._chunk.column} LIMIT ...",
            )
        if self._chunk.kind == "text":
            yield from self._before_a_proven_boundary()
        if self._landed_only_start:
            raise self._stuck(
                f"all {self._chunk.limit} rows share one value of '{self._chunk.column}', and there are more of them",
                "raise the LIMIT above the number of rows with one value, or choose a column that tells them apart",
            )

    def reached(self) -> str | None:
        """The largest value landed, as text; None: no row, or only rows of the value that the chunk started after.

        A query that says >=, and a database that rounds, bring these rows again: they are not new, and not an error.

        Raises:
            CursorStuck: rows of other values came, and none of them is beyond the chunk's start.
        """
        if self._largest is None or self._only_start:
            return None
        if not_after(self._largest, self._chunk.after):
            if self._chunk.kind == "text" and not self.cut:
                return None  # other spellings of where the chunk started, which a >= brings again: all of them are read
            raise self._stuck(
                f"its values of '{self._chunk.column}' do not grow: none is beyond where the chunk started",
                f"the query must say WHERE {self._chunk.column} > {{lastItem}}; for rows that come late use cursor.lag",
            )
        return cursor_text(self._largest)

    def committed(self) -> str | None:
        """The committed value once the chunk is committed. Rows that a lag reads again do not take it back.

        Raises:
            CursorStuck: it stays as it is, other rows follow, and the run ends with this chunk: it would never move on.
        """
        chunk, value = self._chunk, self._largest_past
        if value is not None and chunk.kind != "text":
            value = advanced(value, chunk.committed, chunk.upper_bound)
        if value is None and chunk.ends_run and self.cut:
            raise self._stuck(
                "the lag holds more rows than one chunk, or the future does",
                "nothing was loaded; raise the query's LIMIT, lower cursor.lag, or leave out drain: false",
            )
        value = chunk.committed if value is None else value
        return None if value is None else cursor_text(value)

    @property
    def cut(self) -> bool:
        """Whether the source has more rows than the chunk."""
        return self._chunk.limit is not None and self._read > self._chunk.limit

    def _watch(self, values: pa.Array, first: CursorValue) -> None:
        self._only_start &= self._is_start(first) and bool(pc.all(pc.equal(values, values[0])).as_py())
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
        """Rows before those that the database takes for equal to the last one, which are held back.

        Only the database knows the order of its texts, so it is asked for candidates, from the end on, in steps that
        double. Between two of them lies the end: the last place whose row comes before the last row. An earlier one
        may lie between rows of one value, and the next chunk would begin behind all of them.
        """
        rows = pa.Table.from_batches(self._held)
        texts = pc.cast(rows.column(self._chunk.column), pa.string()).combine_chunks()
        changes = pc.indices_nonzero(pc.not_equal(texts.slice(0, len(texts) - 1), texts.slice(1))).to_pylist()
        boundaries = [*([] if self._largest is None else [0]), *(place + 1 for place in changes)]
        comes_after, last = self._chunk.comes_after, texts[-1].as_py()
        assert comes_after is not None

        def is_before_last(at: int) -> bool:
            boundary = boundaries[at]
            return comes_after(last, texts[boundary - 1].as_py() if boundary else str(self._largest))

        too_late, step = len(boundaries), 1
        at = too_late - 1
        while at >= 0 and not is_before_last(at):
            too_late, at, step = at, (max(at - step, 0) if at else -1), 2 * step
        if at < 0:
            self._landed_only_start = True
            return
        while too_late - at > 1:
            middle = (at + too_late) // 2
            at, too_late = (middle, too_late) if is_before_last(middle) else (at, middle)
        yield from map(self._landed, rows.slice(0, boundaries[at]).to_batches())

    def _land_held(self, *more: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        for batch in (*self._held, *more):
            if batch.num_rows:
                yield self._landed(batch)
        self._held = []

    def _landed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self._note_landed(self._typed(batch.column(self._chunk.column)))
        return batch

    def _note_landed(self, values: pa.Array) -> None:
        """The rows are landed; their largest value is where the next chunk starts."""
        self._landed_only_start &= self._is_start(value_of(values[0])) and self._is_start(value_of(values[-1]))
        if self._chunk.kind == "text":
            self._largest = self._largest_past = value_of(values[-1])
            return
        largest = value_of(pc.max(values))
        self._largest = _larger(self._largest, largest)
        if in_future(largest, self._chunk.now, self._chunk.zone):
            past = _past(values, self._chunk)
            if not len(past):
                return
            largest = value_of(pc.max(past))
        self._largest_past = _larger(self._largest_past, largest)

    def _typed(self, column: pa.Array) -> pa.Array:
        try:
            return typed(column, self._chunk.kind, self._spells)
        except ValueError:
            raise self._stuck(*unusable(column, self._chunk.column, self._chunk.kind, self._spells)) from None

    def _stuck(self, what: str, hint: str) -> CursorStuck:
        return CursorStuck(f"{self._where}: {what}", hint=hint)


def _larger(value: CursorValue | None, other: CursorValue) -> CursorValue:
    return other if value is None or not_after(value, other) else value


def _past(values: pa.Array, chunk: Chunk) -> pa.Array:
    """The dates or timestamps that are not after now."""
    kind = values.type
    zoned, is_date = pa.types.is_timestamp(kind) and kind.tz is not None, pa.types.is_date(kind)
    last = last_past(chunk.now, chunk.zone, zoned=zoned, is_date=is_date)
    if isinstance(last, Moment):
        bound = pa.scalar(last.nanoseconds // NANOSECONDS_PER[kind.unit], pa.int64()).cast(kind)
    else:
        bound = pa.scalar(last, kind)
    return values.filter(pc.less_equal(values, bound))
