"""Targets for tests: databases of their own whose ledger is up to date, made from a template in a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_pipelines.ledger import migrate

Rows = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def ledger_template(admin_url: str) -> Iterator[str]:
    """The name of a database with an empty ledger, to make others from."""
    name = f"ledger_{uuid4().hex}"
    with _database(admin_url, name, "template0") as url:
        migrate(url)
        yield name


@contextmanager
def fresh_target(admin_url: str, template: str) -> Iterator[str]:
    """The URL of a database with an empty ledger, gone after the block whoever is still connected."""
    with _database(admin_url, f"target_{uuid4().hex}", template) as url:
        yield url


@contextmanager
def _database(admin_url: str, name: str, template: str) -> Iterator[str]:
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(create)
        try:
            yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def reader(url: str) -> Rows:
    """Runs a statement in a transaction of its own and returns its rows."""

    def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(sql.SQL(statement), parameters)
            return cursor.fetchall() if cursor.description else []

    return run
