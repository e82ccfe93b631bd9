"""What things are called in the target: the table, and what belongs to it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from psycopg import sql

from ingest_pipelines.config.databases import Database

PROFILE_ID = "profile_id"
"""The number every profile has besides its key."""

SUBSCRIPTIONS = "subscriptions"
KEY_SEQUENCE = "key_seq"

_LONGEST = 63
"""Bytes of a Postgres name; what is longer would be cut in silence."""


def short_name(*parts: str) -> str:
    """The parts as one name; where it is too long, its end is a hash of the whole."""
    name = "_".join(parts)
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def table_name(database: Database) -> sql.Identifier:
    """The target table, qualified."""
    return sql.Identifier(*database.schema_and_table)


def name_beside(database: Database, *parts: str) -> str:
    """The name of something that belongs to the target table: `customers_subscriptions`."""
    return short_name(database.schema_and_table[1], *parts)


def beside(database: Database, *parts: str) -> sql.Identifier:
    """The same, qualified with the table's schema."""
    return sql.Identifier(database.schema_and_table[0], name_beside(database, *parts))


def subscriptions_name(database: Database) -> sql.Identifier:
    """The table of the database's consent records."""
    return beside(database, SUBSCRIPTIONS)


def key_sequence(database: Database) -> sql.Identifier:
    """The sequence behind `key_default: sequence`."""
    return beside(database, KEY_SEQUENCE)


def version_column(import_name: str) -> str:
    """The column that remembers the version of an import's rows where no field does."""
    return short_name("_version", import_name)


def comma(columns: Iterable[str]) -> sql.Composed:
    """Column names, quoted, with commas between."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in columns)
