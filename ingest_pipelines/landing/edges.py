"""Finds rows with a cell that begins or ends with a blank or an invisible character. The others need no trimming.

It looks at two bytes of each cell in Arrow's buffers; trimming every cell of a file costs ten times as much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from ingest_pipelines.config.blanks import BLANKS
from ingest_pipelines.model import TRIM

Mask = npt.NDArray[np.bool_]

_BYTES = [letter.encode() for letter in BLANKS] + [b"\xf3\xa0", b"\xf0\x9b", b"\xf0\x9d"]


def _table(values: set[int]) -> Mask:
    return np.isin(np.arange(256), sorted(values))


_FIRST = _table({letter[0] for letter in _BYTES})
"""First bytes of blanks. Other characters share them, so a few rows are trimmed without need."""
_ASCII_LAST = _table({letter[0] for letter in _BYTES if len(letter) == 1})
_LEADS = {back: _table({letter[0] for letter in _BYTES if letter[0] >= least}) & _table(set(range(least, least + span)))
          for back, least, span in ((2, 0xC2, 0x1E), (3, 0xE0, 0x10), (4, 0xF0, 0x05))}  # fmt: skip
"""Length of a multi-byte character -> first bytes of blanks of that length."""


def trim_column(batches: list[pa.RecordBatch]) -> pl.Series:
    """The column TRIM of the batches' rows."""
    return pl.Series(TRIM, np.concatenate([_edged(batch) for batch in batches]), dtype=pl.Boolean)


def _edged(batch: pa.RecordBatch) -> Mask:
    rows = np.zeros(batch.num_rows, np.bool_)
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            rows |= _edged_cells(column, np.int32)
        elif pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type):
            rows |= _edged_cells(column, np.int64)
        elif pa.types.is_string_view(column.type) or pa.types.is_fixed_size_binary(column.type):
            rows[:] = True
    return rows


def _edged_cells(column: pa.Array, offset_type: type[np.int32 | np.int64]) -> Mask:
    _, offsets_buffer, data_buffer = column.buffers()
    if data_buffer is None or not data_buffer.size:
        return np.zeros(len(column), np.bool_)
    offsets = np.frombuffer(offsets_buffer, offset_type)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(data_buffer, np.uint8)
    starts, ends = offsets[:-1], offsets[1:]
    last = data[np.maximum(ends, 1) - 1]
    edged = _FIRST[data[np.minimum(starts, len(data) - 1)]] | _ASCII_LAST[last]
    (beyond,) = np.nonzero(last >= 0x80)
    for back, leads in _LEADS.items():
        edged[beyond] |= leads[data[np.maximum(ends[beyond], back) - back]]
    needs_trim: Mask = edged & (np.diff(offsets) > 0)
    return needs_trim
