"""A column's type is found in its cells, by the code that reads them; what no cell tells is asked."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.detection import match_fields, rules_of_type, suggestions
from ingest_pipelines.detection.columns import cast

COMMA = {"decimal": ",", "thousands": "."}
TYPES: list[tuple[list[str], str, dict[str, Any]]] = [
    ([], "string", {}),
    (["1", "-20", "0"], "int", {}),
    (["007", "1"], "string", {}),
    (["9223372036854775808"], "string", {}),
    (["1.5", "2"], "decimal(12,2)", {}),
    (["1.123456"], "decimal(16,6)", {}),
    (["1e5", "2.5E-3"], "float", {}),
    (["1,5"], "string", {}),
    (["yes", "No"], "bool", {}),
    (["Ja", "nein"], "bool", {"map": {"Ja": "yes", "nein": "no"}}),
    (["sí", "no"], "bool", {"map": {"sí": "yes"}}),
    (["2001-12-31"], "date", {}),
    (["31/12/2001", "01/02/2001"], "date", {"format": "%d/%m/%Y"}),
    (["12/31/2001", "01/02/2001"], "date", {"format": "%m/%d/%Y"}),
    (["31.12.01", "1.2.01"], "date", {"format": "%d.%m.%y"}),
    (["5 Jan 2020", "17 Dec 2020"], "date", {"format": "%d %b %Y"}),
    (["January 5, 2020"], "date", {"format": "%B %d, %Y"}),
    (["2001/12/31"], "date", {"format": "%Y/%m/%d"}),
    (["2001-12-31T10:00:00Z", "2001-12-31 10:00:00"], "datetime", {}),
    (["2026-01-05 10:22"], "datetime", {"format": "%Y-%m-%d %H:%M"}),
    (["1/5/2026, 10:22 AM", "12/31/2026, 1:05 PM"], "datetime", {"format": "%m/%d/%Y, %I:%M %p"}),
    (["2026-01-05T10:22:33.000+0000"], "datetime", {"format": "%Y-%m-%dT%H:%M:%S.%f%z"}),
    (["2026-01-05 10:22:33 +0100"], "datetime", {"format": "%Y-%m-%d %H:%M:%S %z"}),
    (["2026-01-05 10:22:33 UTC"], "datetime", {"format": "%Y-%m-%d %H:%M:%S %Z"}),
    (["ann@example.com"], "email", {}),
    (["+442071838750", "+44 20 7183 8751"], "phone", {}),
    (["+442071838750; +442071838751"], "phones", {}),
    (["10.0.0.1", "::1"], "ip", {}),
    (['{"a": 1}'], "object", {}),
    (['[{"a": 1}]'], "objects", {}),
    (["[1]", "[]"], "array", {}),
    (["{"], "string", {}),
    (["Gold", "Silver"] * 12, "enum", {"options": ["Gold", "Silver"]}),
    (["Gold", "Silver"], "string", {}),
    (["Ann \U0001f600"], "string", {"characters": "any"}),
    (["20011231"], "int", {}),
]


@pytest.mark.parametrize(("cells", "kind", "more"), TYPES, ids=[f"{case[1]} {case[0][:1]}" for case in TYPES])
def test_the_proposed_type_reads_every_cell(cells: list[str], kind: str, more: dict[str, Any]) -> None:
    proposed = suggestions("tier", cells, {})
    assert (proposed[0].type_name, proposed[0].more) == (kind, more)
    assert len(proposed) == (2 if cells == ["20011231"] else 1)
    assert cast(cells, proposed[0], {}) is not None


MANY = [f"{1 + n % 28:02}/{1 + n % 12:02}/2001" for n in range(60)]
DIRTY: list[tuple[list[str], str, dict[str, Any], int]] = [
    ([*MANY, "unknown", "31/02/2001"], "date", {"format": "%d/%m/%Y"}, 2),
    (["unknown", *MANY], "date", {"format": "%d/%m/%Y"}, 1),
    ([*[f"2001-02-{1 + n % 28:02}" for n in range(40)], "tomorrow"], "date", {}, 1),
    ([*[f"2001-02-{1 + n % 28:02}T10:00:00Z" for n in range(40)], "2001-02-30T10:00:00Z"], "datetime", {}, 1),
    ([*map(str, range(40)), "?"], "int", {}, 1),
    ([*[f"{n}.5" for n in range(40)], "12.5.1", "many"], "decimal(12,2)", {}, 2),
    ([*map(str, range(40)), "12a"], "string", {}, 0),  # codes
    ([*MANY[:19], "unknown"], "string", {}, 0),  # too few to know
    ([*MANY, *["unknown"] * 4], "string", {}, 0),  # more than 5 %
    (["Ann Lee"] * 3 + [f"Ann {n}" for n in range(40)], "string", {}, 0),
]


@pytest.mark.parametrize(("cells", "kind", "more", "unread"), DIRTY)
def test_a_few_bad_cells_do_not_hide_a_number_or_a_date(
    cells: list[str], kind: str, more: dict[str, Any], unread: int
) -> None:
    proposed = suggestions("tier", cells, {})
    assert [(each.type_name, each.more, each.unread) for each in proposed] == [(kind, more, unread)]
    if kind != "string":  # of a field that exists already
        given = {"type": kind}
        again = rules_of_type(kind.partition("(")[0], "tier", cells, {}, given)
        assert [(each.more, each.unread) for each in again] == [(more, unread)]


def test_where_bad_cells_hide_which_order_a_date_has_it_is_asked() -> None:
    cells = [f"{1 + n % 12:02}/{1 + n // 12:02}/2001" for n in range(60)]
    assert len(suggestions("joined", cells, {})) == len(suggestions("joined", [*cells, "never"], {})) == 2


DOUBTS: list[tuple[list[str], dict[str, str]]] = [
    (["03/12/2001", "01/02/2001"], {"%d/%m/%Y": "2001-12-03", "%m/%d/%Y": "2001-03-12"}),
    (["01/02/03"], {"%d/%m/%y": "2003-02-01", "%m/%d/%y": "2003-01-02", "%y/%m/%d": "2001-02-03"}),
    (["20011203", "20020101"], {"": "20011203", "%Y%m%d": "2001-12-03"}),
    (["0", "1", "1"], {"": "0", "bool": "false"}),
    (
        ["03.12.2001 10:00"],
        {"%d.%m.%Y %H:%M": "2001-12-03 10:00:00+00:00", "%m.%d.%Y %H:%M": "2001-03-12 10:00:00+00:00"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "readings"), DOUBTS)
def test_cells_that_two_types_read_differently_leave_a_choice(cells: list[str], readings: dict[str, str]) -> None:
    proposed = suggestions("joined", cells, {})
    assert [each.first for each in proposed] == list(readings.values())
    assert len({each.cell for each in proposed}) == 1
    assert [each.more.get("format", "") for each in proposed] == [form if "%" in form else "" for form in readings]


@pytest.mark.parametrize(
    ("name", "cells", "kind", "asks"),
    [
        ("Phone", ["020 7946 0018", "(020) 7946-0019"], "phone", True),
        ("Mobile Phone Number", ["442079460018"], "phone", True),
        ("Phone", ["+442079460018"], "phone", False),
        ("Points", ["2079460018"], "int", False),
        ("Zip Code", ["10115", "20095"], "string", False),
        ("Account No", ["10115"], "string", False),
        ("Phone", ["none of your business"], "string", False),
    ],
)
def test_a_columns_name_tells_digits_from_numbers(name: str, cells: list[str], kind: str, asks: bool) -> None:
    (proposed,) = suggestions(name, cells, {})
    assert (proposed.type_name, proposed.asks_region) == (kind, asks)


def test_signs_of_the_file_are_those_of_its_numbers() -> None:
    (proposed,) = suggestions("sum", ["1.234,50", "-3,5", "7"], COMMA)
    assert (proposed.type_name, proposed.first) == ("decimal(12,2)", "1234.50")
    assert cast(["1,234.5"], proposed, COMMA) is None


@pytest.mark.parametrize(
    ("kind", "rules", "cells", "more"),
    [
        ("date", {}, ["31/12/2001"], [{"format": "%d/%m/%Y"}]),
        ("date", {"format": "%d.%m.%Y"}, ["31/12/2001"], [{"format": "%d/%m/%Y"}]),
        ("date", {}, ["03/12/2001"], [{"format": "%d/%m/%Y"}, {"format": "%m/%d/%Y"}]),
        ("date", {}, ["2001-12-31T10:00:00"], [{}]),
        ("date", {}, ["31.12.2001 10:00"], [{"format": "%d.%m.%Y %H:%M"}]),
        ("datetime", {}, ["31.12.2001"], [{"format": "%d.%m.%Y"}]),
        ("bool", {}, ["1", "0"], [{}]),
        ("bool", {}, ["oui", "non"], [{"map": {"oui": "yes", "non": "no"}}]),
        ("phone", {"region": "GB"}, ["020 7946 0018"], [{"region": "GB"}]),
        ("int", {}, ["x"], []),
        ("string", {}, ["7"], [{}]),
    ],
)
def test_an_existing_field_is_told_what_its_type_needs(
    kind: str, rules: dict[str, Any], cells: list[str], more: list[dict[str, Any]]
) -> None:
    assert [way.more for way in rules_of_type(kind, "c", cells, {}, {"type": kind, **rules})] == more


_ORDERS = ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%y", "%m-%d-%y", "%d %b %Y", "%Y%m%d")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", ", %I:%M %p")


@given(
    st.lists(st.dates(date(1970, 1, 1), date(2068, 12, 31)), min_size=1, max_size=4),
    st.times(),
    st.sampled_from(_ORDERS),
    st.sampled_from(_CLOCKS),
)
@settings(max_examples=100, deadline=None)
def test_days_in_any_order_are_read_back_or_left_to_choose(days: list[date], clock: Any, order: str, time: str) -> None:
    """One suggestion: it reads the days that were written. Several: one of them does."""
    moments = [datetime.combine(day, clock) for day in days]
    cells = [f"{moment:{order}{time}}" for moment in moments]
    written = [datetime.strptime(cell, order + time) for cell in cells]
    read = []
    for proposed in suggestions("when", cells, {}):
        values = cast(cells, proposed, {}) or []
        read.append([datetime(*value.timetuple()[:6]) if hasattr(value, "year") else value for value in values])
    assert written in read


FIELDS = ["customer_id", "email", "phone", "first_name", "last_name", "zip", "birth_date", "tier", "joined_on"]


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("E-mail Address", "email"), ("E-mail", "email"), ("EMAIL", "email"), ("Email Address", "email"),
        ("eMail", "email"), ("Customer Email", "email"), ("e_mail", "email"), ("Mail", "email"),
        ("Phone Number", "phone"), ("Mobile", "phone"), ("Telephone", "phone"), ("First Name", "first_name"),
        ("FirstName", "first_name"), ("firstname", "first_name"), ("Surname", "last_name"),
        ("Given Name", "first_name"),
        ("Postal Code", "zip"), ("ZIP", "zip"), ("Date of Birth", "birth_date"), ("DOB", "birth_date"),
        ("Customer ID", "customer_id"), ("CustomerId", "customer_id"), ("cid", "customer_id"), ("Tier", "tier"),
        ("Joined", None), ("Joined On", "joined_on"), ("Joined at", "joined_on"), ("Order ID", None), ("Name", None),
        ("Email opt in", None), ("Company Phone", None), ("", None), ("é", None),
    ],
)  # fmt: skip
def test_a_column_means_the_field_that_people_would_say(column: str, field: str | None) -> None:
    assert match_fields([column], FIELDS).get(column) == field


def test_a_field_is_proposed_once_and_for_the_column_of_its_own_name_first() -> None:
    assert match_fields(["E-mail Address", "email", "Mail"], FIELDS) == {"email": "email"}
    assert match_fields(["Mobile", "Phone 2", "Tel"], FIELDS) == {"Mobile": "phone"}
