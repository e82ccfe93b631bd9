"""A `format` means what Python's `datetime.strptime` means by it, cell by cell, or `ingest check` refuses it."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.time_patterns import READS, format_mistake
from ingest_pipelines.rules.types.strptime import read_carefully, read_cells
from ingest_pipelines_tests.rules.feeds import broken, values

DATE = {"type": "date"}
DATETIME = {"type": "datetime"}

_WEEKDAYS = ["Mon", "tuesday", "WED", "Thursday", "fri", "Sat", "sunday", "Sonntag", "Mo"]
_MONTHS = ["Jan", "february", "MAR", "apr", "May", "June", "jul", "August", "Sept", "sep", "oct", "December", "Mai"]


def _digits(low: int, high: int, width: int) -> st.SearchStrategy[str]:
    """Numbers around the range, padded or not, now and then with a sign or a blank."""
    padding = st.sampled_from(["{:d}", f"{{:0{width}d}}", f"{{:{width}d}}", "{:+d}", f"{{:0{width + 1}d}}"])
    likely = st.builds(lambda number: f"{number:0{width}d}", st.integers(low, high))
    return st.one_of(likely, likely, likely, st.builds(str.format, padding, st.integers(low - 1, high + 2)))


_TEXTS: dict[str, st.SearchStrategy[str]] = {
    "d": _digits(1, 31, 2), "m": _digits(1, 12, 2), "Y": _digits(1, 9999, 4), "y": _digits(0, 99, 2),
    "j": _digits(1, 366, 3), "H": _digits(0, 23, 2), "I": _digits(1, 12, 2), "M": _digits(0, 59, 2),
    "S": _digits(0, 59, 2), "f": st.text("0123456789", min_size=1, max_size=7), "w": _digits(0, 6, 1),
    "u": _digits(1, 7, 1), "U": _digits(0, 53, 2), "W": _digits(0, 53, 2), "G": _digits(1, 9999, 4),
    "V": _digits(1, 53, 2), "p": st.sampled_from(["am", "PM", "Pm", "a.m.", ""]),
    "a": st.sampled_from(_WEEKDAYS), "A": st.sampled_from(_WEEKDAYS),
    "b": st.sampled_from(_MONTHS), "B": st.sampled_from(_MONTHS),
    "Z": st.sampled_from(["UTC", "gmt", "EST", "CET", "BST", "garbage", ""]),
    "z": st.sampled_from([
        "+0100", "-05:30", "Z", "z", "+00:00", "-0000", "+01:00:30", "+010030", "+01:0030", "+0100:30",
        "+2359", "+2400", "+0160", "+01", "0100", "+01:00:30.5", "+010030.123456", "UTC", "\u22120100",
    ]),
}  # fmt: skip
_DAYS = ["Ymd", "ymd", "Ybd", "YBd", "ybd", "Yj", "yj", "YUa", "YWu", "yUw", "YWA", "GVu", "GVa", "GVw", "Ymda", "YmdA",
         "Ymdu", "Yjw", "YBdA"]  # fmt: skip
_CLOCKS = ["", "H", "HM", "HMS", "HMSf", "IMp", "IMSp", "HMSz", "HMz", "HMSfz", "HMSZ", "IMSpZ"]
_BETWEEN = st.sampled_from(["", "/", "-", ".", " ", "  ", ", ", "T", "%%", "x", ":", "(", "1"])


@st.composite
def _cells(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]], str]:
    """A pattern, what each directive is given, and the cell."""
    letters = draw(st.permutations(draw(st.sampled_from(_DAYS)) + draw(st.sampled_from(_CLOCKS))))
    pattern, cell, parts = "", "", []
    for number, letter in enumerate(letters):
        between = draw(_BETWEEN) if number else ""
        text = draw(_TEXTS[letter])
        shown = between.replace("%%", "%")
        pattern, cell = (
            f"{pattern}{between}%{letter}",
            f"{cell}{draw(st.sampled_from([shown, shown, shown.upper()]))}{text}",
        )
        parts.append((letter, text))
    return pattern, parts, cell + draw(st.sampled_from(["", "", "", "", " ", "x", "0"]))


def _python(pattern: str, cell: str) -> datetime | None:
    try:
        return datetime.strptime(cell, pattern)
    except ValueError:
        return None


def _own_words(found: datetime, parts: list[tuple[str, str]]) -> bool:
    """Whether the day is the one that the cell names: Python passes over days and weekdays that contradict it."""
    for letter, text in parts:
        if letter in "juwUW" and int(found.strftime(f"%{letter}")) != int(text):
            return False
        if letter in "aA" and found.strftime(f"%{letter}").lower() != text.lower():
            return False
    return True


@settings(max_examples=250)
@given(_cells())
@example(("%d%m%Y", [], "1112020"))
@example(("%m%H%Y%d", [], "1024200001"))
@example(("%Y-%j", [("j", "366")], "2019-366"))
@example(("%d/%m/%Y %a", [("a", "Mon")], "01/02/2020 Mon"))
@example(("%d/%m/%Y %H:%M:%S", [], "01/02/2020 23:59:60"))
@example(("%d/%m/%Y %H:%M", [], "01/02/2020 24:00"))
@example(("%d/%m/%Y", [], "29/02/2019"))
@example(("%Y-%m-%d %z%H%M", [], "2020-02-01 +01:001212"))
def test_a_cell_is_what_python_reads_or_is_rejected(drawn: tuple[str, list[tuple[str, str]], str]) -> None:
    pattern, parts, cell = drawn
    assert format_mistake(pattern) == ""
    expected = _python(pattern, cell)
    if expected is not None and not _own_words(expected, parts):
        expected = None
    [found] = read_carefully(pl.Series([cell]), pattern).to_list()
    assert found["local"] == (expected and expected.replace(tzinfo=None)), (pattern, cell)
    if expected is not None and "%z" in pattern:
        assert found["offset"] == expected.utcoffset()


_PLAIN = st.permutations(["%d", "%m", "%Y"]).flatmap(
    lambda day: st.permutations([*day, "%H", "%M", "%S"]).flatmap(
        lambda all_of_it: st.builds(
            lambda short, between: between.join(day if short else all_of_it),
            st.booleans(), st.sampled_from(["", "/", "-", " ", "T", "1", "%%", "."]),
        )
    )
)  # fmt: skip


@settings(max_examples=80)
@given(
    _PLAIN,
    st.lists(st.datetimes(datetime(1, 1, 1)), max_size=4),
    st.lists(st.text("0123456789/-+ T1%.:", max_size=19), max_size=4),
    st.data(),
)
def test_the_fast_way_reads_what_the_careful_one_reads(
    pattern: str, moments: list[datetime], noise: list[str], data: st.DataObject
) -> None:
    written = [_written(moment, pattern) for moment in moments]
    changed = [_changed(data, text) for text in written]
    cells = pl.Series([*written, *changed, *noise, None], dtype=pl.String)
    assert read_cells(cells, pattern).to_list() == read_carefully(cells, pattern).to_list()


def _written(moment: datetime, pattern: str) -> str:
    """As strftime, which leaves the zeros of early years out."""
    return moment.strftime(pattern.replace("%Y", f"{moment.year:04d}"))


def _changed(data: st.DataObject, text: str) -> str:
    place = data.draw(st.integers(0, len(text) - 1))
    put: str = data.draw(st.sampled_from([*" +-0369", "", "\u0663", "\n"]))
    return text[:place] + put + text[place + 1 :]


ZONES = {
    "01/02/2020 10:00:00 UTC": datetime(2020, 2, 1, 10, tzinfo=UTC),
    "01/02/2020 10:00:00 gmt": datetime(2020, 2, 1, 10, tzinfo=UTC),
    "01/02/2020 10:00:00 Z": datetime(2020, 2, 1, 10, tzinfo=UTC),
    **{f"01/02/2020 10:00:00 {zone}": ["bad_datetime"] for zone in ("EST", "CST", "IST", "BST", "garbage", "UTC+1")},
}  # fmt: skip


@pytest.mark.parametrize("timezone", ["UTC", "Europe/London", "Asia/Kolkata"])
def test_a_zones_name_is_utc_or_the_cell_is_rejected(timezone: str) -> None:
    named = {**DATETIME, "format": "%d/%m/%Y %H:%M:%S %Z"}
    assert values(named, list(ZONES), timezone=timezone) == ZONES


def test_the_reason_names_the_zones_that_are_read() -> None:
    from ingest_pipelines.rules import compile_rules
    from ingest_pipelines_tests.rules.feeds import bound_import

    rules = compile_rules(bound_import({"f": {**DATETIME, "format": "%d/%m/%Y %H:%M %Z"}}))
    assert "where %Z is UTC, GMT or Z" in next(rule.reason for rule in rules.rules if rule.code == "bad_datetime")


OFFSETS = {
    "+0100": timedelta(hours=1), "+01:00": timedelta(hours=1), "-05:30": -timedelta(hours=5, minutes=30),
    "Z": timedelta(), "+01:00:30": timedelta(hours=1, seconds=30), "-000030.5": -timedelta(seconds=30.5),
    "+2359": timedelta(minutes=1439),
}  # fmt: skip


def test_an_offset_is_taken_off_to_the_microsecond() -> None:
    cells = {
        f"01/02/2020 10:00 {zone}": datetime(2020, 2, 1, 10, tzinfo=UTC) - offset for zone, offset in OFFSETS.items()
    }
    assert values({**DATETIME, "format": "%d/%m/%Y %H:%M %z"}, list(cells), timezone="Asia/Kolkata") == cells
    days = {cell: date(2020, 2, 1) for cell in cells}
    assert values({**DATE, "format": "%d/%m/%Y %H:%M %z"}, list(days)) == days


def test_two_digits_of_a_year_are_the_centurys_that_posix_says() -> None:
    cells = {f"01/02/{year % 100:02d}": date(year, 2, 1) for year in range(1969, 2069)}
    assert values({**DATE, "format": "%d/%m/%y"}, list(cells), database={"default_dates": []}) == cells
    assert broken({**DATE, "format": "%d/%m/%y"}, ["01/02/-1", "01/02/+1", "01/02/1", "01/02/2001", "01/02/ 1"]) == {
        cell: ["bad_date"] for cell in ["01/02/-1", "01/02/+1", "01/02/1", "01/02/2001", "01/02/ 1"]
    }


@pytest.mark.parametrize("cell", ["01/02/20", "01/02/020", "01/02/02020", "01/02/-020", "01/02/+2020", "1/2/0000"])
def test_a_year_of_four_digits_is_no_other_one(cell: str) -> None:
    assert broken({**DATE, "format": "%d/%m/%Y"}, [cell]) == {cell: ["bad_date"]}


@pytest.mark.parametrize("cell", ["\u0660\u0661/02/2020", "01/02/\u0662\u0660\u0662\u0660", "\uff10\uff11/02/2020"])
def test_digits_are_0_to_9(cell: str) -> None:
    assert broken({**DATE, "format": "%d/%m/%Y"}, [cell]) == {cell: ["bad_date"]}


def test_a_pattern_that_reads_an_iso_spelling_otherwise_is_read_alone() -> None:
    american = {**DATE, "format": "%Y-%d-%m"}
    assert values(american, ["2020-02-01", "2020-12-31", "2020-02-01T00:00:00Z"]) == {
        "2020-02-01": date(2020, 1, 2), "2020-12-31": ["bad_date"], "2020-02-01T00:00:00Z": ["bad_date"],
    }  # fmt: skip
    at = {**DATETIME, "format": "%Y-%d-%m %H:%M:%S"}
    assert values(at, ["2020-02-01 10:00:00", "2020-02-13 10:00:00"]) == {
        "2020-02-01 10:00:00": datetime(2020, 1, 2, 10, tzinfo=UTC), "2020-02-13 10:00:00": ["bad_datetime"],
    }  # fmt: skip


MISTAKES: dict[str, str] = {
    "%H:%M %p": "has %p without %I.*does not name a day", "%d/%m/%Y %H:%M %p": "has %p without %I",
    "%d/%m/%Y %I:%M": "does not say which half of the day", "%d/%m": "does not name a day",
    "%H:%M": "does not name a day",
    "%d": "does not name a day", "%Y-%m": "does not name a day", "%Y %B": "does not name a day",
    "%d/%m/%Y%": "alone is no directive; for the sign itself write %%", "%": "alone is no directive",
    "%d/%m/%Y % H": "% alone", "%c": r"depends on the machine's locale; write it out: %a %b %d %H:%M:%S %Y",
    "%x": "locale; write it out: %m/%d/%y", "%d/%m/%Y %X": "locale; write it out: %H:%M:%S", "%s": "seconds since 1970",
    "%F %T": "%F is no directive.*write %Y-%m-%d; %T is no directive.*write %H:%M:%S", "%D": "%D.*write %m/%d/%y",
    "%-d/%-m/%Y": "%-d is no directive of Python's strptime; write %d; %-m", "%e.%m.%Y": "%e.*write %d",
    "%Y-%m-%d %H:%M:%S%.f": "%.f.*write .%f", "%Y-%m-%d %H:%M:%S%3f": "%3f.*write %f", "%Y-%m-%d %R": "write %H:%M",
    "%Y-%m-%d %H:%M%:z": "%:z.*write %z", "%d %h %Y": "%h.*write %b",
    "%d/%m/%Y %d": "names the day twice, with %d and %d",
    "%d/%m/%Y %y": "names the year twice, with %Y and %y", "%j %d/%m/%Y": "names the day twice",
    "%Y-%j %m": "names the day twice, with %j and with a month", "%d/%m/%Y %H %I %p": "names the hour twice",
    "%d/%m/%Y %H:%M %z %Z": "names the offset twice", "%a %A %d/%m/%Y": "names the weekday twice",
    "%G-W%V": "no ISO week", "%Y-W%V-%u": "no ISO week", "%G-%m-%d": "no ISO week", "%Y-%U": "has %U, which goes with",
    "%d/%m/%Y %W %a": "has %W", " %d/%m/%Y": "begins or ends with a blank", "%d/%m/%Y\u00a0": "begins or ends with",
    "%Q%d%m%Y": "%Q is no directive", "%d/%m/%Y %M:%M": "names %M twice",
}  # fmt: skip


@pytest.mark.parametrize(("pattern", "words"), MISTAKES.items())
def test_a_pattern_that_is_none_is_refused_by_the_check(pattern: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Field.model_validate({"type": "datetime", "format": pattern})


def test_every_letter_is_read_or_refused_by_name() -> None:
    for letter in string.ascii_letters + string.digits + string.punctuation:
        mistake = format_mistake(f"%d/%m/%Y %{letter}")
        read = letter in READS or letter == "%"
        assert read != bool((mistake and "is no directive" in mistake) or "locale" in mistake), (letter, mistake)


@pytest.mark.parametrize(
    ("pattern", "cells"),
    [
        ("%d-%b-%Y", {"31-Dec-2001": date(2001, 12, 31), "31-DEC-2001": date(2001, 12, 31)}),
        ("%d-%b-%Y", {"31-Dez-2001": ["bad_date"], "31-Sept-2001": ["bad_date"]}),
        ("%a, %d %B %Y", {"Mon, 31 December 2001": date(2001, 12, 31), "Tue, 31 December 2001": ["bad_date"]}),
        ("%Y-%j", {"2020-366": date(2020, 12, 31), "2019-366": ["bad_date"], "2019-000": ["bad_date"]}),
        ("%G-W%V-%u", {"2020-W53-7": date(2021, 1, 3), "2021-W53-1": ["bad_date"], "2020-W00-1": ["bad_date"]}),
        ("%d/%m/%Y %H:%M:%S", {"01/02/2020 23:59:60": ["bad_date"], "01/02/2020 24:00:00": ["bad_date"]}),
        ("%d/%m/%Y", {"1/2/2020": date(2020, 2, 1), "31/04/2020": ["bad_date"], "01/02/2020x": ["bad_date"]}),
    ],
)  # fmt: skip
def test_a_day_is_one_that_exists(pattern: str, cells: dict[str, Any]) -> None:
    assert values({**DATE, "format": pattern}, list(cells)) == cells
