"""Cursor values: the text in the ledger is the value, to the last digit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.imports import Cursor
from ingest_pipelines.cursor.values import (
    CursorKind,
    CursorValue,
    Moment,
    cursor_kind,
    cursor_text,
    in_future,
    less_lag,
    not_after,
    parse_cursor,
)

_MOMENTS = st.builds(Moment, st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9), st.booleans())


@given(st.one_of(st.integers(), st.decimals(allow_nan=False, allow_infinity=False), st.dates(), _MOMENTS))
def test_text_and_value_are_the_same_thing(value: CursorValue) -> None:
    kind: CursorKind = "number" if isinstance(value, int | Decimal) else "moment"
    assert parse_cursor(cursor_text(value), kind) == value


@given(st.text())
def test_text_is_kept_as_it_is(value: str) -> None:
    assert parse_cursor(cursor_text(value), "text") == value


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (0, "number"), (0.5, "number"), ("2026-01-31", "moment"), ("2026-01-31T10:00", "moment"),
        ("2026-01-31 10:00:00.123+02:00", "moment"), ("", "text"), ("0", "text"), ("31.01.2026", "text"),
    ],
)  # fmt: skip
def test_the_start_says_what_the_column_holds(start: int | float | str, kind: str) -> None:
    assert cursor_kind(start) == kind


@pytest.mark.parametrize("text", ["", "x", "1e400000x", "NaN", "Infinity", "2026-13-01"])
def test_what_spells_no_value_is_refused(text: str) -> None:
    kinds: tuple[CursorKind, ...] = ("number", "moment")
    for kind in kinds:
        with pytest.raises(ValueError):
            parse_cursor(text, kind)


@pytest.mark.parametrize(
    ("value", "lag", "less"),
    [
        (100, Decimal(30), 69),
        (10**37, Decimal(1), 10**37 - 2),
        (Decimal("10.5"), Decimal("0.25"), Decimal("10.24")),
        (7, Decimal("0.5"), Decimal("6.4")),
        (date(2026, 3, 1), timedelta(minutes=10), date(2026, 2, 27)),
        (date(2026, 3, 1), timedelta(days=1), date(2026, 2, 27)),
        (Moment(1_000_002_000, zoned=True), timedelta(seconds=1), Moment(1_000, zoned=True)),
        ("text", Decimal(1), "text"),
        (100, Decimal(0), 100),
        (date(2026, 3, 1), timedelta(0), date(2026, 3, 1)),
    ],
)
def test_rows_exactly_a_lag_behind_are_read_again(
    value: CursorValue, lag: timedelta | Decimal, less: CursorValue
) -> None:
    """The next chunk's rows lie beyond the value."""
    assert less_lag(value, lag) == less


def test_values_are_compared_by_their_kind() -> None:
    assert not_after(9, Decimal("9.5"))
    assert not not_after(10, 9)
    assert not_after(date(2026, 1, 1), Moment.of(datetime(2026, 1, 1, 0, 0, 1)))
    assert not not_after("a", "b")
    assert not_after("b", "b")


def test_the_future_begins_by_the_clock_of_the_column() -> None:
    now, london = datetime(2026, 7, 1, 12, tzinfo=UTC), ZoneInfo("Europe/London")
    half_past = datetime(2026, 7, 1, 12, 30)
    assert in_future(Moment.of(half_past.replace(tzinfo=UTC)), now, london)
    assert not in_future(Moment.of(half_past), now, london)
    assert in_future(date(2026, 7, 2), now, london)
    assert in_future(date(2026, 7, 1), now, london)
    assert not in_future(date(2026, 6, 30), now, london)
    assert not in_future("2999", now, london)


@pytest.mark.parametrize(
    ("start", "lag", "says"),
    [("", 1, "text has no distance"), (0, "10m", "a number above zero"), (0, -1, "a number above zero"),
     ("2026-01-01", 10, "a duration is")],
)  # fmt: skip
def test_a_lag_of_another_kind_is_a_config_error(start: int | str, lag: int | str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Cursor(column="k", start=start, lag=lag)
