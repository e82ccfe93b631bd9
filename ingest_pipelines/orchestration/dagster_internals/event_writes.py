"""A run's events are written by one statement for several, and without a notice for which nothing listens any more.

Dagster writes each event by a transaction of its own: 46 in a run of ten rows. Those that say only how a step does its
work (its inputs and outputs, its resources) wait for the next event of another kind, and are written with it, before
it, in their order. So a step that succeeded has its outputs in the storage, and a process that is killed leaves at most
such details unwritten.

Dagster's storage also follows each event with a NOTIFY, "preserved to support version skew": a process of a version
that is years old would listen. Each is a statement and a transaction of its own, which takes a lock that all databases
of the server share.

Waits for: dagster-postgres without the NOTIFY; Dagster's own batches (DAGSTER_EVENT_BATCH_SIZE) for events of steps.
If `store_event` or what it is made of changes: `test_storage.py` fails; without this module each event is a
transaction, and has its notice.
"""

from __future__ import annotations

from threading import Lock

from dagster import DagsterEventType, EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_postgres import PostgresEventLogStorage

DETAILS = frozenset(
    {
        DagsterEventType.HANDLED_OUTPUT,
        DagsterEventType.LOADED_INPUT,
        DagsterEventType.LOGS_CAPTURED,
        DagsterEventType.RESOURCE_INIT_STARTED,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.STEP_INPUT,
        DagsterEventType.STEP_OUTPUT,
    }
)
"""Events that wait for the next one. A step's or a run's end always comes after them."""


def write_in_batches(storage: PostgresEventLogStorage) -> None:
    """Replaces `store_event`."""
    waiting: list[EventLogEntry] = []
    lock = Lock()

    def store_event(event: EventLogEntry) -> None:
        kind = event.dagster_event.event_type if event.dagster_event is not None else None
        if kind in DETAILS:
            waiting.append(event)
            return
        with lock:
            before = list(waiting)
            event_id = _insert(storage, [*before, event])
            del waiting[: len(before)]
        if event.dagster_event is None:
            return
        if kind in ASSET_EVENTS and event.dagster_event.asset_key:
            with storage.index_transaction() as connection:
                storage._store_asset_event_tags(connection, [event], [event_id])
                storage._store_asset_event(connection, event, event_id)
        if kind in ASSET_CHECK_EVENTS:
            storage.store_asset_check_event(event, event_id)

    storage.store_event = store_event  # type: ignore[method-assign]


def _insert(storage: PostgresEventLogStorage, events: list[EventLogEntry]) -> int:
    """Inserts the events in their order; the id of the last one."""
    rows = [storage._event_to_row(event) for event in events]
    identity = SqlEventLogStorageTable.c.id
    with storage._connect() as connection:
        if len(rows) == 1:
            insert = SqlEventLogStorageTable.insert().returning(identity)
            return int(connection.execute(insert, rows[0]).scalar_one())
        insert = SqlEventLogStorageTable.insert().returning(identity, sort_by_parameter_order=True)
        return int(connection.execute(insert, rows).scalars().all()[-1])
