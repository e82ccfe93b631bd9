"""What an import's schedule should have begun by now, and has not: ended windows, ticks that started nothing. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.orchestration.assets.partitions import ended_windows, windows_of
from ingest_pipelines.orchestration.schedules.planned_ticks import first_planned_tick

A_TICK_TAKES = timedelta(minutes=1)
"""From a tick to the item that it writes to the ledger."""


def first_tick(schedule: Schedule, since: datetime, now: datetime) -> datetime | None:
    """The schedule's first tick at `since` or later that has had its time by now, in UTC; None if there is none."""
    return first_planned_tick(schedule, since, until=now - A_TICK_TAKES)


def windows_due(bound: BoundImport, newest: datetime | None, now: datetime) -> list[tuple[str, datetime]]:
    """Windows that a tick should have begun, and when each ended; the oldest first.

    Args:
        newest: the end of the newest window in the ledger. None: there is none, and the import's first tick decides
            with which window it begins.
    """
    plan = bound.spec.schedule
    if bound.spec.source.window is None or plan is None or newest is None:
        return []
    windows = windows_of(bound.spec.source.window)
    ended = [
        (key, windows.time_window_for_partition_key(key).end.astimezone(UTC))
        for key in ended_windows(bound, now, after=newest)
    ]
    while ended and first_tick(plan, ended[-1][1], now) is None:
        ended.pop()
    return ended


def tick_due(bound: BoundImport, last_seen: datetime | None, now: datetime) -> datetime | None:
    """The first tick of the schedule that started nothing; None if every tick left a trace.

    Args:
        last_seen: when the import last did anything: looked at its source, registered an item, or ended a load. None:
            never, and the import's first tick is not known.
    """
    plan = bound.spec.schedule
    if bound.spec.source.window is not None or plan is None or last_seen is None:
        return None
    return first_tick(plan, last_seen, now)


def tick_name(tick: datetime) -> str:
    """`tick 2026-11-29T06:00Z`: what the list shows in place of an item that is not known yet."""
    return f"tick {tick.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
