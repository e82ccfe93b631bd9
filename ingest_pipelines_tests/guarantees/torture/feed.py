"""What is delivered: rows of a small town with some bad ones, as a CSV file or as new rows of a source's table."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from pydantic import TypeAdapter

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines_tests.guarantees.world import CONSENT, CONTACT, Row
from ingest_pipelines_tests.merge.deliveries import COLUMNS, CUSTOMERS

PASSWORD = "TORTURED_SOURCE_PW"
TOWN = 60
CHUNK = 7
"""The query's LIMIT: a drain has several chunks."""

QUERY = (
    'SELECT id, cid AS "CID", tier AS "Tier", points AS "Points", contact AS "Contact" FROM feed'
    f" WHERE id > {{lastItem}} ORDER BY id LIMIT {CHUNK}"
)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Line:
    """A row as it is delivered: `good` is None where a rule rejects it."""

    cells: tuple[str, str, str, str]
    good: Row | None


def random_lines(chance: random.Random, *, contacts: bool) -> list[Line]:
    """Between 1 and 40 customers, each once, some of them with points that are no number."""
    lines = []
    for number in chance.sample(range(TOWN), chance.randrange(1, 41)):
        customer = f"c{number}"
        tier = chance.choice([None, "Gold", "Silver"])
        points = chance.choice([None, 1, 2, 3])
        contact = chance.choice([None, f"{number}@example.com"]) if contacts else None
        if chance.random() < 0.1:
            lines.append(Line((customer, tier or "", "many", contact or ""), None))
        else:
            cells = (customer, tier or "", "" if points is None else str(points), contact or "")
            lines.append(Line(cells, (customer, tier, points, contact)))
    return lines


def write_file(folder: Path, number: int, lines: Sequence[Line]) -> Item:
    """The lines as the import's n-th file, an hour younger than the one before; its item."""
    path = folder / f"Loyalty_{number}.csv"
    header = ("CID", "Tier", "Points", CONTACT)
    path.write_text("".join(",".join(cells) + "\n" for cells in (header, *(line.cells for line in lines))))
    modified = FIRST + timedelta(hours=number)
    os.utime(path, (modified.timestamp(),) * 2)
    return Item(
        "loyalty", ItemKey(f"loyalty-{number}"), "file", uri=f"file:///{path.name}", path=path.name,
        size=path.stat().st_size, modified_at=modified, serial=number,
    )  # fmt: skip


def create_table(source_url: str) -> None:
    """The source's table, empty."""
    with psycopg.connect(source_url) as connection:
        connection.execute(
            "CREATE TABLE feed (id bigserial PRIMARY KEY, cid text, tier text, points text, contact text)"
        )


def insert_rows(source_url: str, lines: Sequence[Line]) -> int:
    """The lines are the newest rows of the source's table; the largest id before them."""
    with psycopg.connect(source_url) as connection:
        row = connection.execute("SELECT coalesce(max(id), 0) FROM feed").fetchone()
        assert row is not None
        values = [tuple(cell or None for cell in line.cells) for line in lines]
        connection.cursor().executemany("INSERT INTO feed (cid, tier, points, contact) VALUES (%s, %s, %s, %s)", values)
    return int(row[0])


def drain_item(number: int) -> Item:
    """The n-th drain of the cursor."""
    return Item("loyalty", ItemKey(f"drain-{number}"), "cursor", uri="postgresql://shop/feed")


def import_of(connection: Mapping[str, Any], *, contacts: bool, cursor: bool = False, **spec: Any) -> BoundImport:
    """The import `loyalty` over the connection, with a consent per contact; `spec` overrides its YAML."""
    source: dict[str, Any] = {"connection": "vendor"}
    if cursor:
        source |= {"query": QUERY, "cursor": {"column": "id", "start": 0}}
    parsed = Import.model_validate(
        {
            "database": "customers", "source": source, "columns": COLUMNS, "rejects": {"unlimited": True},
            "shrink": {"min_percent": 0}, "subscriptions": [CONSENT] if contacts else [], **spec,
        }
    )  # fmt: skip
    known = {"vendor": TypeAdapter[Connection](Connection).validate_python(dict(connection))}
    bound, problems = bind("loyalty", parsed, known, {"customers": Database.model_validate(CUSTOMERS)}, {})
    assert bound is not None
    assert not problems, problems
    return bound


def shop_connection(source_url: str, port: int) -> dict[str, Any]:
    """The YAML of a connection to the source, through the proxy; PASSWORD is the variable of its password."""
    parts = urlsplit(source_url)
    os.environ[PASSWORD] = str(parts.password)
    return {
        "type": "postgresql", "host": "127.0.0.1", "port": port, "database": parts.path[1:],
        "username": parts.username, "password": {"env": PASSWORD}, "retries": 0, "timeout_seconds": 10,
    }  # fmt: skip
