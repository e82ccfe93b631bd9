"""`ingest.events`: what changed in which profile, written with the change; for triggers downstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class Event:
    """A profile that a load created or changed.

    Attributes:
        id: grows; a reader remembers the last one it has seen.
        kind: `profile.created` or `profile.updated`.
        fields: names of the fields that changed; never their values.
        at: when its load ended.
    """

    id: int
    load: int
    import_name: str
    profile_id: int
    kind: str
    fields: Sequence[str]
    at: datetime | None


def list_events(
    connection: psycopg.Connection, *, after: int = 0, import_name: str | None = None, limit: int = 1_000
) -> list[Event]:
    """Committed events with a higher number than `after`, oldest first."""
    with connection.cursor(row_factory=class_row(Event)) as cursor:
        return cursor.execute(
            """
            SELECT e.id, e.load, l.import AS import_name, e.profile_id, e.kind, e.fields, l.finished_at AS at
            FROM ingest.events e JOIN ingest.loads l ON l.id = e.load
            WHERE e.id > %(after)s AND (%(import)s::text IS NULL OR l.import = %(import)s)
            ORDER BY e.id LIMIT %(limit)s
            """,
            {"after": after, "import": import_name, "limit": limit},
        ).fetchall()


def last_event(connection: psycopg.Connection) -> int:
    """The number of the newest event; 0 where there is none."""
    found = connection.execute("SELECT COALESCE(max(id), 0) FROM ingest.events").fetchone()
    return int(found[0]) if found else 0


def purge_events(connection: psycopg.Connection, before: datetime, imports: Sequence[str] | None = None) -> int:
    """Deletes the events of loads that started before that time, of these imports or all; the loads stay."""
    return connection.execute(
        """
        DELETE FROM ingest.events e USING ingest.loads l
        WHERE l.id = e.load AND l.started_at < %(before)s
          AND (%(imports)s::text[] IS NULL OR l.import = ANY(%(imports)s))
        """,
        {"before": before, "imports": None if imports is None else list(imports)},
    ).rowcount
