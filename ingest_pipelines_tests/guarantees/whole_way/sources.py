"""What is true of a database that is read by a cursor: its rows, their order, and who can see them yet.

A value of the cursor's column is a rank: rows of one rank are equal to the database, however they are spelled. Nothing
here knows how the product reads; `chunks` says which rows it may take in which step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class SourceRow:
    """A row: its number for life, what it says, and its rank in the cursor's order."""

    number: int
    cells: Row
    rank: int


@dataclass(frozen=True)
class Cursor:
    """How an import reads.

    Attributes:
        limit: rows of a chunk; None: all.
        lag: ranks before the committed one at which a drain begins, that rank included.
        before: how far below a rank the next smaller value of the type lies.
        again: the query says >=.
        exact: the product can tell values apart by itself, so a chunk is as long as it may be.
    """

    limit: int | None
    lag: int = 0
    again: bool = False
    exact: bool = True
    before: float = 1


@dataclass(frozen=True)
class Chunk:
    """Rows that one load takes, and the rank up to which all rows are loaded then."""

    rows: tuple[SourceRow, ...]
    reached: int | None


class Lost(AssertionError):
    """The product took rows that leave others behind."""


@dataclass
class Table:
    """A source's table.

    Attributes:
        visible: rows of committed transactions.
        late: rows of transactions that are still open.
        backups: what there was at some moments.
    """

    visible: dict[int, SourceRow] = field(default_factory=dict)
    late: dict[int, SourceRow] = field(default_factory=dict)
    backups: list[dict[int, SourceRow]] = field(default_factory=list)
    numbers: int = 0

    def copy(self) -> Self:
        """The same, apart."""
        return copy.deepcopy(self)

    def add(self, cells: Row, rank: int, *, late: bool = False) -> SourceRow:
        """A new row; `late`: its transaction stays open."""
        self.numbers += 1
        row = SourceRow(self.numbers, cells, rank)
        (self.late if late else self.visible)[row.number] = row
        return row

    def change(self, number: int, cells: Row, rank: int) -> SourceRow:
        """The row says something else, and has a new rank."""
        row = self.visible[number] = replace(self.visible[number], cells=cells, rank=rank)
        return row

    def commit(self) -> None:
        """The open transactions are committed."""
        self.visible |= self.late
        self.late = {}

    def has(self, rank: int, key: str | None = None) -> bool:
        """Whether a row, also one that nobody can see yet, has that rank, and that key."""
        rows = [*self.visible.values(), *self.late.values()]
        return any(row.rank == rank and key in {None, row.cells[0]} for row in rows)

    @property
    def largest(self) -> int | None:
        """The largest rank that anybody can see."""
        return max((row.rank for row in self.visible.values()), default=None)

    def after(self, rank: float | None, cursor: Cursor) -> list[SourceRow]:
        """Rows that the query shows beyond that rank, in order."""
        rows = sorted(self.visible.values(), key=lambda row: (row.rank, row.number))
        return [row for row in rows if rank is None or row.rank > rank or (cursor.again and row.rank == rank)]

    def went_back(self, committed: int | None) -> bool:
        """Whether the largest rank lies before the committed one."""
        return committed is not None and self.largest is not None and self.largest < committed


def possible_chunks(table: Table, start: float | None, cursor: Cursor) -> list[Chunk]:
    """The chunks that may follow from there, the longest first; none: more rows than the limit share one value.

    A chunk ends where it cuts no two rows of one rank apart.
    """
    rows = table.after(start, cursor)
    if cursor.limit is None or len(rows) <= cursor.limit:
        return [_chunk(rows, start)]
    ends = [
        at for at in range(1, cursor.limit + 1) if rows[at - 1].rank != rows[at].rank and rows[at - 1].rank != start
    ]
    chunks = [_chunk(rows[:at], start) for at in reversed(ends)]
    return chunks[:1] if cursor.exact else chunks


def _chunk(rows: Sequence[SourceRow], start: float | None) -> Chunk:
    beyond = [row.rank for row in rows if start is None or row.rank > start]
    return Chunk(tuple(rows), max(beyond, default=None))


@dataclass
class Drain:
    """A drain, followed chunk by chunk.

    Attributes:
        committed: the ledger's rank before the drain, then after each chunk.
        bound: with a lag, the rank that the drain may not pass.
        ended: no other chunk follows.
    """

    table: Table
    cursor: Cursor
    committed: int | None
    start: float | None = None
    bound: int | None = None
    ended: bool = False
    taken: int = 0

    def __post_init__(self) -> None:
        self.start = self.committed
        if self.cursor.lag and self.committed is not None:
            self.start = self.committed - self.cursor.lag - self.cursor.before
        if self.cursor.lag:
            self.bound = self.table.largest

    @property
    def refused(self) -> bool:
        """Whether the next chunk must be refused: the source went back, or too many rows share a value."""
        return bool(self.went_back or not possible_chunks(self.table, self.start, self.cursor))

    @property
    def went_back(self) -> bool:
        first_is_empty = not self.table.after(self.start, self.cursor)
        return (self.cursor.lag > 0 or first_is_empty) and not self.taken and self.table.went_back(self.committed)

    def take(self, read: int) -> Chunk:
        """The product loaded a chunk of so many rows.

        Raises:
            Lost: no chunk that it may load has so many.
        """
        if self.ended:
            raise Lost("a chunk after the last one")
        may = possible_chunks(self.table, self.start, self.cursor)
        chunk = next((chunk for chunk in may if len(chunk.rows) == read), None)
        if chunk is None or (self.went_back and read):
            raise Lost(f"a chunk of {read} rows after {self.start}, where {[len(chunk.rows) for chunk in may]} may be")
        self.taken += 1
        if chunk.reached is None:
            self.ended = True
            return chunk
        self.start = chunk.reached
        reached = chunk.reached if self.bound is None else min(chunk.reached, self.bound)
        self.committed = reached if self.committed is None else max(self.committed, reached)
        return chunk

    @property
    def whole(self) -> bool:
        """Whether every row that the query shows is loaded."""
        return self.ended or (self.taken > 0 and not self.table.after(self.start, replace(self.cursor, again=False)))
