from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.rules import compile_rules
from ingest_pipelines_tests.rules.feeds import bound_import, broken, outcomes, values

DATE = {"type": "date"}
DATETIME = {"type": "datetime"}
LONDON = "Europe/London"

DATES = {
    "2001-12-31": date(2001, 12, 31), "1753-01-01": date(1753, 1, 1), "9999-12-31": date(9999, 12, 31),
    "2000-02-29": date(2000, 2, 29), "2024-02-29": date(2024, 2, 29), "1970-01-01": date(1970, 1, 1),
    "1969-12-31": date(1969, 12, 31), "1900-01-02": date(1900, 1, 2), "1989-01-02": date(1989, 1, 2),
    "1899-12-31": date(1899, 12, 31), "2038-01-19": date(2038, 1, 19), "2100-02-28": date(2100, 2, 28),
    "2001-01-31": date(2001, 1, 31), "2001-04-30": date(2001, 4, 30), " 2001-12-31": date(2001, 12, 31),
    "2001-12-31 ": date(2001, 12, 31), "2001-12-31T00:00:00Z": date(2001, 12, 31),
    "2001-12-31T23:59:59Z": date(2001, 12, 31), "2001-12-31T23:59:59.999999Z": date(2001, 12, 31),
    "2001-12-31t12:00:00z": date(2001, 12, 31), "2001-12-31 12:00:00Z": date(2001, 12, 31),
    "2001-12-31T12:00:00+05:30": date(2001, 12, 31), "2001-12-31T23:30:00-11:00": date(2001, 12, 31),
    "2001-12-31T00:30:00+14:00": date(2001, 12, 31), "2001-12-31T12:00:00": date(2001, 12, 31),
    "2001-12-31 12:00:00": date(2001, 12, 31), "2001-12-31T12:00:00.1": date(2001, 12, 31),
    "2001-12-31T12:00:00.123456789Z": date(2001, 12, 31), "2001-12-31T12:00:00-00:00": date(2001, 12, 31),
    "2001-12-31 00:00:00.000": date(2001, 12, 31), "1752-12-31": ["date_too_early"], "0001-01-01": ["date_too_early"],
    "1752-12-31T23:59:59Z": ["date_too_early"], "1900-01-01": ["default_date"], "1989-01-01": ["default_date"],
    "1900-01-01T00:00:00Z": ["default_date"],
}  # fmt: skip
NOT_DATES = [
    "2001-02-29", "1900-02-29", "2100-02-29", "2001-02-30", "2001-04-31", "2001-13-01", "2001-00-10", "2001-01-00",
    "2001-01-32", "0000-01-01", "10000-01-01", "-0001-01-01", "+2001-01-01", "+2001-1-01", "2001-1-1", "2001-01-1",
    "2001-1-01", "01-01-2001", "31/12/2001", "12/31/2001", "31.12.2001", "2001/12/31", "2001.12.31", "20011231",
    "2001-12", "2001", "2001-W52-1", "2001-365", "31 Dec 2001", "Dec 31, 2001", "2001-Dec-31", "2001- 1-01",
    "2001-01- 1", "2001-12-31T", "2001-12-31T12", "2001-12-31T12:00", "2001-12-31T12:00Z", "2001-12-31T24:00:00Z",
    "2001-12-31T12:60:00Z", "2001-12-31T12:00:60Z", "2001-12-31T12:00:00.Z", "2001-12-31T12:00:00+0530",
    "2001-12-31T12:00:00+05", "2001-12-31T12:00:00+24:00", "2001-12-31T12:00:00 Z", "2001-12-31X", "today", "NULL",
    "36891", "2001\u201312\u201331", "\uff12\uff10\uff10\uff11-12-31", "2001-12\t-31", "0", "1.5",
]  # fmt: skip


def test_a_date_is_a_calendar_day_or_a_timestamp_of_one() -> None:
    assert values(DATE, list(DATES)) == DATES


def test_what_is_no_calendar_day_is_rejected() -> None:
    assert broken(DATE, NOT_DATES) == {cell: ["bad_date"] for cell in NOT_DATES}


def test_the_default_dates_are_the_databases() -> None:
    known = {"default_dates": ["1970-01-01"]}
    assert values(DATE, ["1970-01-01", "1900-01-01"], database=known) == {
        "1970-01-01": ["default_date"], "1900-01-01": date(1900, 1, 1),
    }  # fmt: skip
    assert values(DATE, ["1970-01-01"], database={"default_dates": []}) == {"1970-01-01": date(1970, 1, 1)}


@pytest.mark.parametrize(
    ("form", "spellings"),
    [
        ("%d/%m/%Y", {"31/12/2001": date(2001, 12, 31), "29/02/2000": date(2000, 2, 29), "12/31/2001": ["bad_date"],
                      "29/02/2001": ["bad_date"], "31-12-2001": ["bad_date"], "2001-12-31": date(2001, 12, 31)}),
        ("%m/%d/%Y", {"12/31/2001": date(2001, 12, 31), "31/12/2001": ["bad_date"]}),
        ("%d.%m.%Y", {"31.12.2001": date(2001, 12, 31), "31.13.2001": ["bad_date"]}),
        ("%Y%m%d", {"20011231": date(2001, 12, 31), "20011331": ["bad_date"]}),
        ("%d-%b-%Y", {"31-Dec-2001": date(2001, 12, 31), "31-Dez-2001": ["bad_date"]}),
        ("%d %B %Y", {"31 December 2001": date(2001, 12, 31)}),
        ("%d/%m/%Y %H:%M", {"31/12/2001 23:59": date(2001, 12, 31), "31/12/2001 25:00": ["bad_date"]}),
    ],
)  # fmt: skip
def test_a_format_is_read_besides_the_iso_spelling(form: str, spellings: dict[str, Any]) -> None:
    assert values({**DATE, "format": form}, list(spellings)) == spellings


def _utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year, month, day, hour ... as they come


DATETIMES = {
    "2001-12-31T23:59:59Z": _utc(2001, 12, 31, 23, 59, 59), "2001-12-31T23:59:59z": _utc(2001, 12, 31, 23, 59, 59),
    "2001-12-31t23:59:59Z": _utc(2001, 12, 31, 23, 59, 59), "2001-12-31t23:59:59z": _utc(2001, 12, 31, 23, 59, 59),
    "2001-12-31 23:59:59Z": _utc(2001, 12, 31, 23, 59, 59),
    "2001-12-31T23:59:59+00:00": _utc(2001, 12, 31, 23, 59, 59),
    "2001-12-31T23:59:59-00:00": _utc(2001, 12, 31, 23, 59, 59),
    "2001-12-31T23:59:59+05:30": _utc(2001, 12, 31, 18, 29, 59),
    "2001-12-31T23:59:59-08:00": _utc(2002, 1, 1, 7, 59, 59),
    "2001-12-31T23:59:59+14:00": _utc(2001, 12, 31, 9, 59, 59),
    "2001-12-31T23:59:59-12:00": _utc(2002, 1, 1, 11, 59, 59), "2001-12-31T00:00:00+23:59": _utc(2001, 12, 30, 0, 1),
    "2001-12-31T23:59:59.5Z": _utc(2001, 12, 31, 23, 59, 59, 500000),
    "2001-12-31T23:59:59.12Z": _utc(2001, 12, 31, 23, 59, 59, 120000),
    "2001-12-31T23:59:59.123Z": _utc(2001, 12, 31, 23, 59, 59, 123000),
    "2001-12-31T23:59:59.1234Z": _utc(2001, 12, 31, 23, 59, 59, 123400),
    "2001-12-31T23:59:59.123456Z": _utc(2001, 12, 31, 23, 59, 59, 123456),
    "2001-12-31T23:59:59.123456789Z": _utc(2001, 12, 31, 23, 59, 59, 123456),
    "2001-12-31T23:59:59.999999999Z": _utc(2001, 12, 31, 23, 59, 59, 999999),
    "2001-12-31T23:59:59.000001+01:00": _utc(2001, 12, 31, 22, 59, 59, 1),
    "2001-12-31T23:59:59": _utc(2001, 12, 31, 23, 59, 59), "2001-12-31 23:59:59": _utc(2001, 12, 31, 23, 59, 59),
    "2001-12-31T23:59:59.25": _utc(2001, 12, 31, 23, 59, 59, 250000),
    "2001-12-31 23:59:59.25+02:00": _utc(2001, 12, 31, 21, 59, 59, 250000),
    " 2001-12-31T23:59:59Z": _utc(2001, 12, 31, 23, 59, 59), "2001-12-31T23:59:59Z ": _utc(2001, 12, 31, 23, 59, 59),
    "2000-02-29T00:00:00Z": _utc(2000, 2, 29), "1753-01-01T00:00:00Z": _utc(1753, 1, 1),
    "9999-12-31T23:59:59.999999Z": _utc(9999, 12, 31, 23, 59, 59, 999999),
    "1969-12-31T23:59:59.5Z": _utc(1969, 12, 31, 23, 59, 59, 500000),
    "2016-02-29T12:00:00+01:00": _utc(2016, 2, 29, 11), "1752-12-31T23:59:59Z": ["date_too_early"],
    "0001-01-01T00:00:00Z": ["date_too_early"], "1900-01-01T00:00:00Z": ["default_date"],
    "1900-01-01T00:00:00+05:00": ["default_date"], "1989-01-01 00:00:00": ["default_date"],
}  # fmt: skip
NOT_DATETIMES = [
    "2001-12-31", "2001-12-31T", "2001-12-31T23", "2001-12-31T23:59", "2001-12-31T23:59Z", "2001-12-31T24:00:00Z",
    "2001-12-31T23:60:00Z", "2001-12-31T23:59:60Z", "2001-12-31T23:59:61Z", "2001-12-31T25:00:00Z",
    "2001-12-31T1:02:03Z", "2001-12-31T01:2:03Z", "2001-12-31T01:02:3Z", "2001-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z", "2001-13-01T00:00:00Z", "2001-00-01T00:00:00Z", "2001-01-00T00:00:00Z",
    "2001-1-1T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "+2001-01-01T00:00:00Z",
    "2001-12-31T23:59:59.Z", "2001-12-31T23:59:59,5Z", "2001-12-31T23:59:59.1234567890Z", "2001-12-31T23:59:59+0530",
    "2001-12-31T23:59:59+05", "2001-12-31T23:59:59+5:30", "2001-12-31T23:59:59+24:00", "2001-12-31T23:59:59+05:60",
    "2001-12-31T23:59:59 +05:30", "2001-12-31T23:59:59 Z", "2001-12-31T23:59:59UTC",
    "2001-12-31T23:59:59[Europe/London]", "2001-12-31  23:59:59", "2001-12-31_23:59:59", "20011231T235959Z",
    "31/12/2001 23:59:59", "12/31/2001 11:59:59 PM", "Mon, 31 Dec 2001 23:59:59 GMT", "1009843199", "1009843199000",
    "now", "NULL", "2001-12-31T23:59:59\u22125:00", "2001-W52-1T00:00:00Z",
]  # fmt: skip


def test_a_datetime_is_rfc_3339_and_is_kept_in_utc() -> None:
    assert values(DATETIME, list(DATETIMES)) == DATETIMES


def test_what_is_no_point_in_time_is_rejected() -> None:
    assert broken(DATETIME, NOT_DATETIMES) == {cell: ["bad_datetime"] for cell in NOT_DATETIMES}


def test_an_instant_that_leaves_the_calendar_by_its_offset_is_rejected() -> None:
    cells = ["9999-12-31T23:30:00-05:00", "0001-01-01T00:30:00+05:00"]
    assert broken(DATETIME, cells) == {cells[0]: ["bad_datetime"], cells[1]: ["bad_datetime"]}


def test_a_local_time_is_read_in_the_imports_zone() -> None:
    cells = [
        "2026-07-01T12:00:00",
        "2026-01-01T12:00:00",
        "2026-07-01T12:00:00+00:00",
        "2026-03-29T00:59:59",
        "2026-03-29T02:00:00",
    ]
    assert values(DATETIME, cells, timezone=LONDON) == dict(
        zip(
            cells,
            [
                _utc(2026, 7, 1, 11),
                _utc(2026, 1, 1, 12),
                _utc(2026, 7, 1, 12),
                _utc(2026, 3, 29, 0, 59, 59),
                _utc(2026, 3, 29, 1),
            ],
            strict=True,
        )
    )


def test_a_local_time_that_dst_skips_or_repeats_is_rejected_and_an_offset_settles_it() -> None:
    cells = ["2026-03-29T01:30:00", "2026-10-25T01:30:00", "2026-03-29T01:30:00Z", "2026-10-25T01:30:00+01:00"]
    assert values(DATETIME, cells, timezone=LONDON) == {
        cells[0]: ["bad_datetime"], cells[1]: ["bad_datetime"], cells[2]: _utc(2026, 3, 29, 1, 30),
        cells[3]: _utc(2026, 10, 25, 0, 30),
    }  # fmt: skip


@pytest.mark.parametrize(("cell", "words"), [("2026-03-29T01:30:00", "skips"), ("2026-10-25T01:30:00", "twice")])
def test_the_reason_says_which_of_the_two_it_is(cell: str, words: str) -> None:
    rules = compile_rules(bound_import({"f": DATETIME}, timezone=LONDON))
    _, masks = rules.explained(pl.DataFrame({"_line": [2], "id": ["a"], "f": [cell]}))
    [rule] = [rule for rule, mask in zip(rules.rules, masks, strict=True) if mask[0]]
    assert words in rule.reason
    assert LONDON in rule.reason


def test_a_datetimes_format_is_read_in_the_zone_or_with_its_own_offset() -> None:
    plain = {**DATETIME, "format": "%d/%m/%Y %H:%M"}
    assert values(plain, ["01/07/2026 12:00", "29/03/2026 01:30", "2026-07-01T12:00:00Z"], timezone=LONDON) == {
        "01/07/2026 12:00": _utc(2026, 7, 1, 11), "29/03/2026 01:30": ["bad_datetime"],
        "2026-07-01T12:00:00Z": _utc(2026, 7, 1, 12),
    }  # fmt: skip
    offset = {**DATETIME, "format": "%d/%m/%Y %H:%M %z"}
    assert values(offset, ["01/07/2026 12:00 +0200", "2026-07-01T12:00:00"], timezone=LONDON) == {
        "01/07/2026 12:00 +0200": _utc(2026, 7, 1, 10), "2026-07-01T12:00:00": _utc(2026, 7, 1, 11),
    }  # fmt: skip
    day = {**DATETIME, "format": "%Y-%m-%d"}
    assert values(day, ["2026-07-01"], timezone=LONDON) == {"2026-07-01": _utc(2026, 6, 30, 23)}


def test_typed_times_keep_the_same_rules() -> None:
    naive = pl.Series([datetime(2026, 7, 1, 12), datetime(2026, 3, 29, 1, 30), datetime(1752, 1, 1), None])
    assert [codes or value for value, codes in outcomes(DATETIME, naive, timezone=LONDON)] == [
        _utc(2026, 7, 1, 11), ["bad_datetime"], ["date_too_early"], None,
    ]  # fmt: skip
    aware = naive.head(1).dt.replace_time_zone("America/New_York").dt.cast_time_unit("ns")
    assert outcomes(DATETIME, aware, timezone=LONDON) == [(_utc(2026, 7, 1, 16), [])]
    assert outcomes(DATE, naive.head(1)) == [(date(2026, 7, 1), [])]
    late = pl.Series([datetime(2026, 7, 1, 23, 30)]).dt.replace_time_zone("UTC")
    assert outcomes(DATE, late, timezone=LONDON) == [(date(2026, 7, 2), [])]
    days = pl.Series([date(2001, 12, 31), date(1900, 1, 1)])
    assert [codes or value for value, codes in outcomes(DATE, days)] == [date(2001, 12, 31), ["default_date"]]
    assert [codes for _, codes in outcomes(DATETIME, days)] == [["bad_datetime"], ["bad_datetime"]]


@settings(max_examples=100)
@given(
    st.lists(st.dates(date(1753, 1, 1)).filter(lambda day: day not in {date(1900, 1, 1), date(1989, 1, 1)}), min_size=1)
)
def test_every_date_survives_its_text(days: list[date]) -> None:
    assert outcomes(DATE, [day.isoformat() for day in days]) == [(day, []) for day in days]
    form = {**DATE, "format": "%d/%m/%Y"}
    assert outcomes(form, [f"{day.day:02}/{day.month:02}/{day.year:04}" for day in days]) == [(day, []) for day in days]


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=100)
@given(st.lists(st.datetimes(datetime(1990, 1, 1), datetime(9999, 12, 30), timezones=OFFSETS), min_size=1))
def test_every_instant_survives_its_text(instants: list[datetime]) -> None:
    expected: list[tuple[datetime, list[str]]] = [(instant.astimezone(UTC), []) for instant in instants]
    assert outcomes(DATETIME, [instant.isoformat() for instant in instants]) == expected


@settings(max_examples=100)
@given(st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)), min_size=1))
def test_a_local_time_is_accepted_exactly_if_the_zone_has_it_once(times: list[datetime]) -> None:
    zone = ZoneInfo(LONDON)

    def expected(local: datetime) -> object:
        first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() != second.utcoffset():
            return ["bad_datetime"]
        return first.astimezone(UTC)

    found = [
        codes or value for value, codes in outcomes(DATETIME, [local.isoformat() for local in times], timezone=LONDON)
    ]
    assert found == [expected(local) for local in times]
