"""The text that a reject keeps of a typed cell means the same when it is replayed as text."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest_pipelines_tests.rules.feeds import accepted, bound_import, frame, rejects, validate

CELLS: dict[str, tuple[dict[str, Any], pl.Series]] = {
    "whole numbers in decimals": ({"type": "int"}, pl.Series([Decimal("3.000"), Decimal("-10.000")])),
    "indexes in decimals": ({"type": "enum", "options": ["a", "b"]}, pl.Series([Decimal("2.00"), Decimal("1.00")])),
    "texts in decimals": ({"type": "string"}, pl.Series([Decimal("7.00"), Decimal("7.10")])),
    "decimals": ({"type": "decimal(9,3)"}, pl.Series([Decimal("3.100"), Decimal("-10.000")])),
    "whole numbers in floats": ({"type": "int"}, pl.Series([3.0, -10.0])),
    "floats": ({"type": "float"}, pl.Series([0.1, 1e300, -2.5e-7])),
    "integers": ({"type": "int"}, pl.Series([2**63 - 1, -1])),
    "booleans": ({"type": "bool"}, pl.Series([True, False])),
    "dates": ({"type": "date", "format": "%d/%m/%Y"}, pl.Series([date(2024, 2, 29), date(1753, 1, 1)])),
    "points in time": (
        {"type": "datetime"},
        pl.Series([datetime(2024, 1, 1, 8, 0, 0, 123456, UTC)], dtype=pl.Datetime("us", "UTC")),
    ),
    "local times": ({"type": "datetime"}, pl.Series([datetime(2024, 7, 1, 10, 30)])),
    "times as dates": ({"type": "date"}, pl.Series([datetime(2024, 7, 1, 23, 59, 59)])),
    "bytes": ({"type": "string"}, pl.Series(["Zoë".encode(), b"a,b"])),
    "documents": ({"type": "object"}, pl.Series([{"a": 1, "b": "x\ny"}, {"a": None, "b": '"'}])),
    "lists": ({"type": "array"}, pl.Series([[1, 2], [3]])),
}


@pytest.mark.parametrize("what", CELLS)
def test_a_typed_cell_is_replayed_as_the_same_value(what: str, tmp_path: Path) -> None:
    field, cells = CELLS[what]
    bound = bound_import({"f": field, "other": {"type": "int"}}, timezone="Europe/London")
    keys = [f"C{number}" for number in range(len(cells))]

    def read(name: str, column: Any, other: str) -> Any:
        return validate(bound, tmp_path / name, frame({"id": keys, "f": column, "other": [other] * len(cells)}))

    for name in ("typed", "rejected", "replayed"):
        (tmp_path / name).mkdir()
    expected = accepted(read("typed", cells, "1"))["f"].to_list()
    assert len(expected) == len(cells)
    kept = [record["row"]["f"] for record in rejects(read("rejected", cells, "x"))]
    assert accepted(read("replayed", kept, "1"))["f"].to_list() == expected


@pytest.mark.parametrize("cell", ["nu\0l", "\u2400", "\u241b", "\u241b\u2400", "\0\u241b\u2400\0"])
def test_a_nul_and_its_picture_are_told_apart(cell: str, tmp_path: Path) -> None:
    bound = bound_import({"other": {"type": "int"}})
    [record] = rejects(validate(bound, tmp_path, frame({"id": ["a"], "other": ["x"], "free": [cell]})))
    kept = record["row"]["free"]
    assert "\0" not in kept
    pictures, escaped = {"␀": "\0"}, {"␛␀": "␀", "␛␛": "␛"}
    back, at = "", 0
    while at < len(kept):
        pair = kept[at : at + 2]
        back += escaped.get(pair) or pictures.get(kept[at], kept[at])
        at += 2 if pair in escaped else 1
    assert back == cell
