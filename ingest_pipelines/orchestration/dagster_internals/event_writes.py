"""An event is written by one statement: without the notice after it, for which nothing listens any more.

Dagster's storage follows each event with a NOTIFY, "preserved to support version skew": a process of a version that is
years old would listen. Each is a statement and a transaction of its own, which takes a lock that all databases of the
server share: 46 in a run of ten rows.

Waits for: dagster-postgres without the NOTIFY.
If `store_event` or what it is made of changes: `test_storage.py` fails; without this module events have their notice.
"""

from __future__ import annotations

from dagster import EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_postgres import PostgresEventLogStorage


def write_without_notice(storage: PostgresEventLogStorage) -> None:
    """Replaces `store_event`."""

    def store_event(event: EventLogEntry) -> None:
        insert = storage.prepare_insert_event(event).returning(SqlEventLogStorageTable.c.id)
        with storage._connect() as connection:
            event_id = int(connection.execute(insert).scalar_one())
        if event.dagster_event is None:
            return
        kind = event.dagster_event.event_type
        if kind in ASSET_EVENTS and event.dagster_event.asset_key:
            with storage.index_transaction() as connection:
                storage._store_asset_event_tags(connection, [event], [event_id])
                storage._store_asset_event(connection, event, event_id)
        if kind in ASSET_CHECK_EVENTS:
            storage.store_asset_check_event(event, event_id)

    storage.store_event = store_event  # type: ignore[method-assign]
