"""Whatever a file holds: every row has exactly one outcome, and the reasons are the row's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.model import LINE
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, rejects, validate

FIELDS: dict[str, dict[str, Any]] = {
    "points": {"type": "int", "min": 0},
    "joined": {"type": "date"},
    "email": {"type": "email", "unique": True},
    "tier": {"type": "enum", "options": ["A", "B"], "required": True},
}
CELLS = {
    "id": st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "", " ", "😀"]) | st.none(),
    "points": st.sampled_from(["0", "1", "007", "-1", "x", "", "1.0"]) | st.none(),
    "joined": st.sampled_from(["2001-12-31", "1900-01-01", "1752-12-31", "31/12/2001", ""]) | st.none(),
    "email": st.sampled_from(["a@b.co", "A@b.co", "c@d.ee", "e@f.gg", "nobody", "", "h@i.jj"]) | st.none(),
    "tier": st.sampled_from(["A", "B", "1", "2", "0", "3", ""]),
    "unmapped": st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.none(),
}
ROWS = st.lists(st.tuples(*CELLS.values()), min_size=1, max_size=30)


def _split(rows: pl.DataFrame, size: int) -> list[pl.DataFrame]:
    return list(rows.iter_slices(size))


@settings(max_examples=60)
@given(ROWS, st.sampled_from(["reject", "last", "first"]), st.sampled_from([2, 7, 31]))
def test_read_is_accepted_and_rejected_and_superseded(rows: list[tuple[Any, ...]], duplicates: str, size: int) -> None:
    columns = {name: [row[index] for row in rows] for index, name in enumerate(CELLS)}
    frames = _split(frame(columns), size)
    with TemporaryDirectory() as spill:
        validated = validate(bound_import(FIELDS, duplicates=duplicates), Path(spill), *frames)
        good, bad, records = accepted(validated), codes(validated), rejects(validated)
    assert validated.read == len(rows)
    assert validated.read == validated.accepted_rows + validated.rejected_rows + validated.superseded_rows
    assert len(good) == validated.accepted_rows
    assert len(bad) == validated.rejected_rows
    assert not set(good[LINE]) & set(bad)
    _counts_agree(validated.codes, validated.fields, records)
    _rows_are_right(columns, good, bad, records, duplicates)


def _counts_agree(by_code: Any, by_field: Any, records: list[dict[str, Any]]) -> None:
    assert by_code == Counter(code for _, code in {(record["line"], record["code"]) for record in records})
    cells = {(record["line"], record["field"], record["code"]) for record in records}
    assert by_field == Counter((field, code) for _, field, code in cells)


def _rows_are_right(
    columns: dict[str, list[Any]],
    good: pl.DataFrame,
    bad: dict[int, list[str]],
    records: list[dict[str, Any]],
    duplicates: str,
) -> None:
    assert [record["line"] for record in records] == sorted(record["line"] for record in records)
    for record in records:
        row = {name: cells[record["line"] - 2] for name, cells in columns.items()}
        shown = {name: None if cell is None else cell.replace("\x00", "\u2400") for name, cell in row.items()}
        assert record["row"] == shown
    keys = columns["id"]
    if len(good):
        assert good["id"].is_unique().all()
        assert good["email"].drop_nulls().str.to_lowercase().is_unique().all()
    for line, found in bad.items():
        assert ("missing_key" in found) == (not (keys[line - 2] or "").strip())
        assert ("below_min" in found) == (columns["points"][line - 2] == "-1")
        assert ("bad_int" in found) == (columns["points"][line - 2] in {"x", "1.0"})
        assert ("required" in found) == (columns["tier"][line - 2] in {"", "0"})
        repeated = keys.count(keys[line - 2]) > 1 and bool((keys[line - 2] or "").strip())
        assert ("duplicate_key" in found) == (repeated and duplicates == "reject")
    if duplicates == "reject":
        expected = [line for line, key in enumerate(keys, start=2) if keys.count(key) > 1 and (key or "").strip()]
        assert set(expected) <= set(bad)
