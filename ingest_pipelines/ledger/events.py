"""`ingest.events`: which profiles changed, written in the transaction of the change, for downstream triggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from ingest_pipelines.ledger.retention import expired_loads

BATCH = 10_000
"""At most this many events share a row. An event's id is its batch's id times this number, plus its position."""


@dataclass(frozen=True)
class Event:
    """A profile that a load created or changed.

    Attributes:
        id: grows in the order of commits; a reader remembers the last one it has seen.
        key: the profile's key, as text.
        kind: `profile.created`, `profile.updated` or `profile.deleted`.
        fields: names of the fields that changed, `subscription:RESOURCE.CHANNEL` for a consent record; never values.
        at: when its load ended.
    """

    id: int
    load: int
    import_name: str
    profile_id: int
    key: str
    kind: str
    fields: Sequence[str]
    at: datetime | None


def list_events(
    connection: psycopg.Connection, *, after: int = 0, import_name: str | None = None, limit: int = 1_000
) -> list[Event]:
    """Committed events with an id above `after`, oldest first."""
    with connection.cursor(row_factory=class_row(Event)) as cursor:
        return cursor.execute(
            """
            SELECT b.id * %(batch)s + e.position - 1 AS id, b.load, b.import AS import_name, e.profile_id, e.key,
                   b.kind, b.fields, b.at
            FROM (  -- no batch is empty, and the first one may have been read
                SELECT *, (SELECT l.finished_at FROM ingest.loads l WHERE l.id = load) AS at FROM ingest.event_batches
                WHERE id >= %(after)s / %(batch)s AND (%(import)s::text IS NULL OR import = %(import)s)
                ORDER BY id LIMIT %(limit)s + 1
            ) b
            CROSS JOIN LATERAL unnest(b.profiles, b.keys) WITH ORDINALITY AS e (profile_id, key, position)
            WHERE b.id * %(batch)s + e.position - 1 > %(after)s AND e.profile_id IS NOT NULL  -- else it was forgotten
            ORDER BY b.id, e.position LIMIT %(limit)s
            """,
            {"after": after, "batch": BATCH, "import": import_name, "limit": limit},
        ).fetchall()


def last_event(connection: psycopg.Connection) -> int:
    """The id of the newest event; 0 if there is none."""
    batch = connection.execute(
        "SELECT id, cardinality(profiles) FROM ingest.event_batches ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return int(batch[0]) * BATCH + int(batch[1]) - 1 if batch else 0


def purge_events(connection: psycopg.Connection, before: datetime, imports: Sequence[str] | None = None) -> int:
    """Deletes the events of loads that started before that time, of these imports or all; the loads stay.

    Returns:
        How many events were deleted.
    """
    expired = expired_loads(connection, sql.Identifier("ingest", "event_batches"), before, imports)
    deleted = connection.execute(
        """
        WITH gone AS (
            DELETE FROM ingest.event_batches WHERE load = ANY(%s) RETURNING cardinality(profiles) AS events
        ) SELECT COALESCE(sum(events), 0) FROM gone
        """,
        (expired,),
    ).fetchone()
    return int(deleted[0]) if deleted else 0
