"""`ingest.source_checks`: what the last look at each import's source showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

SourceTrouble = Literal["unreachable", "hung", "denied"]


@dataclass(frozen=True)
class SourceCheck:
    """The last look at an import's source.

    Attributes:
        connection: the name of the import's connection.
        succeeded_at: when the source last answered; None: never.
        failing_since: the first failed look since it last answered; None: the last look succeeded.
        trouble: what is wrong; None: nothing.
        step: what failed: `connect`, `login`, `list`, `read` ...
        error: the message, without a row's value, a secret or the server's words.
        settling: paths of files that may still be changing: when each was first seen in its present state, in ISO form.
    """

    import_name: str
    connection: str
    checked_at: datetime
    succeeded_at: datetime | None = None
    failing_since: datetime | None = None
    trouble: SourceTrouble | None = None
    step: str = ""
    error: str = ""
    settling: Mapping[str, str] = field(default_factory=dict)


def record_success(
    connection: psycopg.Connection,
    import_name: str,
    source: str,
    now: datetime,
    settling: Mapping[str, str] | None = None,
) -> None:
    """Notes that the source answered.

    Args:
        source: the name of the import's connection.
        settling: None: unknown, what was noted before stays.
    """
    connection.execute(
        """
        INSERT INTO ingest.source_checks AS c (import, connection, checked_at, succeeded_at, settling)
        VALUES (%(name)s, %(source)s, %(now)s, %(now)s, COALESCE(%(settling)s, '{}'::jsonb))
        ON CONFLICT (import) DO UPDATE
        SET connection = EXCLUDED.connection, checked_at = EXCLUDED.checked_at, succeeded_at = EXCLUDED.succeeded_at,
            failing_since = NULL, trouble = NULL, step = '', error = '', settling = COALESCE(%(settling)s, c.settling)
        """,
        {
            "name": import_name,
            "source": source,
            "now": now,
            "settling": None if settling is None else Jsonb(dict(settling)),
        },
    )


def record_trouble(
    connection: psycopg.Connection,
    import_name: str,
    source: str,
    now: datetime,
    trouble: SourceTrouble,
    *,
    step: str,
    error: str,
) -> None:
    """Notes that the source did not answer; keeps since when it does not."""
    connection.execute(
        """
        INSERT INTO ingest.source_checks AS c (import, connection, checked_at, failing_since, trouble, step, error)
        VALUES (%(name)s, %(source)s, %(now)s, %(now)s, %(trouble)s, %(step)s, %(error)s)
        ON CONFLICT (import) DO UPDATE
        SET connection = EXCLUDED.connection, checked_at = EXCLUDED.checked_at, trouble = EXCLUDED.trouble,
            step = EXCLUDED.step, error = EXCLUDED.error,
            failing_since = CASE WHEN c.connection = EXCLUDED.connection
                                 THEN COALESCE(c.failing_since, EXCLUDED.failing_since)
                                 ELSE EXCLUDED.failing_since END
        """,
        {"name": import_name, "source": source, "now": now, "trouble": trouble, "step": step, "error": error},
    )


def list_source_checks(connection: psycopg.Connection) -> dict[str, SourceCheck]:
    """The last look at every import's source, by import."""
    with connection.cursor(row_factory=class_row(SourceCheck)) as cursor:
        checks = cursor.execute(
            "SELECT import AS import_name, connection, checked_at, succeeded_at, failing_since, trouble, step, error,"
            " settling FROM ingest.source_checks ORDER BY import"
        ).fetchall()
    return {check.import_name: check for check in checks}
