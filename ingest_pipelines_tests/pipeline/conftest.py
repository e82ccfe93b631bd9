"""A source Postgres, a target Postgres, and an import between them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from pydantic import TypeAdapter

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import
from ingest_pipelines.merge import Target
from ingest_pipelines.model import Item, ItemKey, LoadReport, Run, Workspace
from ingest_pipelines_tests.servers import postgres

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)

CUSTOMERS: Mapping[str, Any] = {
    "table": "crm.customers",
    "key": "customer_id",
    "fields": {"customer_id": {"type": "string"}, "points": {"type": "int"}},
}


@dataclass(frozen=True)
class Shop:
    """A source and a target, each a database of its own in one server."""

    source_url: str
    target: Target
    workspace: Workspace

    def source(self, *statements: str) -> list[tuple[Any, ...]]:
        """The statements ran in the source, each committed; rows of the last one."""
        with psycopg.connect(self.source_url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement in the target."""
        with self.target.connect() as connection:
            return connection.execute(sql.SQL(statement)).fetchall()

    def profiles(self) -> dict[str, int | None]:
        """The target's rows."""
        return dict(self.query("SELECT customer_id, points FROM crm.customers"))

    def bound(self, *, timezone: str = "UTC", **source: Any) -> BoundImport:
        """An import of the source's customers; `source` is its YAML besides the connection."""
        connection = TypeAdapter[Connection](Connection).validate_python(
            postgres.connection_to(self.source_url, retries=0, timeout_seconds=10)
        )  # fmt: skip
        parsed = Import.model_validate(
            {
                "database": "customers", "source": {"connection": "shop", **source}, "timezone": timezone,
                "columns": {"id": "customer_id", "points": "points"}, "duplicates": "last",
            }
        )  # fmt: skip
        database = Database.model_validate(CUSTOMERS)
        bound, problems = bind("tills", parsed, {"shop": connection}, {"customers": database}, {})
        assert bound is not None
        assert not problems, problems
        return bound

    def drain(
        self, bound: BoundImport, run_id: str = "run-1", *, item: Item | None = None, now: datetime = NOW
    ) -> Generator[LoadReport, None, None]:
        """The chunks of one run of the import's drain."""
        item = item or Item("tills", ItemKey(f"drain-{run_id}"), "cursor", uri="postgresql://shop")
        return pipeline.drain(item, bound, self.workspace, self.target, Run(run_id), now)

    def cursor(self) -> str | None:
        """The committed cursor."""
        found = self.query("SELECT value FROM ingest.cursors")
        return found[0][0] if found else None


@pytest.fixture
def shop(postgres_url: str, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """An empty source and an empty target."""
    monkeypatch.setenv("SHOP_PW", str(urlsplit(postgres_url).password))
    with postgres.fresh_database(postgres_url) as source_url:
        yield Shop(source_url, Target(ledger_url, 5), Workspace(tmp_path / "spool", tmp_path / "spill"))
