"""A target whose ledger is up to date, and its table's content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines.ledger import migrate
from ingest_pipelines.merge import Target

Rows = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def target(database_url: str) -> Target:
    """An empty target with its ledger."""
    migrate(database_url)
    return Target(database_url, lock_timeout_seconds=5)


@pytest.fixture
def query(database_url: str) -> Rows:
    """Runs a statement of its own transaction and returns its rows."""

    def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url) as connection:
            cursor = connection.execute(sql.SQL(statement), parameters)
            return cursor.fetchall() if cursor.description else []

    return run
