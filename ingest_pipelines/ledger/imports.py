"""`ingest.imports` and `ingest.fields`: the mapping that locks an import, and the types of fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

ImportStatus = Literal["draft", "active", "paused"]


@dataclass(frozen=True)
class ImportState:
    """An import in the ledger.

    Attributes:
        fingerprint, mapping: {source column: [field, type]} of the first committed load; None: not locked.
        columns: every column that its committed items had; None: not known.
        status: set by `ingest activate`, `pause`, `resume`; None: the YAML's status holds.
    """

    name: str
    database: str
    fingerprint: str | None
    mapping: Mapping[str, tuple[str, str]] | None
    status: ImportStatus | None
    activated_at: datetime | None
    columns: Sequence[str] | None = None


@dataclass(frozen=True)
class RegisteredField:
    """A field of a database, with the type that it was created with."""

    database: str
    field: str
    type: str
    created_by: str
    created_at: datetime


def find_import(connection: psycopg.Connection, name: str) -> ImportState | None:
    """The import in the ledger; None before its first load or activation."""
    with connection.cursor(row_factory=class_row(ImportState)) as cursor:
        return cursor.execute(
            "SELECT name, database, fingerprint, mapping, status, activated_at, columns FROM ingest.imports"
            " WHERE name = %s",
            (name,),
        ).fetchone()


def list_imports(connection: psycopg.Connection, names: Collection[str] | None = None) -> dict[str, ImportState]:
    """Every import in the ledger, by name; with `names` those of them that it has."""
    with connection.cursor(row_factory=class_row(ImportState)) as cursor:
        states = cursor.execute(
            "SELECT name, database, fingerprint, mapping, status, activated_at, columns FROM ingest.imports"
            " WHERE %(names)s::text[] IS NULL OR name = ANY(%(names)s) ORDER BY name",
            {"names": None if names is None else sorted(names)},
        ).fetchall()
    return {state.name: state for state in states}


def import_statuses(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, ImportStatus]:
    """The status of those of the imports that have one in the ledger."""
    return dict(
        connection.execute(
            "SELECT name, status FROM ingest.imports WHERE name = ANY(%s) AND status IS NOT NULL", (list(names),)
        ).fetchall()
    )


def active_imports(connection: psycopg.Connection, names: Sequence[str]) -> set[str]:
    """Those of the imports that were activated or resumed, and not paused since."""
    active = connection.execute(
        "SELECT name FROM ingest.imports WHERE name = ANY(%s) AND status = 'active'", (list(names),)
    )
    return {name for (name,) in active}


def set_import_status(
    connection: psycopg.Connection, name: str, database: str, status: ImportStatus, now: datetime
) -> None:
    """Sets the import's status, which overrides its YAML; keeps the time of the first activation."""
    connection.execute(
        """
        INSERT INTO ingest.imports AS i (name, database, status, activated_at)
        VALUES (%(name)s, %(database)s, %(status)s, CASE WHEN %(status)s = 'active' THEN %(now)s END)
        ON CONFLICT (name) DO UPDATE
        SET status = EXCLUDED.status, database = EXCLUDED.database,
            activated_at = COALESCE(i.activated_at, EXCLUDED.activated_at)
        """,
        {"name": name, "database": database, "status": status, "now": now},
    )


def lock_mapping(
    connection: psycopg.Connection,
    name: str,
    database: str,
    fingerprint: str,
    mapping: Mapping[str, tuple[str, str]],
    now: datetime,
) -> None:
    """Locks the import to the mapping of its first committed load; an existing lock stays."""
    connection.execute(
        """
        INSERT INTO ingest.imports AS i (name, database, fingerprint, mapping, activated_at) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (name) DO UPDATE
        SET fingerprint = EXCLUDED.fingerprint, mapping = EXCLUDED.mapping, database = EXCLUDED.database,
            activated_at = COALESCE(i.activated_at, EXCLUDED.activated_at)
        WHERE i.fingerprint IS NULL
        """,
        (name, database, fingerprint, Jsonb({column: list(pair) for column, pair in mapping.items()}), now),
    )


def add_columns(connection: psycopg.Connection, name: str, columns: Sequence[str]) -> None:
    """Notes that items of the import have these columns."""
    connection.execute(
        """
        UPDATE ingest.imports
        SET columns = ARRAY(SELECT DISTINCT c FROM unnest(COALESCE(columns, '{}') || %(columns)s::text[]) c ORDER BY c)
        WHERE name = %(name)s AND NOT COALESCE(columns @> %(columns)s::text[], false)
        """,
        {"name": name, "columns": list(columns)},
    )


def unlock_mapping(connection: psycopg.Connection, name: str) -> bool:
    """Unlocks the import's mapping until its next committed load; returns whether it was locked."""
    return (
        connection.execute(
            "UPDATE ingest.imports SET fingerprint = NULL, mapping = NULL WHERE name = %s AND fingerprint IS NOT NULL",
            (name,),
        ).rowcount
        == 1
    )


def registered_fields(connection: psycopg.Connection, database: str) -> dict[str, RegisteredField]:
    """The database's fields by name, with the types they were created with."""
    with connection.cursor(row_factory=class_row(RegisteredField)) as cursor:
        fields = cursor.execute(
            "SELECT database, field, type, created_by, created_at FROM ingest.fields"
            " WHERE database = %s ORDER BY field",
            (database,),
        ).fetchall()
    return {field.field: field for field in fields}


def all_fields(connection: psycopg.Connection) -> list[RegisteredField]:
    """The fields of every database, with the types they were created with."""
    with connection.cursor(row_factory=class_row(RegisteredField)) as cursor:
        return cursor.execute(
            "SELECT database, field, type, created_by, created_at FROM ingest.fields ORDER BY database, field"
        ).fetchall()


def register_fields(
    connection: psycopg.Connection, database: str, fields: Iterable[tuple[str, str]], import_name: str, now: datetime
) -> None:
    """Registers new fields (name, type); registered ones keep their type."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO ingest.fields (database, field, type, created_by, created_at) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (database, field) DO NOTHING
            """,
            [(database, field, kind, import_name, now) for field, kind in fields],
        )
