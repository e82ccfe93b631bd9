"""The ticks of a schedule at which its import may run: those of its cron lines, without the ones that it leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.orchestration.schedules.cron import crons_of, why_no_tick
from ingest_pipelines.orchestration.schedules.ticks import ticks

TICKS = 10_000
"""How many ticks are searched: a schedule with dates has cron ticks in every year."""


def planned_ticks(schedule: Schedule, since: datetime, most: int) -> list[datetime]:
    """The next ticks, in the schedule's time zone."""
    found = (
        tick
        for tick in islice(ticks(crons_of(schedule), schedule.timezone, since), TICKS)
        if not why_no_tick(schedule, tick)
    )
    return list(islice(found, most))


def first_planned_tick(schedule: Schedule, since: datetime, until: datetime) -> datetime | None:
    """The first tick from `since` to `until`, both included, in UTC; None if there is none."""
    for tick in islice(ticks(crons_of(schedule), schedule.timezone, since), TICKS):
        if tick > until:
            return None
        if not why_no_tick(schedule, tick):
            return tick.astimezone(UTC)
    return None
