"""How many rows to fetch next, so that rows of any width fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

BATCH_BYTES = 32 << 20
"""About what a batch may take."""

_FIRST = 64
_GROWTH = 8


class FetchSize:
    """Rows of the next fetch: few at first, then as many of the width seen last as BATCH_BYTES hold.

    It grows step by step, because wide rows may follow narrow ones.

    Attributes:
        rows: of the next fetch.
    """

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self.rows = min(most_rows, _FIRST)

    def saw(self, batch: pa.RecordBatch) -> None:
        """Takes the width of a batch's rows into account."""
        if batch.num_rows:
            fitting = BATCH_BYTES * batch.num_rows // max(1, batch.nbytes)
            self.rows = max(1, min(self._most_rows, _GROWTH * self.rows, fitting))


def fetched(fetch: Callable[[int], pa.RecordBatch], most_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches until there are no more rows, at least one, so that the columns are known.

    Args:
        fetch: fetches so many rows, or fewer.
        most_rows: of a batch.
    """
    some, size = False, FetchSize(most_rows)
    while (batch := fetch(size.rows)).num_rows or not some:
        size.saw(batch)
        yield batch
        some = True


def fitting_rows(most_rows: int, row_bytes: int) -> int:
    """So many rows of that width, at least one, for a driver that fetches equally many each time."""
    return max(1, min(most_rows, BATCH_BYTES // max(1, row_bytes)))
