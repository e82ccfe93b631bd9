"""A fetch is bounded by bytes; narrow rows are soon fetched as many at a time as before."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ingest_pipelines.sources.fetch_size import BATCH_BYTES, FetchSize, fitting_rows


def fetched(widths: list[int], most_rows: int = 50_000) -> list[int]:
    """Rows of each fetch from a source whose rows have these widths, the last one for ever after."""
    size, rows = FetchSize(most_rows), []
    for width in widths:
        rows.append(size.rows)
        size.saw(pa.record_batch({"v": ["x" * width]}).take(pa.array([0] * min(size.rows, 64))))
    return rows


def test_rows_of_a_megabyte_take_no_more_than_a_batch() -> None:
    assert all(rows * 1_000_000 <= BATCH_BYTES for rows in fetched([1_000_000] * 5)[1:])
    assert fetched([1_000_000])[0] <= 64


def test_narrow_rows_reach_the_full_batch_within_five_fetches() -> None:
    assert fetched([100] * 5) == [64, 512, 4096, 32_768, 50_000]


def test_wide_rows_after_narrow_ones_shrink_the_next_fetch() -> None:
    assert fetched([100, 100, 2_000_000, 100])[3] <= BATCH_BYTES // 2_000_000


@pytest.mark.parametrize(("width", "rows"), [(0, 50_000), (600, 50_000), (1 << 20, 32), (1 << 30, 1)])
def test_a_fixed_fetch_takes_as_many_rows_as_fit(width: int, rows: int) -> None:
    assert fitting_rows(50_000, width) == rows
