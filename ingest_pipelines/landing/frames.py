"""The rows of a landing as frames that can be read more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

BATCH_ROWS = 65_536
"""Rows per frame. Three times as many need 150 MB more and are not faster."""

BATCH_BYTES = 64 << 20
"""A frame of very wide rows ends earlier: two are read ahead of the one that is validated."""


@dataclass(frozen=True)
class Frames:
    """A landing's frames; each read starts from the first one.

    Duplicates are known only at the end of an item: their rows are read again then, instead of keeping all rows.

    Attributes:
        read: all columns.
        read_only: only some columns, much faster: no LINE, no checks. It just ends where `read` would refuse the item.
    """

    read: Callable[[], Iterator[pl.DataFrame]]
    read_only: Callable[[Sequence[str]], Iterator[pl.DataFrame]]

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The first frame and those after it."""
        return self.read()
