"""Names in the target: the table, and what belongs to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.table_names import HISTORY, KEY_SEQUENCE, PROFILE_ID, SUBSCRIPTIONS, short_name

__all__ = [
    "CHANGED_AT",
    "HISTORY",
    "KEY_SEQUENCE",
    "PROFILE_ID",
    "SUBSCRIPTIONS",
    "beside",
    "comma",
    "history_name",
    "key_sequence",
    "name_beside",
    "short_name",
    "subscriptions_name",
    "table_name",
    "version_column",
]


CHANGED_AT = "_changed_at"
"""The column of a table with a history that says since when a profile is as it is: when a load last wrote it."""


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


def history_name(database: Database) -> sql.Identifier:
    """The table of the old values of the database's profiles."""
    return beside(database, HISTORY)


def key_sequence(database: Database) -> sql.Identifier:
    """The sequence behind `key_default: sequence`."""
    return beside(database, KEY_SEQUENCE)


def version_column(import_name: str) -> str:
    """The column that keeps the version of an import's rows if no field does."""
    return short_name("_version", import_name)


def comma(columns: Iterable[str]) -> sql.Composed:
    """Column names, quoted, with commas between."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in columns)
