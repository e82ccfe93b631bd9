"""A number that is rejected for its signs: the reason names the line of YAML that reads it, and the line does."""

from __future__ import annotations

import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest_pipelines_tests.rules.feeds import bound_import, frame, rejects, validate, values

MONEY = {"type": "decimal(12,2)"}
_SIGNS = st.sampled_from([
    {}, {"decimal": ","}, {"thousands": ","}, {"thousands": " "}, {"thousands": "'"},
    {"decimal": ",", "thousands": "."}, {"decimal": ",", "thousands": " "}, {"decimal": ",", "thousands": "'"},
    {"decimal": ",", "thousands": "\xa0"}, {"thousands": "\u202f"},
])  # fmt: skip


def _written(number: Decimal, signs: dict[str, str]) -> str:
    text = f"{number:,.2f}" if signs.get("thousands") else f"{number:.2f}"
    replaced = {".": signs.get("decimal", "."), ",": signs.get("thousands", "")}
    return "".join(replaced.get(letter, letter) for letter in text)


def reasons(field: dict[str, Any], cells: list[str], signs: dict[str, Any], **column: Any) -> list[str]:
    """The reasons of the cells that a file with these signs has rejected."""
    columns = {"id": "id", "f": {"field": "f", **column}} if column else None
    bound = bound_import(
        {"f": field},
        columns=columns,
        source={"connection": "uploads", "format": {"delimiter": ";", **signs}},
        rejects={"unlimited": True},
    )
    rows = frame({"id": [f"C{number}" for number in range(len(cells))], "f": cells})
    with tempfile.TemporaryDirectory() as folder:
        return [record["reason"] for record in rejects(validate(bound, Path(folder) / "spill", rows))]


def lines(reason: str) -> list[dict[str, str]]:
    """The lines of YAML that the reason names, without what was declared besides signs."""
    named = [yaml.safe_load(text)["format"] for text in re.findall(r"format: \{.*?\}", reason)]
    assert all(line.pop("delimiter") == ";" for line in named)
    return named


@given(
    numbers=st.lists(st.decimals(-9_999_999, 9_999_999, places=2), min_size=1, max_size=12),
    written_with=_SIGNS,
    declared=_SIGNS,
)
@settings(max_examples=12, phases=[Phase.generate])
def test_the_line_reads_every_cell_of_a_column_as_it_was_written(
    numbers: list[Decimal], written_with: dict[str, str], declared: dict[str, str]
) -> None:
    cells = [_written(number, written_with) for number in numbers]
    said = reasons(MONEY, cells, declared)
    assert len(said) == sum(value == ["bad_decimal"] for value in _read(cells, declared))
    if len(said) < len(cells):
        return  # some are numbers in these signs, too: which signs the file has is open
    for reason in set(said):
        assert lines(reason), reason
        assert any(_read(cells, line) == numbers for line in lines(reason)), reason


def _read(cells: list[str], signs: dict[str, str]) -> list[Any]:
    read = values(MONEY, cells, source={"connection": "uploads", "format": {"delimiter": ";", **signs}})
    return [read[cell] for cell in cells]


OPEN = [
    ("decimal", {"decimal": ","}, "; if ',' is its decimal sign: "),
    ("thousands", {"thousands": ","}, "; if ',' separates thousands: "),
]


def test_cells_that_two_lines_read_are_told_with_both() -> None:
    (said,) = reasons({"type": "decimal(12,3)"}, ["1,234"], {})
    assert lines(said) == [{"thousands": ","}, {"decimal": ","}] or lines(said) == [
        {"decimal": ","},
        {"thousands": ","},
    ]
    assert all(text in said for _, _, text in OPEN)
    more = reasons({"type": "decimal(12,3)"}, ["1,234", "12,5"], {})
    assert [lines(reason) for reason in more] == [[{"decimal": ","}]] * 2  # the second cell decides


CASES: dict[str, tuple[dict[str, Any], list[str], dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    "a whole number in groups": ({"type": "int"}, ["1,234,567"], {}, {}, [{"thousands": ","}]),
    "a whole number in groups with points": ({"type": "int"}, ["1.234"], {}, {}, [{"decimal": ",", "thousands": "."}]),
    "a float": ({"type": "float"}, ["1,5e3"], {}, {}, [{"decimal": ","}]),
    "a cell that is cleaned first": (MONEY, [" 12,50 "], {}, {"clean": ["trim"]}, [{"decimal": ","}]),
    "a column with a default": (MONEY, ["12,50"], {}, {"default": "7.5"}, [{"decimal": ","}]),
    "signs that are declared and wrong": (MONEY, ["12.50"], {"decimal": ","}, {}, [{}]),
    "a word": (MONEY, ["about 12,50"], {}, {}, []),
    "a point among values with a fraction": (MONEY, ["12,50", "12.50"], {}, {}, []),
    "groups among values with a fraction": (MONEY, ["1,250.10", "12.50"], {}, {}, [{"thousands": ","}]),
    "Indian groups": (MONEY, ["12,34,567.00", "1,234.50"], {}, {}, [{"thousands": ",", "grouping": "indian"}]),
    "Indian groups where others are declared": (
        MONEY, ["1,00,000"], {"thousands": ","}, {}, [{"thousands": ",", "grouping": "indian"}],
    ),
    "other groups where Indian ones are declared": (
        MONEY, ["100,000"], {"thousands": ",", "grouping": "indian"}, {}, [{"thousands": ","}],
    ),
    "percent": (MONEY, ["5%", "12 %"], {}, {}, [{"percent": "number"}, {"percent": "fraction"}]),
    "a whole number of percent": ({"type": "int"}, ["5%"], {}, {}, [{"percent": "number"}]),
    "percent in other signs": (MONEY, ["-5,5%"], {"percent": "number"}, {}, [{"decimal": ",", "percent": "number"}]),
    "a currency": (MONEY, ["€12.50", "12.50"], {}, {}, [{"currency": "€"}]),
    "a currency and other signs": (
        MONEY, ["€ 1.234,50"], {}, {}, [{"currency": "€", "decimal": ",", "thousands": "."}],
    ),
    "parentheses": (MONEY, ["(12.50)", "12.50"], {}, {}, [{"negative": "parentheses"}]),
    "a minus behind": (MONEY, ["12.50-", "12.50"], {}, {}, [{"negative": "trailing"}]),
    "a minus sign of typesetters": (MONEY, ["\u221212.50", "12.50"], {}, {}, [{"negative": "minus"}]),
    "sides of a ledger": (MONEY, ["12.50 DR", "7.00 CR"], {}, {}, [{"negative": "CR"}, {"negative": "DR"}]),
    "Soll and Haben": (MONEY, ["12,50 S", "7,00 H"], {}, {},
                       [{"decimal": ",", "negative": "H"}, {"decimal": ",", "negative": "S"}]),
    "another minus than the declared one": (
        MONEY, ["\u221212.50"], {"negative": "trailing"}, {}, [{"negative": "minus"}],
    ),
    "whole numbers in parentheses": ({"type": "int"}, ["(1,234,567)"], {}, {},
                                     [{"thousands": ",", "negative": "parentheses"}]),
    "a minus behind an amount": (
        MONEY, ["1.234,50- €"], {}, {}, [{"currency": "€", "decimal": ",", "thousands": ".", "negative": "trailing"}],
    ),
    "another form than the declared one": (
        MONEY, ["12.50-"], {"negative": "parentheses"}, {}, [{"negative": "trailing"}],
    ),
    "another spelling of the currency": (MONEY, ["EUR 5"], {"currency": "€"}, {}, [{"currency": ["€", "EUR"]}]),
    "another currency than the declared one": (MONEY, ["$5"], {"currency": "€"}, {}, []),
    "two currencies": (MONEY, ["€5", "$5"], {}, {}, []),
    "a unit": (MONEY, ["5 kg"], {}, {}, []),
    "too many digits": (MONEY, ["12.345", "12.50"], {}, {}, []),
    "a text": ({"type": "string", "pattern": "[0-9]+"}, ["12,50"], {}, {}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_line_is_named_where_it_reads_the_cell_and_the_others(case: str) -> None:
    field, cells, declared, column, expected = CASES[case]
    said = reasons(field, cells, declared, **column)
    assert said
    assert all(lines(reason) == expected for reason in said)


def test_signs_of_a_source_that_is_no_csv_file_are_no_matter_of_its_format() -> None:
    bound = bound_import(
        {"f": MONEY}, source={"connection": "uploads", "format": {"type": "jsonl"}}, rejects={"unlimited": True}
    )
    with tempfile.TemporaryDirectory() as folder:
        (record,) = rejects(validate(bound, Path(folder) / "spill", frame({"id": ["C"], "f": ["12,5"]})))
    assert "format" not in record["reason"]


def test_a_later_part_of_a_file_has_the_same_advice(tmp_path: Path) -> None:
    bound = bound_import({"f": MONEY}, rejects={"unlimited": True})
    parts = [
        frame({"id": ["A", "B"], "f": ["n/a", "1"]}),
        frame({"id": ["C", "D"], "f": ["12,50", "2"]}, first_line=4),
        frame({"id": ["E"], "f": ["1,5"]}, first_line=6),
    ]
    said = [record["reason"] for record in rejects(validate(bound, tmp_path / "spill", *parts))]
    assert ['{decimal: ","}' in reason for reason in said] == [False, True, True]
