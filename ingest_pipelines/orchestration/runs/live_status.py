"""Which imports are running, and when each one runs next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from dagster import DagsterRun, DagsterRunStatus

from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run
from ingest_pipelines.orchestration.schedules.planned_ticks import first_planned_tick

LOOK_AHEAD = timedelta(days=3 * 366)
"""How far ahead the next tick is searched."""

_UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def next_tick(schedule: Schedule, now: datetime) -> datetime | None:
    """The schedule's next tick after `now`, in UTC; None if there is none."""
    since = now + timedelta(seconds=1)
    if schedule.start is not None:
        zone = ZoneInfo(schedule.timezone)
        since = max(since, schedule.start if schedule.start.tzinfo else schedule.start.replace(tzinfo=zone))
    return first_planned_tick(schedule, since, until=now + LOOK_AHEAD)


def running_imports(runs: Iterable[DagsterRun]) -> set[str]:
    """Names of the imports that have one of these runs in progress; dry runs do not count."""
    under_way = (run for run in runs if run.status in _UNDER_WAY)
    return {run.tags[IMPORT_TAG] for run in under_way if IMPORT_TAG in run.tags and not is_dry_run(run.tags)}
