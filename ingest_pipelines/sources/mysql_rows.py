"""Rows of MySQL's text protocol as Arrow columns, without a Python object per cell. Pure.

A row is a packet: four bytes of header, then each cell as its length and its bytes. Cells of one column are located for
all rows at once: where the cell before ended. What the server spells arrives exactly so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.cursor.column import spelling

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

HEADER = 4
LARGEST_PACKET = 0xFFFFFF
_NULL = 251
_WIDTHS = {252: 2, 253: 3, 254: 8}
"""First byte of a cell's length -> bytes of the length itself."""

_BINARY_CHARSET = 63
_UNSIGNED = 32
_ENUM_OR_SET = 256 | 2048
_BIT, _JSON, _TIMESTAMP = 16, 245, 7
_SPELLED = {
    0: spelling("number"), 246: spelling("number"),
    **dict.fromkeys((7, 10, 12, 14), spelling("moment")),
}  # fmt: skip
"""Types whose texts a cursor reads as numbers or moments: decimals; dates, datetimes and timestamps."""

_INTEGERS = frozenset({1, 2, 3, 8, 9, 13})
_FLOATS = frozenset({4, 5})
_STRINGS = frozenset({249, 250, 251, 252, 253, 254, 255, 15})


class LargeRow(ValueError):
    """A row that the protocol cuts into several packets."""


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result as the server describes it."""

    name: str
    kind: int
    charset: int
    flags: int

    @property
    def type(self) -> pa.DataType:
        """What its cells become: whole and floating numbers, bytes, else text."""
        if self.kind in _INTEGERS:
            return pa.uint64() if self.flags & _UNSIGNED and self.kind == 8 else pa.int64()
        if self.kind in _FLOATS:
            return pa.float64()
        if self.kind == _BIT:
            return pa.uint64()
        return pa.binary() if self.kind in _STRINGS and self.charset == _BINARY_CHARSET else pa.string()

    @property
    def spells(self) -> dict[bytes, bytes] | None:
        """The field's metadata where its cells are texts of something else."""
        return spelling("enum") if self.flags & _ENUM_OR_SET else _SPELLED.get(self.kind)


@dataclass(frozen=True)
class Packets:
    """Whole packets at the head of a buffer.

    Attributes:
        starts: where each row's first cell is.
        used: bytes of the buffer that they fill, headers included.
        end: place of the packet that ends the result, or None.
    """

    starts: list[int]
    used: int
    end: int | None


def split(buffer: bytes) -> Packets:
    """The buffer's packets; a part of one at its end is left.

    Raises:
        LargeRow: a row of 16 MB or more, which the protocol cuts into several packets.
    """
    starts: list[int] = []
    place, size = 0, len(buffer)
    while place + HEADER <= size:
        length = buffer[place] | buffer[place + 1] << 8 | buffer[place + 2] << 16
        cells = place + HEADER
        if length == LARGEST_PACKET:
            raise LargeRow("a row of 16 MB or more")
        if cells + length > size:
            break
        mark = buffer[cells] if length else 0
        if mark == 0xFF or (mark == 0xFE and length < 9):
            return Packets(starts, place, cells)
        starts.append(cells)
        place = cells + length
    return Packets(starts, place, None)


def arrays(buffer: bytes, starts: Sequence[int], columns: Sequence[ResultColumn]) -> list[pa.Array]:
    """The rows' cells, column by column.

    Raises:
        pa.ArrowInvalid: bytes that are no text, or no number, in a column of such.
    """
    data = np.frombuffer(buffer, np.uint8)
    place = np.array(starts, np.int64)
    columns_of_cells = []
    for column in columns:
        cells, place = _cells(data, place)
        columns_of_cells.append(_typed(cells, column))
    return columns_of_cells


def _cells(data: Bytes, place: Places) -> tuple[pa.Array, Places]:
    """The cells that start at `place`, as bytes, and where the next column's cells start."""
    first = data[place]
    lengths = first.astype(np.int64)
    begins = place + 1
    for mark, width in _WIDTHS.items():
        rows = np.flatnonzero(first == mark)
        if len(rows):
            parts = data[begins[rows, None] + np.arange(width)].astype(np.int64)
            lengths[rows] = (parts << (8 * np.arange(width))).sum(axis=1)
            begins[rows] += width
    nulls = first == _NULL
    lengths[nulls] = 0
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    source = np.repeat(begins - offsets[:-1], lengths)
    source += np.arange(offsets[-1])
    valid = pa.py_buffer(np.packbits(~nulls, bitorder="little")) if nulls.any() else None
    parts = [valid, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data[source])]
    return pa.Array.from_buffers(pa.binary(), len(lengths), parts), begins + lengths


def _typed(cells: pa.Array, column: ResultColumn) -> pa.Array:
    if column.kind == _BIT:
        return _bits(cells)
    if column.type == pa.binary():
        return cells
    text = pc.cast(cells, pa.string())
    if column.kind == _TIMESTAMP:  # the session's zone is UTC; a DATETIME has none
        return pc.binary_join_element_wise(text, "Z", "")
    return text if column.type == pa.string() else pc.cast(text, column.type)


def _bits(cells: pa.Array) -> pa.Array:
    """BIT(n) as a number: its bytes, the highest first, all cells equally many."""
    filled = cells.drop_null()
    if not len(filled):
        return pa.nulls(len(cells), pa.uint64())
    width = len(filled[0].as_py())
    whole = np.frombuffer(b"".join(filled.to_pylist()), np.uint8).reshape(-1, width).astype(np.uint64)
    numbers = (whole << (np.uint64(8) * np.arange(width - 1, -1, -1, dtype=np.uint64))).sum(axis=1, dtype=np.uint64)
    every = np.zeros(len(cells), np.uint64)
    valid = np.array(cells.is_valid())
    every[valid] = numbers
    return pa.array(every, mask=~valid)
