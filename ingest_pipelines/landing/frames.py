"""The rows of a landing as frames that can be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

BATCH_ROWS = 65_536
"""Rows of a frame. Three times as many take 150 MB more, and not less time."""

BATCH_BYTES = 256 << 20
"""A frame of very wide rows ends earlier."""


@dataclass(frozen=True)
class Frames:
    """A landing's frames, from its start each time they are asked for.

    Whoever finds a duplicate at the end of an item reads the rows it concerns once more, and need not keep all of
    them until then.

    Attributes:
        read: all of them.
        read_only: the rows with some columns alone, at a fraction of the price: no LINE, and nothing is checked. Where
            an item is refused this just ends; `read` says why.
    """

    read: Callable[[], Iterator[pl.DataFrame]]
    read_only: Callable[[Sequence[str]], Iterator[pl.DataFrame]]

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The first frame and those after it."""
        return self.read()
