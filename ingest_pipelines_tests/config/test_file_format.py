"""`source.format`: bad input for each key is refused in one line that names the key."""

# ruff: noqa: E501  expected messages stand whole, as a person reads them

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest_pipelines.config import read_project
from ingest_pipelines.config.file_format import Format, written
from ingest_pipelines_tests.config.projects import IMPORT, RIGHT, write_project


def mistakes(home: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("VENDOR_PW", "secret")
    text = IMPORT.replace("  file: loyalty/Customers\n", f"  file: loyalty/Customers\n  format: {line}\n")
    return list(read_project(write_project(home, {**RIGHT, "imports/loyalty.yaml": text})).mistakes)


MISTAKES: dict[str, tuple[str, str]] = {
    '{delimiter: ";;"}': ("format.delimiter", "one character"),
    "{delimiter: x}": ("format.delimiter", "no letter, digit or line break"),
    '{delimiter: "\\n"}': ("format.delimiter", "no letter, digit or line break"),
    "{delimiter: 5}": ("format.delimiter", "one character"),
    "{delimiter: [a]}": ("format.delimiter", "one character"),
    '{quote: "\\""  , escape: "\\""}': ("format", "escape: "),
    "{quote: nothing}": ("format.quote", "one character"),
    '{delimiter: ";", quote: ";"}': ("format", "quote: "),
    '{escape: "é"}': ("format", "escape: goes with signs of ASCII only"),
    "{encoding: utf8mb4}": ("format.encoding", "is no encoding"),
    "{encoding: rot13}": ("format.encoding", "is no encoding of a file"),
    "{encoding: unicode_escape}": ("format.encoding", "is no encoding of a file"),
    '{decimal: ",,"}': ("format.decimal", "one character"),
    '{decimal: "-"}': ("format", "decimal: "),
    '{thousands: "."}': ("format", "thousands: "),
    '{thousands: ",", quote: none}': ("format", "thousands: "),
    "{grouping: chinese}": ("format.grouping", "indian"),
    "{grouping: indian}": ("format", "grouping: goes with thousands"),
    "{percent: 100}": ("format.percent", "one of number, fraction"),
    '{thousands: "%"}': ("format", "thousands: "),
    "{type: xlsx, percent: number}": ("format", "percent: goes with type: csv, and not with xlsx"),
    '{currency: ""}': ("format.currency", "is no sign of a currency"),
    '{currency: "€ "}': ("format.currency", "is no sign of a currency"),
    '{currency: ["€", "5"]}': ("format.currency", "is no sign of a currency"),
    "{negative: brackets}": ("format.negative", "one of parentheses, trailing, minus, CR, DR, C, D, H, S"),
    "{type: jsonl, negative: trailing}": ("format", "negative: goes with type: csv"),
    "{currency: []}": ("format.currency", "how amounts say their currency"),
    '{currency: "."}': ("format.currency", "may be part of a number"),
    '{type: xlsx, currency: "€"}': ("format", "currency: goes with type: csv, and not with xlsx"),
    '{null_values: [" -"]}': ("format.null_values", "begins or ends with a blank"),
    "{trim: maybe}": ("format.trim", ""),
    '{trim: true, delimiter: space}': ("format", "trim: "),
    "{skip_lines: -1}": ("format.skip_lines", ""),
    "{skip_lines: two}": ("format.skip_lines", ""),
    "{header: [id, id]}": ("format.header", "a name of its own"),
    "{header: [id, '']}": ("format.header", "a name of its own"),
    "{header: first}": ("format.header", "a list of the columns' names"),
    "{header: []}": ("format.header", "a list of the columns' names"),
    "{footer: 0}": ("format.footer", ""),
    '{footer: ""}': ("format.footer", ""),
    "{footer: {starts_with: T, count: 0}}": ("format.footer", "count"),
    "{footer: {count: 1}}": ("format.footer", "starts_with"),
    '{comment: " #"}': ("format.comment", "without blanks"),
    '{comment: ",#"}': ("format", "comment: "),
    "{type: xls}": ("format.type", ""),
    "{type: parquet, delimiter: tab}": ("format", "delimiter: goes with type: csv, and not with parquet"),
    '{type: jsonl, decimal: ","}': ("format", "decimal: goes with type: csv, and not with jsonl"),
    "{sheet: Customers}": ("format", "sheet: goes with type: xlsx, and not with csv"),
    "{type: xlsx, sheet: 0}": ("format.sheet", ""),
    "{type: xlsx, range: all}": ("format.range", "B3:F200"),
    "{type: xlsx, range: 'C9:B3'}": ("format.range", "last cell lies before"),
    '{delimeter: ";"}': ("format.delimeter", "did you mean 'delimiter'"),
}  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_names_its_key(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, message = MISTAKES[line]
    found = mistakes(tmp_path, line, monkeypatch)
    assert len(found) == 1, found
    assert f"source.{place}" in found[0]
    assert message in found[0]


WRONG_KINDS = ("null", "5", "-1", "1.5", "true", "[1]", "[]", "{a: 1}", '""', '"ab\\0"', "2026-01-01", "[a, [b]]")
"""Values of every kind that YAML has; few keys take one of them."""


@pytest.mark.parametrize("key", Format.model_fields)
def test_a_value_of_another_kind_is_refused_under_the_name_of_its_key(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "type: xlsx, " if key in {"sheet", "range"} else ""
    refused = 0
    for value in WRONG_KINDS:
        found = mistakes(tmp_path, f"{{{kind}{key}: {value}}}", monkeypatch)
        refused += bool(found)
        assert all(f"source.format.{key}" in line or f"source.format: {key}: " in line for line in found), (
            value,
            found,
        )
        assert len(found) <= 1 or value == "{a: 1}", (value, found)  # a mapping has mistakes of its own
        assert all("Input should" not in line and "validat" not in line for line in found), found
    assert refused >= 6
    assert any(key in line for line in MISTAKES)


RIGHT_FORMATS: list[dict[str, Any]] = [
    {"delimiter": ";", "encoding": "cp1252", "decimal": ",", "thousands": "."}, {"delimiter": "tab"}, {"delimiter": "\t"},
    {"quote": "none", "escape": "\\"}, {"header": "none"}, {"header": ["id", "tier"], "skip_lines": 3}, {"footer": 1},
    {"footer": "TRAILER"}, {"footer": {"starts_with": "T", "count": 3}}, {"footer": {"starts_with": "T", "count": "none"}},
    {"comment": "#"}, {"trim": True}, {"type": "xlsx", "sheet": "Sheet 1", "range": "B3:F"}, {"type": "jsonl"},
    {"negative": "parentheses"}, {"negative": "trailing", "thousands": ","}, {"currency": "€", "decimal": ","}, {"currency": ["R$", "BRL"]}, {"currency": "kr."},
    {"decimal": ",", "thousands": "\xa0"}, {"thousands": "\u202f"}, {"delimiter": "\u3000"},
    {"thousands": ",", "grouping": "indian"}, {"percent": "fraction", "decimal": ","},
    {"null_values": ["NULL", "no"], "type": "parquet"}, {"delimiter": "¦", "quote": "'"}, {"type": "xlsx", "sheet": 2},
]  # fmt: skip


@pytest.mark.parametrize("keys", RIGHT_FORMATS, ids=str)
def test_a_format_is_written_as_it_is_read(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = written(keys)
    assert yaml.safe_load(line) == {"format": keys}
    assert mistakes(tmp_path, line.removeprefix("format: "), monkeypatch) == []
    declared = Format.model_validate(keys)
    assert Format.model_validate(yaml.safe_load(written(declared.given))["format"]) == declared


def test_the_default_is_what_it_was() -> None:
    assert Format().is_default
    assert Format.model_validate({"delimiter": ",", "null_values": ["-"], "decimal": ","}).is_default
    assert not Format.model_validate({"delimiter": ";"}).is_default


def test_only_cells_of_a_query_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_PW", "secret")
    text = IMPORT.replace(
        "  connection: vendor\n  file: loyalty/Customers\n", "  connection: shop_db\n  table: t\nFORMAT"
    )
    for line, right in (("{null_values: [x]}", True), ('{delimiter: ";"}', False)):
        files = {**RIGHT, "imports/loyalty.yaml": text.replace("FORMAT", f"  format: {line}\n")}
        found = read_project(write_project(tmp_path, files)).mistakes
        assert (not found) is right, found
        assert right or "format.delimiter: goes with a file" in found[0]
