"""Targets for tests: databases of their own whose ledger is up to date, made from a template in a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from ingest_pipelines.ledger import migrate
from ingest_pipelines_tests.servers.postgres import fresh_database, template

Rows = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def fresh_target(admin_url: str) -> Iterator[str]:
    """The URL of a database with an empty ledger, gone after the block whoever is still connected."""
    with fresh_database(admin_url, template(admin_url, "ledger_template", migrate)) as url:
        yield url


def reader(url: str) -> Rows:
    """Runs a statement in a transaction of its own and returns its rows."""

    def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(sql.SQL(statement), parameters)
            return cursor.fetchall() if cursor.description else []

    return run
