"""Our ticks are Dagster's: the same moments, in every kind of time zone, also where the clock changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.orchestration.schedules.cron import crons_of
from ingest_pipelines.orchestration.schedules.ticks import ticks

YEAR = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)

ZONES = (  # not Antarctica/Troll, where Dagster errs: it expects that a clock changes by an hour at most
    "UTC",
    "America/New_York",
    "Europe/London",
    "Europe/Berlin",
    "Pacific/Auckland",
    "America/St_Johns",  # an offset of half an hour
    "Asia/Kathmandu",  # of 45 minutes, and the clock never changes
    "Australia/Lord_Howe",  # the clock changes by half an hour
    "Africa/Cairo",  # at midnight, and from midnight to 23:00
    "Asia/Beirut",
    "America/Santiago",
    "America/Havana",
    "Atlantic/Azores",
)

CRONS = (
    "0 0 * * *", "30 0 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "15 3 * * *", "30 23 * * *", "30 2 * * 1,3",
    "30 1 * * 0", "30 0 * * 0", "30 2 * * sun", "0 0 1 * *", "30 23 1-31 * *", "30 2 25 10 *", "30 1 1 11 *",
    "0 2 29 2 *", "30 2 31 * *", "30 1 * 3,10,11 *", "0 6 L * *", "0 6 * * L5", "0 2 * * 2#2", "0 6 1,15 * *",
    "0 6 * * 1-5", "0 0,12 * * *", "30 0,6,12,18 * * *", "0 1-3 * * *", "*/30 1-3 * * *", "45 0,1,2 * * *",
    "*/20 2 * * *", "30 * 1 * *", "30 2 13 * 5",
)  # fmt: skip

HOURLY = ("0 * * * *", "30 * * * *", "*/15 * * * *", "*/7 * * * *", "5,35 * * * *", "30 */1 * * *", "15 0-23 * * *")

PLANS = (
    {"every": "2h"}, {"every": "12h", "start": datetime(2026, 1, 5, 1, 30)}, {"at": ["02:30", "23:15"]},
    {"at": ["01:30"], "weekdays": ["2nd sun", "last sun"]}, {"at": ["02:15"], "days": [25, "last"]},
    {"at": ["00:30"], "months": ["mar", "oct", "nov"]},
)  # fmt: skip


def _dagster_ticks(crons: list[str], zone: str, since: datetime) -> Iterator[datetime]:
    """Dagster's ticks in UTC."""
    for tick in schedule_execution_time_iterator(since.timestamp(), crons, zone):
        yield tick.astimezone(UTC)


def _our_ticks(crons: list[str], zone: str, since: datetime) -> Iterator[datetime]:
    for tick in ticks(crons, zone, since):
        yield tick.astimezone(UTC)


@cache
def _changes(zone: str) -> tuple[datetime, ...]:
    """Hours of 2026 at whose end the zone has another offset; the year's begin where its offset stays the same."""
    hours = [YEAR + timedelta(hours=number) for number in range(365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    changes = (hour for hour, (before, after) in zip(hours, pairwise(offsets), strict=False) if before != after)
    return tuple(changes) or (YEAR,)


def _known_difference(cron: str, zone: str) -> bool:
    """Whether Dagster's ticks depend on where it began: it adds whole hours, and the clock changes by half of one."""
    return zone == "Australia/Lord_Howe" and cron in HOURLY


def _year(zone: str) -> object:
    """A parameter; what is true of a year is tried near the changes of every zone by the test after this one."""
    return pytest.param(zone, marks=() if zone == "America/New_York" else pytest.mark.slow)


@pytest.mark.parametrize("zone", [_year(zone) for zone in ZONES])
def test_a_year_of_ticks_is_dagsters_in_every_kind_of_zone(zone: str) -> None:
    for cron in CRONS:
        ours = list(takewhile(lambda tick: tick < END, _our_ticks([cron], zone, YEAR)))
        assert ours == list(takewhile(lambda tick: tick < END, _dagster_ticks([cron], zone, YEAR))), cron


@pytest.mark.parametrize("zone", ZONES)
def test_ticks_near_each_change_of_the_clock_are_dagsters(zone: str) -> None:
    for change in _changes(zone):
        for cron in (*CRONS, *HOURLY):
            if _known_difference(cron, zone):
                continue
            since, count = (change - timedelta(hours=6), 60) if cron in HOURLY else (change - timedelta(days=2), 9)
            ours = list(islice(_our_ticks([cron], zone, since), count))
            assert ours == list(islice(_dagster_ticks([cron], zone, since), count)), (cron, change)


@pytest.mark.parametrize("zone", ["Europe/Berlin", pytest.param("Africa/Cairo", marks=pytest.mark.slow)])
def test_a_year_of_ticks_of_every_kind_of_plan_is_dagsters(zone: str) -> None:
    for plan in PLANS:
        crons = crons_of(Schedule.model_validate({**plan, "timezone": zone}))
        ours = list(takewhile(lambda tick: tick < END, _our_ticks(crons, zone, YEAR)))
        assert ours == list(takewhile(lambda tick: tick < END, _dagster_ticks(crons, zone, YEAR))), plan


_NUMBERS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 28), "month": (1, 12), "weekday": (0, 6)}


def _field(name: str) -> st.SearchStrategy[str]:
    low, high = _NUMBERS[name]
    number = st.integers(low, high)
    numbers = st.lists(number, min_size=1, max_size=3, unique=True).map(lambda found: ",".join(map(str, sorted(found))))
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    step = st.integers(2, max(2, (high - low) // 2)).map(lambda every: f"*/{every}")
    return st.just("*") | number.map(str) | numbers | span | step


@given(
    cron=st.tuples(*map(_field, _NUMBERS)).map(" ".join),
    zone=st.sampled_from([zone for zone in ZONES if zone != "Australia/Lord_Howe"]),
    number=st.integers(0, 20),
    minutes=st.integers(-3 * 24 * 60, 24 * 60),
)
def test_the_next_ticks_of_any_cron_near_any_change_are_dagsters(
    cron: str, zone: str, number: int, minutes: int
) -> None:
    changes = _changes(zone)
    since = changes[number % len(changes)] + timedelta(minutes=minutes)
    assert list(islice(_our_ticks([cron], zone, since), 8)) == list(islice(_dagster_ticks([cron], zone, since), 8))


def test_a_day_that_never_comes_has_no_tick() -> None:
    assert list(ticks(["0 6 30 2 *"], "UTC", YEAR)) == []
