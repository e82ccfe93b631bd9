"""When each sensor and schedule ticked last, and which of them fail, read from Dagster's storage without a code server.

Waits for: a public listing of sensors' and schedules' states with their last tick, and of the last ticks of all of them
at once: `get_ticks` reads one sensor's, and the batch question ranks the whole table.
If the tick table, the state's fields or the error's class move: the watcher cannot tell whether sensors tick, says so
at /healthz, and everything else works. `monitoring/test_probes.py` fails first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import ScheduleInstigatorData, SensorInstigatorData, TickData
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._serdes import deserialize_value
from dagster_shared.error import SerializableErrorInfo

_MOST_TICKS = 20_000
"""Only so many of the newest ticks are read: the table is large, and has no index on the time alone."""

_MOST_ERRORS = 50
"""Of so many sensors and schedules the last error is read."""

_UNREACHABLE = {"DagsterUserCodeUnreachableError", "DagsterUserCodeProcessError", "DagsterCodeLocationLoadError"}

_GOOD = {"SUCCESS", "SKIPPED"}


@dataclass(frozen=True)
class Instigator:
    """A sensor or schedule as Dagster's daemon last wrote it down.

    Attributes:
        on: it is not switched off.
        period: of a sensor; None: of a schedule.
        ticked_at: when its last tick began; of a schedule, or when the daemon last wrote that it had looked, which it
            does once an hour. None: never.
    """

    name: str
    selector_id: str
    on: bool
    period: timedelta | None
    ticked_at: datetime | None


@dataclass(frozen=True)
class FailingTicks:
    """Ticks of a sensor or schedule that failed since its last good one.

    Attributes:
        unreachable: the last of them failed because the code server did not answer.
    """

    selector_id: str
    count: int
    first_at: datetime
    last_at: datetime
    unreachable: bool


def list_instigators(instance: DagsterInstance) -> list[Instigator]:
    """Every sensor and schedule that has a state, also those that the project no longer has. Two queries."""
    instigators = []
    last_ticks = _last_ticks(instance)
    for state in instance.all_instigator_state():
        data = state.instigator_data
        period, ticked_at = None, None
        if isinstance(data, SensorInstigatorData):
            period = timedelta(seconds=data.min_interval or 30)
            ticked_at = data.last_tick_timestamp
        elif isinstance(data, ScheduleInstigatorData):
            looked_at = data.last_iteration_timestamp or data.start_timestamp or 0.0
            ticked_at = max(looked_at, last_ticks.get(state.selector_id, 0.0))
        instigators.append(
            Instigator(state.name, state.selector_id, state.is_running, period, _time(ticked_at) if ticked_at else None)
        )
    return instigators


def _last_ticks(instance: DagsterInstance) -> dict[str, float]:
    """When each sensor and schedule ticked last, by selector; those among the newest _MOST_TICKS only."""
    storage = instance.schedule_storage
    if not isinstance(storage, SqlScheduleStorage):
        return {}
    ticks = JobTickTable.c
    last = sa.select(ticks.selector_id, sa.func.max(ticks.timestamp)).where(_is_recent())
    with storage.connect() as connection:
        rows = connection.execute(last.group_by(ticks.selector_id)).all()
    return {selector: timestamp.replace(tzinfo=UTC).timestamp() for selector, timestamp in rows}


def list_failing_ticks(instance: DagsterInstance, since: datetime) -> list[FailingTicks]:
    """The sensors and schedules whose last ticks failed, the longest failing first. Three queries at most.

    Args:
        since: earlier ticks are not read.
    """
    storage = instance.schedule_storage
    if not isinstance(storage, SqlScheduleStorage):
        return []
    ticks = JobTickTable.c
    recent = sa.and_(_is_recent(), ticks.timestamp >= since.astimezone(UTC).replace(tzinfo=None))
    failing = sa.select(ticks.selector_id).where(recent, ticks.status == "FAILURE").distinct()
    with storage.connect() as connection:
        suspects = [row[0] for row in connection.execute(failing)]
        if not suspects:
            return []
        rows = connection.execute(
            sa.select(ticks.id, ticks.selector_id, ticks.status, ticks.timestamp)
            .where(recent, ticks.selector_id.in_(suspects), ticks.status.in_({"FAILURE", *_GOOD}))
            .order_by(ticks.id.desc())
        ).all()
        failures: dict[str, list[tuple[int, datetime]]] = {}
        ended: set[str] = set()
        for tick, selector, status, timestamp in rows:
            if status in _GOOD:
                ended.add(selector)
            elif selector not in ended:
                failures.setdefault(selector, []).append((tick, timestamp.replace(tzinfo=UTC)))
        last = [of_one[0][0] for of_one in failures.values()]
        bodies = connection.execute(
            sa.select(ticks.selector_id, ticks.tick_body).where(ticks.id.in_(sorted(last)[-_MOST_ERRORS:]))
        ).all()
    unreachable = {selector for selector, body in bodies if _is_unreachable(deserialize_value(body, TickData))}
    found = [
        FailingTicks(selector, len(of_one), of_one[-1][1], of_one[0][1], selector in unreachable)
        for selector, of_one in failures.items()
    ]
    return sorted(found, key=lambda failing_ticks: failing_ticks.first_at)


def _is_recent() -> sa.ColumnElement[bool]:
    """Whether a tick is among the newest _MOST_TICKS."""
    ticks = JobTickTable.c
    return ticks.id > sa.select(sa.func.coalesce(sa.func.max(ticks.id), 0)).scalar_subquery() - _MOST_TICKS


def _is_unreachable(tick: TickData) -> bool:
    return any(error.cls_name in _UNREACHABLE for error in _chain(tick.error))


def _chain(error: SerializableErrorInfo | None) -> Iterable[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause


def _time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
