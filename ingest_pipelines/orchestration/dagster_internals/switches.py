"""The switches of sensors and schedules, turned on from within a tick as the UI does it, and read for a new owner.

Waits for: `DagsterInstance.start_sensor` and `start_schedule` by name. They take a remote definition, which Dagster
builds from a workspace; a tick has no workspace, and knows its repository and its code location.
If a class of `dagster._core.remote_representation` or a method of the instance changes: ticks of the sensor
`activation` fail, and an activated draft runs by itself only after a person switches it on in the UI; the first ticks
of file sensors that imports share fail.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dagster import SensorEvaluationContext
from dagster._core.remote_representation.external import RemoteSchedule, RemoteSensor
from dagster._core.remote_representation.external_data import ScheduleSnap, SensorSnap
from dagster._core.remote_representation.handle import RepositoryHandle
from dagster._core.scheduler.instigation import InstigatorStatus

_SWITCHED_BY_HAND = {InstigatorStatus.RUNNING, InstigatorStatus.STOPPED}
"""Of a sensor that is off by default. The third status says that the definition decides."""

MOST_AT_ONCE = 100
"""A tick has sixty seconds, and a switch takes some hundredths of one."""


def switch_on(context: SensorEvaluationContext, names: Iterable[str]) -> list[str]:
    """Those of the tick's sensors and schedules that were off by default, and are on now.

    One that is on already stays as it is, and so does one that a person switched off. Where there are many, the next
    call goes on with the rest.

    Args:
        names: of sensors and schedules in the tick's repository.
    """
    repository, instance = context.repository_def, context.instance
    assert repository is not None
    handle = _handle(context)
    states = instance.all_instigator_state(
        repository_selector_id=handle.selector_id, instigator_statuses=_SWITCHED_BY_HAND
    )
    switched = {state.name for state in states}
    off = [name for name in names if name not in switched][:MOST_AT_ONCE]
    for name in off:
        if repository.has_sensor_def(name):
            snap = SensorSnap.from_def(repository.get_sensor_def(name), repository)
            instance.start_sensor(RemoteSensor(snap, handle))
        else:
            plan = ScheduleSnap.from_def(repository.get_schedule_def(name), repository)
            instance.start_schedule(RemoteSchedule(plan, handle))
    return off


def take_over_switches(context: SensorEvaluationContext, names: Collection[str], take: Callable[[str], None]) -> None:
    """Calls `take` with each of the sensors that a person has switched off; Dagster then forgets its switch.

    If this is interrupted, the next call takes the same switch again.

    Args:
        names: of sensors that the tick's repository had once.
    """
    instance = context.instance
    if instance.schedule_storage is None or context.repository_def is None:
        return
    for state in instance.all_instigator_state(
        repository_selector_id=_handle(context).selector_id, instigator_statuses={InstigatorStatus.STOPPED}
    ):
        if state.name in names:
            take(state.name)
            instance.schedule_storage.delete_instigator_state(state.instigator_origin_id, state.selector_id)


def _handle(context: SensorEvaluationContext) -> RepositoryHandle:
    repository, location = context.repository_def, context.code_location_origin
    assert repository is not None
    assert location is not None
    return RepositoryHandle(
        repository_name=repository.name,
        code_location_origin=location,
        repository_python_origin=None,
        display_metadata={},
    )
