"""Frames cut into slices that are bounded in rows and in bytes: rows may hold a megabyte each."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

SLICE_BYTES = 16 << 20
"""Bytes of cells that are validated, explained or written at a time. Ordinary rows reach the limit of rows first."""


def slices(frame: pl.DataFrame, rows: int, size: int | None = None) -> Iterator[pl.DataFrame]:
    """The frame's rows in order, in slices of at most `rows` rows and about `size` bytes; at least one row each.

    Args:
        size: default: SLICE_BYTES.
    """
    size = SLICE_BYTES if size is None else size
    return frame.iter_slices(max(1, min(rows, size * len(frame) // max(1, int(frame.estimated_size())))))
