"""Which loads have rejects or events that are older than they are kept, and the time that this is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg
from psycopg import sql


def target_time(connection: psycopg.Connection) -> datetime:
    """The time by the target's clock."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    time: datetime = row[0]
    return time


def expired_loads(
    connection: psycopg.Connection, table: sql.Identifier, before: datetime, imports: Sequence[str] | None
) -> list[int]:
    """Loads that started before that time, of these imports or all, from the first one on that the table has rows of.

    It does not look at loads that an earlier purge dealt with, nor at those that started a day after that time. Loads
    are numbered nearly in the order in which they start; one that took a day to get its number is for the next purge.
    """
    query = sql.SQL(
        """
        WITH first AS MATERIALIZED (SELECT min(load) AS id FROM {})
        SELECT id FROM ingest.loads
        WHERE id >= (SELECT id FROM first)
          AND id < COALESCE((SELECT l.id FROM ingest.loads l
                             WHERE l.id >= (SELECT id FROM first) AND l.started_at > %(later)s ORDER BY l.id LIMIT 1),
                            %(none)s)
          AND started_at < %(before)s AND (%(imports)s::text[] IS NULL OR import = ANY(%(imports)s))
        """
    ).format(table)
    parameters = {
        "before": before,
        "later": before + timedelta(days=1),
        "none": 2**63 - 1,
        "imports": None if imports is None else list(imports),
    }
    return [int(load) for (load,) in connection.execute(query, parameters)]
