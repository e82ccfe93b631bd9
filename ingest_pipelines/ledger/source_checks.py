"""`ingest.source_checks`: what the last look at each import's source showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

UNCHANGED = timedelta(minutes=1)
"""A look that shows the same as the one before is noted once in this time: a thousand imports look every minute."""

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
        settling: paths of files that may still be changing: when each was first seen in its present state, in ISO form;
            after a blank what is missing, of an item of several files.
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

    @property
    def since(self) -> datetime:
        """When the trouble began, of a look that failed."""
        return self.failing_since or self.checked_at


def record_success(
    connection: psycopg.Connection,
    import_name: str,
    source: str,
    now: datetime,
    settling: Mapping[str, str] | None = None,
) -> None:
    """Notes that the source answered; writes nothing where the same was noted within the last minute.

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
        WHERE c.trouble IS NOT NULL OR c.connection <> EXCLUDED.connection
           OR c.settling <> COALESCE(%(settling)s, c.settling)
           OR EXCLUDED.checked_at NOT BETWEEN c.checked_at AND c.checked_at + %(unchanged)s
        """,
        {
            "name": import_name,
            "source": source,
            "now": now,
            "settling": None if settling is None else Jsonb(dict(settling)),
            "unchanged": UNCHANGED,
        },
    )


def record_unchanged_looks(
    connection: psycopg.Connection, import_names: Sequence[str], source: str, now: datetime
) -> None:
    """`record_success` of imports whose source showed what it showed before, which nothing was settling in."""
    connection.execute(
        """
        UPDATE ingest.source_checks AS c
        SET connection = %(source)s, checked_at = %(now)s, succeeded_at = %(now)s,
            failing_since = NULL, trouble = NULL, step = '', error = '', settling = '{}'::jsonb
        WHERE c.import = ANY(%(names)s)
          AND (c.trouble IS NOT NULL OR c.connection <> %(source)s OR c.settling <> '{}'::jsonb
               OR %(now)s::timestamptz NOT BETWEEN c.checked_at AND c.checked_at + %(unchanged)s)
        """,
        {"names": list(import_names), "source": source, "now": now, "unchanged": UNCHANGED},
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
    since: datetime | None = None,
) -> None:
    """Notes that the source did not answer; keeps since when it does not, and what its last listing showed.

    Writes nothing where the same was noted within the last minute.

    Args:
        since: when the look began, if it was the first one that failed.
    """
    connection.execute(
        """
        INSERT INTO ingest.source_checks AS c (import, connection, checked_at, failing_since, trouble, step, error)
        VALUES (%(name)s, %(source)s, %(now)s, %(since)s, %(trouble)s, %(step)s, %(error)s)
        ON CONFLICT (import) DO UPDATE
        SET connection = EXCLUDED.connection, checked_at = EXCLUDED.checked_at, trouble = EXCLUDED.trouble,
            step = EXCLUDED.step, error = EXCLUDED.error,
            failing_since = CASE WHEN c.connection = EXCLUDED.connection
                                 THEN COALESCE(c.failing_since, EXCLUDED.failing_since)
                                 ELSE EXCLUDED.failing_since END
        WHERE (c.connection, c.trouble, c.step, c.error)
              IS DISTINCT FROM (EXCLUDED.connection, EXCLUDED.trouble, EXCLUDED.step, EXCLUDED.error)
           OR EXCLUDED.checked_at NOT BETWEEN c.checked_at AND c.checked_at + %(unchanged)s
        """,
        {
            "name": import_name,
            "source": source,
            "now": now,
            "since": since or now,
            "trouble": trouble,
            "step": step,
            "error": error,
            "unchanged": UNCHANGED,
        },
    )


def failing_since(connection: psycopg.Connection, source: str) -> datetime | None:
    """Since when every import of a connection fails to reach it; None: the last look of one of them succeeded."""
    row = connection.execute(
        "SELECT min(failing_since), bool_and(trouble IN ('unreachable', 'hung')) FROM ingest.source_checks"
        " WHERE connection = %s",
        [source],
    ).fetchone()
    return row[0] if row is not None and row[1] else None


def list_source_checks(connection: psycopg.Connection) -> dict[str, SourceCheck]:
    """The last look at every import's source, by import."""
    with connection.cursor(row_factory=class_row(SourceCheck)) as cursor:
        checks = cursor.execute(
            "SELECT import AS import_name, connection, checked_at, succeeded_at, failing_since, trouble, step, error,"
            " settling FROM ingest.source_checks ORDER BY import"
        ).fetchall()
    return {check.import_name: check for check in checks}
