from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingest_pipelines.errors import ConfigError
from ingest_pipelines.rules import compile_rules
from ingest_pipelines_tests.rules.feeds import bound_import, broken, values


def test_a_required_field_may_not_be_empty() -> None:
    assert broken({"type": "int", "required": True}, ["1", "", None, " ", "x"]) == {
        "1": [], "": ["required"], None: ["required"], " ": ["required"], "x": ["bad_int"],
    }  # fmt: skip
    assert broken({"type": "string", "required": True}, ["a", " ", "", None]) == {
        "a": [], " ": [], "": ["required"], None: ["required"],
    }  # fmt: skip


def test_a_local_time_that_names_no_instant_is_not_missing() -> None:
    field = {"type": "datetime", "required": True}
    assert broken(field, ["2026-03-29T01:30:00"], timezone="Europe/London") == {"2026-03-29T01:30:00": ["bad_datetime"]}


@pytest.mark.parametrize(
    ("field", "cells"),
    [
        ({"type": "int", "min": 0, "max": 10}, {"-1": ["below_min"], "0": 0, "10": 10, "11": ["above_max"], "": None}),
        (
            {"type": "decimal(6,2)", "min": "0.01", "max": 99.5},
            {"0": ["below_min"], "0.00": ["below_min"], "99.51": ["above_max"]},
        ),
        ({"type": "float", "min": -0.5}, {"-0.5": -0.5, "-0.51": ["below_min"]}),
        (
            {"type": "date", "min": "2000-01-01", "max": "2000-12-31"},
            {"1999-12-31": ["below_min"], "2000-01-01": date(2000, 1, 1), "2001-01-01": ["above_max"]},
        ),
        (
            {"type": "datetime", "min": "2000-01-01T00:00:00Z"},
            {"1999-12-31T23:59:59Z": ["below_min"], "2000-01-01T00:00:00Z": datetime(2000, 1, 1, tzinfo=UTC)},
        ),
        ({"type": "datetime", "max": "2000-01-01"}, {"2000-01-01T00:00:01Z": ["above_max"]}),
    ],
)
def test_min_and_max_include_their_bounds(field: dict[str, Any], cells: dict[str, Any]) -> None:
    assert values(field, list(cells)) == cells


def test_a_pattern_is_about_the_whole_value() -> None:
    code = {"type": "string", "pattern": "[A-Z]{2}[0-9]+"}
    assert broken(code, ["AB1", "AB12", "xAB1", "AB1x", "AB1\n", "", None]) == {
        "AB1": [], "AB12": [], "xAB1": ["pattern"], "AB1x": ["pattern"], "AB1\n": ["pattern"], "": [], None: [],
    }  # fmt: skip
    assert broken({"type": "string", "pattern": "a|b"}, ["a", "b", "ab"]) == {"a": [], "b": [], "ab": ["pattern"]}
    assert broken({"type": "string", "pattern": "(?i)^ab$"}, ["AB", "b"]) == {"AB": [], "b": ["pattern"]}


def test_one_of_compares_values_not_spellings() -> None:
    assert broken({"type": "int", "one_of": ["1", "20"]}, ["01", "20", "2", ""]) == {
        "01": [], "20": [], "2": ["not_one_of"], "": [],
    }  # fmt: skip
    assert broken({"type": "string", "one_of": ["a", "b"]}, ["a", "A"]) == {"a": [], "A": ["not_one_of"]}
    assert broken({"type": "email", "one_of": ["Ann@example.com"]}, ["ann@EXAMPLE.com", "bob@example.com"]) == {
        "ann@EXAMPLE.com": [], "bob@example.com": ["not_one_of"],
    }  # fmt: skip
    assert broken({"type": "decimal(4,2)", "one_of": ["1.5"]}, ["1.50", "1.51"]) == {"1.50": [], "1.51": ["not_one_of"]}


def test_a_value_reports_its_type_first_and_every_rule_besides() -> None:
    field = {"type": "string", "max_length": 3, "pattern": "[a-z]+", "one_of": ["abc"]}
    assert broken(field, ["ABCD😀"]) == {"ABCD😀": ["unsupported_character", "too_long", "pattern", "not_one_of"]}
    assert broken({"type": "int", "min": 5, "required": True}, ["x"]) == {"x": ["bad_int"]}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "decimal(4,2)", "min": "1.234"}, r"f\.min"),
        ({"type": "int", "one_of": ["1", "two"]}, r"f\.one_of: 'two' is no int"),
        ({"type": "string", "pattern": r"(a)\1"}, r"f\.pattern"),
        ({"type": "string", "pattern": "(?=a)b"}, r"f\.pattern"),
    ],
)
def test_a_rule_that_its_type_cannot_use_is_a_config_error(field: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compile_rules(bound_import({"f": field}))
