"""No cell that needs trimming is overlooked, wherever its row lies in a batch."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.blanks import BLANKS, trimmed
from ingest_pipelines.landing.edges import trim_column

CELLS = st.text(st.one_of(st.sampled_from(BLANKS), st.sampled_from("aé李0Ж😀ñ")), max_size=4) | st.none()
TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.string_view()]


def _needs(cell: str | None) -> bool:
    return cell is not None and trimmed(cell) != cell


@settings(max_examples=200)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12), st.sampled_from(TYPES), st.integers(0, 3))
def test_a_row_with_a_blank_at_a_cells_end_is_named(
    rows: list[tuple[str | None, str | None]], kind: pa.DataType, skipped: int
) -> None:
    columns = [pa.array([row[index] for row in rows], pa.string()).cast(kind) for index in (0, 1)]
    batch = pa.RecordBatch.from_arrays([*columns, pa.array(range(len(rows)))], names=["a", "b", "n"])
    found = trim_column([batch.slice(0, skipped), batch.slice(skipped)]).to_list()
    for row, named in zip(rows, found, strict=True):
        assert named or not any(map(_needs, row)), row


@pytest.mark.parametrize("blank", [*BLANKS, "\U000e0041"])
def test_every_blank_is_seen_at_either_end(blank: str) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([blank, f"a{blank}", f"{blank}a", f"é{blank}"])], names=["a"])
    assert trim_column([batch]).to_list() == [True] * 4


def test_ordinary_cells_are_not_trimmed_for_nothing() -> None:
    cells = ["ann", "José", "Muñoz García", "Жанна", "", None, "a b", "a\u00a0b", "Øresund", "ß", "İ"]
    batch = pa.RecordBatch.from_arrays([pa.array(cells)], names=["a"])
    assert trim_column([batch]).to_list() == [False] * len(cells)
