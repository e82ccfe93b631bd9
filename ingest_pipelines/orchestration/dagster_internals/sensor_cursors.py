"""The cursor of a sensor by its name, from any process.

Waits for: a public way to a sensor's state; the instance asks for the origin of a remote definition.
If `all_instigator_state` changes: alerts that an earlier version has told are told once more after the upgrade.
"""

from __future__ import annotations

from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import SensorInstigatorData


def cursor_of_sensor(instance: DagsterInstance, name: str) -> str | None:
    """The sensor's cursor; None if it has none, or has had no tick."""
    if instance.schedule_storage is None:
        return None
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    for state in states:
        if state.name == name and isinstance(state.instigator_data, SensorInstigatorData):
            return state.instigator_data.cursor
    return None
