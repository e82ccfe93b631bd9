"""A schedule's plan as cron lines, and which of their ticks the plan leaves out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from ingest_pipelines.config.schedule import WEEKDAYS, Schedule


def crons_of(schedule: Schedule) -> list[str]:
    """The plan as cron lines, in the schedule's time zone. A moment that several of them name is one tick.

    `every: 6h` with `start: 2026-11-22T06:30` ticks at 00:30, 06:30, 12:30 and 18:30 by the wall clock, also across a
    change to daylight saving time. Cron has no year: for `dates` use `why_no_tick` as well.
    """
    if schedule.cron is not None:
        return [schedule.cron]
    if schedule.every is not None:
        return [_every(schedule, schedule.every)]
    times = sorted({tuple(map(int, at.split(":"))) for at in schedule.at})
    return [f"{minute} {hour} {days}" for hour, minute in times for days in dict.fromkeys(_days(schedule))]


def why_no_tick(schedule: Schedule, moment: datetime) -> str:
    """Why the plan has no tick at that moment: it is before the start or after the end. "" where it has one."""
    zone = ZoneInfo(schedule.timezone)
    day = moment.astimezone(zone).date()
    if schedule.start is not None:
        start = schedule.start if schedule.start.tzinfo else schedule.start.replace(tzinfo=zone)
        if moment < start:
            return f"the schedule starts at {start.isoformat(timespec='minutes')}"
    if schedule.ends_on is not None and day > schedule.ends_on:
        return f"the schedule ended on {schedule.ends_on.isoformat()}"
    if schedule.dates and day not in schedule.dates:
        return f"{day.isoformat()} is none of the schedule's dates"
    return ""


def _every(schedule: Schedule, every: timedelta) -> str:
    minute, hour = (schedule.start.minute, schedule.start.hour) if schedule.start else (0, 0)
    minutes = int(every.total_seconds()) // 60
    if minutes < 60:
        return f"{_field(range(minute % minutes, 60, minutes))} * * * *"
    hours = minutes // 60
    if hours == 1:
        return f"{minute} * * * *"  # also in the hour that the clock repeats
    return f"{minute} {_field(range(hour % hours, 24, hours))} * * *"


def _days(schedule: Schedule) -> Iterator[str]:
    """The last three fields of cron lines."""
    if schedule.dates:
        yield from (f"{day.day} {day.month} *" for day in sorted(schedule.dates))
        return
    months = ",".join(map(str, sorted(schedule.months))) or "*"
    if schedule.days:
        yield f"{','.join('L' if day == 'last' else str(day) for day in schedule.days)} {months} *"
        return
    # `mon` and `2nd tue` in one cron line are read differently by cron implementations; so each kind has its own line.
    plain = [day for day in schedule.weekdays if " " not in day]
    if plain or not schedule.weekdays:
        yield f"* {months} {','.join(plain) or '*'}"
    for which, day in (weekday.split() for weekday in schedule.weekdays if " " in weekday):
        number = (WEEKDAYS.index(day) + 1) % 7
        yield f"* {months} {f'L{number}' if which == 'last' else f'{number}#{which[0]}'}"


def _field(values: range) -> str:
    """A cron field that Dagster's pages describe well: few values as a list of times, more as `every 5 minutes`."""
    if len(values) <= 4:
        return ",".join(map(str, values))
    return f"*/{values.step}" if values.start == 0 else f"{values.start}-{values.stop - 1}/{values.step}"
