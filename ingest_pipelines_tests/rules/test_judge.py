from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl

from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, judged, rejects

FEED = bound_import(
    {"points": {"type": "int", "min": 0}, "joined_on": {"type": "date"}, "spent": {"type": "decimal(6,2)"}}
)


def test_accepted_rows_are_cast_and_keep_their_line(tmp_path: Path) -> None:
    rows = frame(
        {"id": ["b", "a"], "points": ["007", ""], "joined_on": [None, "2001-12-31"], "spent": ["1.500", " 2 "]}
    )
    validated = judged(FEED, tmp_path, rows)
    assert accepted(validated).rows() == [
        (2, "b", 7, None, Decimal("1.50")),
        (3, "a", None, date(2001, 12, 31), Decimal("2.00")),
    ]
    assert (validated.read, validated.accepted_rows, validated.rejected_rows) == (2, 2, 0)
    assert validated.rejects is None


def test_a_row_reports_every_rule_it_breaks(tmp_path: Path) -> None:
    rows = frame({"id": ["", "a"], "points": ["-1", "1"], "joined_on": ["1900-01-01", ""], "spent": ["1.505", "0"]})
    validated = judged(FEED, tmp_path, rows)
    assert codes(validated) == {2: ["missing_key", "below_min", "default_date", "bad_decimal"]}
    assert validated.codes == {"missing_key": 1, "below_min": 1, "default_date": 1, "bad_decimal": 1}


def test_a_reject_keeps_the_cells_as_they_came(tmp_path: Path) -> None:
    rows = frame({"id": ["a"], "points": [" x"], "joined_on": [None], "spent": [""], "not mapped": ['"é"\n']})
    [record] = rejects(judged(FEED, tmp_path, rows))
    assert (record["line"], record["key"], record["field"], record["code"]) == (2, "a", "points", "bad_int")
    assert record["row"] == {"id": "a", "points": " x", "joined_on": None, "spent": "", "not mapped": '"é"\n'}


def test_all_rows_of_a_repeated_key_are_rejected(tmp_path: Path) -> None:
    first = frame({"id": ["a", "b"], "points": ["1", "2"], "joined_on": ["", ""], "spent": ["", ""]})
    second = frame({"id": ["a", "c"], "points": ["x", "4"], "joined_on": ["", ""], "spent": ["", ""]}, first_line=4)
    validated = judged(FEED, tmp_path, first, second)
    assert codes(validated) == {2: ["duplicate_key"], 4: ["bad_int", "duplicate_key"]}
    assert accepted(validated)["id"].to_list() == ["b", "c"]


def test_an_accepted_file_is_sorted_by_the_key(tmp_path: Path) -> None:
    keys = [f"C{number * 7919 % 1000:04}" for number in range(1000)]
    empty = [""] * len(keys)
    validated = judged(FEED, tmp_path, frame({"id": keys, "points": empty, "joined_on": empty, "spent": empty}))
    [path] = validated.accepted
    assert pl.read_ipc(path)["id"].to_list() == sorted(keys)
