"""A chunk of texts ends between two values that the database takes for different, whatever their spellings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest_pipelines.cursor.chunk import Chunk, ChunkEnd
from ingest_pipelines.errors import CursorStuck

SPELLINGS = 4
"""Of each value, one after the other."""


def _rows_of_the_chunk(texts: Sequence[str], batch_rows: int) -> int:
    """How many rows of the answer, whose last one shows that there are more, are landed."""
    asked: list[str] = []

    def comes_after(text: str, other: str) -> bool:
        asked.append(other)
        return text.casefold() > other.casefold()

    chunk = Chunk("seq", "text", "", len(texts) - 1, datetime(2026, 11, 30, tzinfo=UTC), UTC, comes_after=comes_after)
    end = ChunkEnd(chunk, "import tills")
    landed = 0
    for at in range(0, len(texts), batch_rows):
        batch = pa.RecordBatch.from_pydict({"seq": pa.array(texts[at : at + batch_rows], pa.string())})
        landed += sum(map(len, end.take(batch)))
    landed += sum(map(len, end.rest()))
    assert len(asked) <= 2 * len(texts).bit_length() + 1, "the database is asked a few questions, not one per row"
    return landed


def _spelled(value: int, place: int) -> str:
    """Values below 64, in any of their spellings."""
    first, second = chr(ord("a") + value // 8), chr(ord("a") + value % 8)
    return [first + second, first.upper() + second, first + second.upper(), (first + second).upper()][place % SPELLINGS]


@given(st.lists(st.integers(0, 63), min_size=2, max_size=60), st.integers(1, 20))
@example([0, 0, 0, 1, 1, 1], 6)
def test_a_chunk_ends_before_all_rows_of_its_last_value(values: list[int], batch_rows: int) -> None:
    values.sort()
    texts = [_spelled(value, place) for place, value in enumerate(values)]
    if values[0] == values[-1]:
        with pytest.raises(CursorStuck, match="share one value"):
            _rows_of_the_chunk(texts, batch_rows)
    else:
        assert _rows_of_the_chunk(texts, batch_rows) == values.index(values[-1])
