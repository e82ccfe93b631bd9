"""`ingest.audit`: manual actions, by whom and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb


@dataclass(frozen=True)
class AuditEntry:
    """One action of a person or a daemon, such as `forced`, `unlocked`, `cursor set`, `paused`."""

    id: int
    at: datetime
    who: str
    what: str
    import_name: str | None
    item: str | None
    detail: Mapping[str, object]


def record_audit(
    connection: psycopg.Connection,
    who: str,
    what: str,
    now: datetime,
    *,
    import_name: str | None = None,
    item: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Adds an action to the audit trail. `detail` carries no row values and no secrets."""
    connection.execute(
        "INSERT INTO ingest.audit (at, who, what, import, item, detail) VALUES (%s, %s, %s, %s, %s, %s)",
        (now, who, what, import_name, item, Jsonb(dict(detail or {}))),
    )


def list_audit(
    connection: psycopg.Connection,
    *,
    import_name: str | None = None,
    since: datetime | None = None,
    last: int = 50,
) -> list[AuditEntry]:
    """The last actions, newest first; optionally only of one import, or since a time."""
    with connection.cursor(row_factory=class_row(AuditEntry)) as cursor:
        return cursor.execute(
            """
            SELECT id, at, who, what, import AS import_name, item, detail FROM ingest.audit
            WHERE (%(import)s::text IS NULL OR import = %(import)s)
              AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
            ORDER BY id DESC LIMIT %(last)s
            """,
            {"import": import_name, "since": since, "last": last},
        ).fetchall()
