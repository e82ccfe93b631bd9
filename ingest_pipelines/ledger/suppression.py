"""`ingest.suppressed`: whom `ingest forget` keeps out, as keyed hashes; their owner alone reads them and the secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from ingest_pipelines.suppression import Suppressed, SuppressedEntry, SuppressionSecret


@dataclass(frozen=True)
class SuppressedPerson:
    """Somebody who was forgotten.

    Attributes:
        person: a hash of what the person was forgotten by.
        entries: how many identities are kept out.
    """

    person: bytes
    entries: int
    at: datetime


def find_suppressed(connection: psycopg.Connection, table: str) -> Suppressed:
    """Whom the table keeps out."""
    newest = newest_suppressed(connection, table)
    if not newest:  # reading this alone takes no time
        return Suppressed(table)
    row = connection.execute(  # as text, two megabytes take half as long again
        "SELECT string_agg(entry, ''::bytea), max(id) FROM ingest.suppressed WHERE table_name = %s", (table,),
        binary=True,
    ).fetchone()  # fmt: skip
    packed, newest = row or (None, 0)
    return Suppressed(table, suppression_secret(connection), bytes(packed or b""), newest or 0)


def newest_suppressed(connection: psycopg.Connection, table: str) -> int:
    """The number of the table's newest entry; 0 if it has none. Exact under the table's lock."""
    row = connection.execute(
        "SELECT id FROM ingest.suppressed WHERE table_name = %s ORDER BY id DESC LIMIT 1", (table,)
    ).fetchone()
    return int(row[0]) if row else 0


def suppression_secret(connection: psycopg.Connection) -> SuppressionSecret:
    """The secret of this installation."""
    row = connection.execute("SELECT secret FROM ingest.suppression_secret").fetchone()
    return SuppressionSecret(bytes(row[0]) if row else b"")


def add_suppressed(
    connection: psycopg.Connection, table: str, person: bytes, entries: Sequence[SuppressedEntry], now: datetime
) -> int:
    """Keeps a person out of the table; how many entries are new."""
    return connection.execute(
        """
        INSERT INTO ingest.suppressed (table_name, kind, entry, person, at)
        SELECT %s, kind, entry, %s, %s FROM unnest(%s::text[], %s::bytea[]) AS new (kind, entry)
        ON CONFLICT (table_name, entry) DO NOTHING
        """,
        (table, person, now, [entry.kind for entry in entries], [entry.packed for entry in entries]),
    ).rowcount


def suppressed_people(
    connection: psycopg.Connection, table: str, entries: Sequence[SuppressedEntry]
) -> list[SuppressedPerson]:
    """Those who have one of the entries."""
    rows = connection.execute(
        """
        SELECT person, count(*), min(at) FROM ingest.suppressed
        WHERE table_name = %(table)s AND person IN (
            SELECT person FROM ingest.suppressed WHERE table_name = %(table)s AND entry = ANY(%(entries)s::bytea[]))
        GROUP BY person ORDER BY 3, 1
        """,
        {"table": table, "entries": [entry.packed for entry in entries]},
    )
    return [SuppressedPerson(bytes(person), count, at) for person, count, at in rows]


def remove_suppressed(connection: psycopg.Connection, table: str, people: Sequence[bytes]) -> int:
    """Lets these people in again; how many entries are gone."""
    return connection.execute(
        "DELETE FROM ingest.suppressed WHERE table_name = %s AND person = ANY(%s::bytea[])", (table, list(people))
    ).rowcount
