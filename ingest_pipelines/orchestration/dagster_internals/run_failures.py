"""Why runs failed, from the events of many runs in one query.

Waits for: an event query that takes several run ids. `get_records_for_run` takes one, so a list of sixty dead runs
would cost sixty queries.
If `index_connection` or the table's columns go: `ingest status` and the alerts fail; `test_dead_run_reasons.py` fails
first.
On SQLite, which only tests use, the events of steps are in a file per run and are not found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dagster import DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.events import EngineEventData, JobFailureData
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.serdes import deserialize_value
from sqlalchemy import select

_TYPES = (DagsterEventType.RUN_FAILURE, DagsterEventType.STEP_FAILURE, DagsterEventType.ENGINE_EVENT)


@dataclass(frozen=True)
class RunFailure:
    """What Dagster's events say of a run that failed.

    Attributes:
        message: of the event that failed the run.
        kind: Dagster's name for the cause, such as `STEP_FAILURE` or `START_TIMEOUT`; "" where it gives none.
        step_message: the words of the last step that failed, if it failed by `dagster.Failure`; else "".
        errors: class names of the errors that Dagster itself met while it queued and started the run, and their
            messages. The messages may hold what a server said.
    """

    message: str = ""
    kind: str = ""
    step_message: str = ""
    errors: tuple[str, ...] = ()


def run_failures(instance: DagsterInstance, run_ids: Collection[str]) -> dict[str, RunFailure]:
    """Per run what its events say of its failure; a run without such events is left out."""
    storage = instance.event_log_storage
    if not run_ids or not isinstance(storage, SqlEventLogStorage):
        return {}
    table = SqlEventLogStorageTable.c
    query = (
        select(table.run_id, table.event)
        .where(table.run_id.in_(sorted(run_ids)), table.dagster_event_type.in_([kind.value for kind in _TYPES]))
        .order_by(table.id)
    )
    with storage.index_connection() as connection:
        rows = connection.execute(query).fetchall()
    events: dict[str, list[EventLogEntry]] = {}
    for run_id, text in rows:
        events.setdefault(run_id, []).append(deserialize_value(text, EventLogEntry))
    return {run_id: _failure(entries) for run_id, entries in events.items()}


def _failure(entries: list[EventLogEntry]) -> RunFailure:
    message = kind = step_message = ""
    errors: list[str] = []
    for entry in entries:
        event = entry.dagster_event
        if event is None:
            continue
        data = event.event_specific_data
        if event.event_type is DagsterEventType.RUN_FAILURE:
            message = event.message or ""
            if isinstance(data, JobFailureData):
                kind = data.failure_reason.value if data.failure_reason is not None else ""
        elif isinstance(data, StepFailureData) and data.user_failure_data is not None:
            step_message = data.user_failure_data.description or ""
        elif isinstance(data, EngineEventData) and data.error is not None:
            errors += _words(data.error)
    return RunFailure(message, kind, step_message, tuple(errors))


def _words(error: SerializableErrorInfo | None) -> Iterator[str]:
    while error is not None:
        yield from (error.cls_name or "", error.message)
        error = error.cause
