from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.field_types import spells
from ingest_pipelines.config.spellings import pattern_mistake
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.rules import compile_rules
from ingest_pipelines.rules.field_rules import constants
from ingest_pipelines.rules.types import Cell
from ingest_pipelines_tests.rules.feeds import bound_import, broken, values


def test_a_required_field_may_not_be_empty() -> None:
    assert broken({"type": "int", "required": True}, ["1", "", None, " ", "x"]) == {
        "1": [], "": ["required"], None: ["required"], " ": ["required"], "x": ["bad_int"],
    }  # fmt: skip
    assert broken({"type": "string", "required": True}, ["a", " ", "", None]) == {
        "a": [], " ": ["required"], "": ["required"], None: ["required"],
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
    assert broken(code, ["AB1", "AB12", "xAB1", "AB1x", "AB\n1", "", None]) == {
        "AB1": [], "AB12": [], "xAB1": ["pattern"], "AB1x": ["pattern"], "AB\n1": ["pattern"], "": [], None: [],
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


SPELLED: dict[str, dict[str, Any]] = {
    "int": {"type": "int"},
    "decimal": {"type": "decimal(4,2)"},
    "whole decimal": {"type": "decimal(3,0)"},
    "float": {"type": "float"},
    "bool": {"type": "bool"},
    "date": {"type": "date"},
    "datetime": {"type": "datetime"},
    "enum": {"type": "enum", "options": ["a", "Bb", "7"]},
    "email": {"type": "email"},
    "ip": {"type": "ip"},
}
NEARLY = st.text("0123456789+-.eE:TZ ab@_%", max_size=8)
TIMES = st.builds("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}".format, st.integers(0, 10_000), st.integers(0, 13),
    st.integers(0, 32), st.sampled_from("T t_"), st.integers(0, 24), st.integers(0, 60), st.integers(0, 60),
    st.sampled_from(["", "Z", "+01:00", "-23:59", ".5", ".1234567890", "+1"]),
)  # fmt: skip
EDGES = [
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "99.99", "099.9900", "1e400", "1e-400",
    "0e-400", "inf", "nan", "1_0", "a@b.cd", "@", "x" * 65 + "@b.cd", "192.0.2.1", "2001:db8::7",
    "fe80::1%eth0", "tRuE",
    "0001-01-01T00:00:00+01:00", "0001-01-01T01:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:00:00-00:59",
    "2001-02-29", "2001-12-31", "0000-01-01", "002", "3", "4", "0", "Bb", "\u0661", "1\n",
]  # fmt: skip


@pytest.mark.parametrize("kind", SPELLED)
@settings(max_examples=15)
@given(texts=st.lists(NEARLY | TIMES | st.sampled_from(EDGES), min_size=30, max_size=60))
def test_config_knows_what_the_rules_accept(kind: str, texts: list[str]) -> None:
    field = Field.model_validate(SPELLED[kind])
    cell = Cell("f", field)
    accepted = constants(cell, tuple(texts)).is_not_null().to_list()
    assert dict(zip(texts, accepted, strict=True)) == {text: spells(field, text) for text in texts}


@pytest.mark.parametrize(
    ("pattern", "right"),
    {
        r"[A-Z]{2}\d+": True, r"\p{L}[\p{L} '-]*": True, r"(?i)^ab$": True, r"(?P<year>\d{4})|x": True,
        r"a{2,}?\z": True, r"[^\]\[^]+": True, r"[]a]+": True, r"[[:alpha:]]": True, r"\x41\u00e9": True,
        r"(?:a|b)*": True, r"[(?=]": True, r"\$\{\}": True,
        r"(a)\1": False, "(?=a)b": False, "(?!a)b": False, "(?<=a)b": False, "(?P<a>b)(?P=a)": False, "(?>a)": False,
        r"a\Z": False, "a{": False, "{2}": False, "a{,3}": False, "[[a]": False, "(": False, "[": False, "*": False,
        "a**": False, r"\N{DASH}": False, r"\101": False, "(?#x)a": False, "(?a)a": False, r"\é": False, "\\": False,
    }.items(),
)  # fmt: skip
def test_config_knows_which_patterns_the_rules_can_use(pattern: str, right: bool) -> None:
    assert (pattern_mistake(pattern) == "") == right
    if right:
        field = {"type": "string", "pattern": pattern}
        assert broken(field, [None]) == {None: []}


def test_a_rule_that_only_the_engine_finds_wrong_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"f\.pattern: is too large"):
        compile_rules(bound_import({"f": {"type": "string", "pattern": r"\w{1000}"}}))
    with pytest.raises(ConfigError, match=r"f\.one_of: 'nobody' is no phone"):
        compile_rules(bound_import({"f": {"type": "phone", "one_of": ["+442079460018", "nobody"]}}))
