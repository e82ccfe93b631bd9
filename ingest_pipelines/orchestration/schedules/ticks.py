"""The ticks of cron lines, equal to Dagster's: the same wall-clock times, and the same rules where the clock changes.

Dagster has no public function for the ticks of a schedule. Its documentation (Customizing execution timezone) has the
rules, and its code two details; a test compares a year of ticks in zones of every kind.

- A time that the clock skips is moved to the end of the gap; an hourly cron skips it. Outside the hours 1 to 3 Dagster
  does not look for the gap's end, and moves the time by the gap's length.
- Of a time that the clock repeats, the second one is the tick; of an hourly cron both are. Outside the hours 1 to 3
  Dagster takes the first one of a cron that is plainly daily, weekly or monthly.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

_BEFORE = timedelta(hours=4)
"""How far before the first tick the search begins: more than a clock ever changes by."""

_MOST_YEARS = 12
"""A cron line without a match for that long, such as 30 February, has no ticks. From 2096 to 2104 there is no 29th."""

_HOURS_OF_CHANGE = range(1, 4)
_EVERY_MONTH_HAS = 28


def ticks(crons: Iterable[str], timezone: str, since: datetime) -> Iterator[datetime]:
    """Ticks at `since` or later, in order and in the time zone; a moment that several cron lines name is one tick."""
    zone = ZoneInfo(timezone)
    last = None
    for tick in heapq.merge(*(_ticks_of(cron, zone, since) for cron in crons)):
        if tick >= since and tick != last:
            yield tick.astimezone(zone)
            last = tick


def _ticks_of(cron: str, zone: ZoneInfo, since: datetime) -> Iterator[datetime]:
    """The cron line's ticks in UTC, from some hours before `since`."""
    fields, nth_weekdays = croniter.expand(cron)[:2]
    every_hour = fields[1] == ["*"]
    plain = not nth_weekdays and _is_plain(fields)
    repeated: list[datetime] = []
    start = since.astimezone(zone).replace(tzinfo=None) - _BEFORE
    for wall_clock in croniter(cron, start, datetime, max_years_between_matches=_MOST_YEARS).all_next():
        first, second = (wall_clock.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        change = (second.utcoffset() or timedelta(0)) - (first.utcoffset() or timedelta(0))
        usual = wall_clock.hour in _HOURS_OF_CHANGE
        if change < timedelta(0):  # the clock repeats this time
            if every_hour:
                yield first.astimezone(UTC)
                repeated.append(second.astimezone(UTC))
            else:
                yield (first if plain and not usual else second).astimezone(UTC)
            continue
        yield from repeated
        repeated.clear()
        if not change:
            yield first.astimezone(UTC)
        elif not every_hour:  # the clock skips this time
            end_of_gap = (wall_clock.replace(minute=0) + change).replace(tzinfo=zone)
            yield (end_of_gap if usual else first).astimezone(UTC)


def _is_plain(fields: list[list[int | str]]) -> bool:
    """Whether the cron line is daily, weekly or monthly at one time of day."""
    minute, hour, day, month, weekdays = fields
    if not (_is_number(minute) and _is_number(hour) and month == ["*"]):
        return False
    if day == ["*"]:
        return weekdays == ["*"] or all(isinstance(weekday, int) for weekday in weekdays)
    return _is_number(day) and int(day[0]) <= _EVERY_MONTH_HAS and weekdays == ["*"]


def _is_number(field: list[int | str]) -> bool:
    return len(field) == 1 and isinstance(field[0], int)
