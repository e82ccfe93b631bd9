"""A schedule's plan as cron lines, and whether a moment lies within it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from ingest_pipelines.config.imports import Schedule


def cron_of(schedule: Schedule) -> str:
    """The plan as one cron line, in the schedule's time zone.

    `every: 6h` with `start: 2026-11-22T06:30` ticks at 00:30, 06:30, 12:30 and 18:30 by the wall clock, also
    across a change to daylight saving time; without a start it counts from midnight.
    """
    if schedule.cron is not None:
        return schedule.cron
    assert schedule.every is not None
    minute, hour = (schedule.start.minute, schedule.start.hour) if schedule.start else (0, 0)
    if schedule.every < timedelta(hours=1):
        step = int(schedule.every.total_seconds()) // 60
        return f"{_listed(range(minute % step, 60, step))} * * * *"
    step = int(schedule.every.total_seconds()) // 3600
    return f"{minute} {_listed(range(hour % step, 24, step))} * * *"


def outside(schedule: Schedule, moment: datetime) -> str:
    """Why the plan has no tick at that moment: before its start, after its end. Empty where it has."""
    zone = ZoneInfo(schedule.timezone)
    if schedule.start is not None:
        start = schedule.start if schedule.start.tzinfo else schedule.start.replace(tzinfo=zone)
        if moment < start:
            return f"the schedule starts at {start.isoformat(timespec='minutes')}"
    if schedule.until is not None and moment.astimezone(zone).date() > schedule.until:
        return f"the schedule ended on {schedule.until.isoformat()}"
    return ""


def _listed(values: range) -> str:
    return ",".join(map(str, values))
