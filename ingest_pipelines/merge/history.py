"""The past of profiles, for a database with `history: true`: what loads have changed, and what was known on a day.

Each change of a profile by a load is a row of `TABLE_history`: the old values of the fields that changed, and the time
in which the profile was so. The load's own MERGE writes it (`statements`). What a profile was like at a time is what it
is now, with the old values of all later changes put back, the earliest last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from ingest_pipelines.config.databases import Database
from ingest_pipelines.merge.names import CHANGED_AT, PROFILE_ID, history_name, table_name


@dataclass(frozen=True)
class PastValues:
    """A profile before a load changed it.

    Attributes:
        valid_from: of the profile as it was then; a field may have had its value for longer.
        old: the fields that the load changed.
    """

    valid_from: datetime | None
    valid_to: datetime
    old: Mapping[str, Any]


def has_history(connection: psycopg.Connection, database: Database) -> bool:
    """Whether a load has made the table of old values."""
    row = connection.execute("SELECT to_regclass(%s)", (history_name(database).as_string(),)).fetchone()
    return row is not None and row[0] is not None


def list_history(connection: psycopg.Connection, database: Database, key: str, limit: int) -> list[PastValues]:
    """The profile's changes, newest first; none for a key that no profile has."""
    query = sql.SQL(
        "SELECT h.valid_from, h.valid_to, h.old::text FROM {} h JOIN {} t ON t.{} = h.profile_id"
        " WHERE t.{} = %s ORDER BY h.valid_to DESC LIMIT %s"
    ).format(
        history_name(database), table_name(database), sql.Identifier(PROFILE_ID), sql.Identifier(database.key)
    )  # fmt: skip
    return [
        PastValues(valid_from, valid_to, _values(old))
        for valid_from, valid_to, old in connection.execute(query, (key, limit))
    ]


def profile_at(connection: psycopg.Connection, database: Database, key: str, at: datetime) -> dict[str, Any] | None:
    """The profile as it was at that time, by field; None if it was not there, or nothing is known of that time."""
    query = sql.SQL(
        """
        SELECT ((to_jsonb(t) || COALESCE(h.old, '{{}}')) - ARRAY[{profile_id}, {changed_at}]::text[])::text
        FROM {table} t CROSS JOIN LATERAL (
            SELECT jsonb_object_agg(o.key, o.value ORDER BY c.valid_to DESC) FILTER (WHERE o.key IS NOT NULL) AS old,
                   (array_agg(c.valid_from ORDER BY c.valid_to))[1] AS valid_from, count(*) AS changes
            FROM {history} c LEFT JOIN LATERAL jsonb_each(c.old) o ON true
            WHERE c.profile_id = t.{profile} AND c.valid_to > %(at)s
        ) h
        WHERE t.{key} = %(key)s
          AND COALESCE(CASE WHEN h.changes > 0 THEN h.valid_from ELSE t.{since} END <= %(at)s, true)
        """
    ).format(
        profile_id=sql.Literal(PROFILE_ID), changed_at=sql.Literal(CHANGED_AT), table=table_name(database),
        history=history_name(database), profile=sql.Identifier(PROFILE_ID), key=sql.Identifier(database.key),
        since=sql.Identifier(CHANGED_AT),
    )  # fmt: skip
    row = connection.execute(query, {"key": key, "at": at}).fetchone()
    return None if row is None else _values(row[0])


def _values(text: str) -> dict[str, Any]:
    """The values with exact decimals."""
    values: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return values


def purge_history(connection: psycopg.Connection, database: Database, before: datetime) -> int:
    """Deletes old values that were replaced before that time; returns how many changes were forgotten."""
    if not has_history(connection, database):
        return 0
    return connection.execute(
        sql.SQL("DELETE FROM {} WHERE valid_to < %s").format(history_name(database)), (before,)
    ).rowcount
