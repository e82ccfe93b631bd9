"""Ticks that lie in the future, because the clock was ahead when they were noted.

A sensor rests until its period has passed since its last tick, and a schedule until a planned time after its last tick:
both by the clock of the day. Once that is set back, they rest for as long as it was ahead, also after a restart.

Waits for: a daemon that ignores ticks of the future.
If the tick table or the fields of the states move: sensors and schedules rest for that long, and the watcher says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import ScheduleInstigatorData, SensorInstigatorData
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.storage.schedules.schema import JobTickTable


def forget_future_ticks(instance: DagsterInstance, now: datetime) -> list[str]:
    """Sensors and schedules tick by the clock as it is now; the names of those that would have rested longer.

    Ticks of the future are deleted. What they requested has its runs, and is not requested again. Only the one daemon
    may call this, before it ticks.
    """
    names = []
    for state in instance.all_instigator_state():
        data = state.instigator_data
        times: tuple[str, ...]
        if isinstance(data, SensorInstigatorData):
            times = ("last_tick_timestamp", "last_tick_start_timestamp", "last_tick_success_timestamp")
        elif isinstance(data, ScheduleInstigatorData):
            times = ("start_timestamp", "last_iteration_timestamp")
        else:
            continue
        late: dict[str, Any] = {name: now.timestamp() for name in times if (getattr(data, name) or 0) > now.timestamp()}
        if late:
            instance.update_instigator_state(state.with_data(data._replace(**late)))
            names.append(state.name)
    storage = instance.schedule_storage
    if isinstance(storage, SqlScheduleStorage):
        with storage.connect() as connection:
            connection.execute(sa.delete(JobTickTable).where(JobTickTable.c.timestamp > _stored(now)))
    return sorted(names)


def _stored(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
