"""The tick of a sensor or a schedule, evaluated in this process.

Its context is closed at once. It opens an instance of its own, and what it sets for the whole process
(`DefsStateStorage`) is put back when it closes: left to the garbage collector, that happens in a later test
and names an instance that is gone ("Attempted to resolve undefined DagsterInstance weakref").
"""

from __future__ import annotations

from datetime import datetime

from dagster import (
    DagsterInstance,
    ScheduleDefinition,
    SensorDefinition,
    build_schedule_context,
    build_sensor_context,
)


def sensor_tick(sensor: SensorDefinition, instance: DagsterInstance, cursor: str | None = None) -> object:
    """What the sensor's function answers."""
    with build_sensor_context(instance=instance, cursor=cursor) as context:
        return sensor(context)


def schedule_tick(schedule: ScheduleDefinition, instance: DagsterInstance, at: datetime) -> object:
    """What the schedule's function answers at its planned time."""
    with build_schedule_context(instance=instance, scheduled_execution_time=at) as context:
        return schedule(context)
