"""Targets for tests: databases of their own whose ledger is up to date, made from a template in a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_pipelines.ledger import migrate
from ingest_pipelines_tests.servers.postgres import CREATE_DATABASE

Rows = Callable[..., list[tuple[Any, ...]]]


@cache
def ledger_template(admin_url: str) -> str:
    """The name of a database with an empty ledger, to make others from; the server's first caller makes it."""
    name, draft = "ledger_template", f"ledger_{uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(hashtext('ledger_template'))")  # other workers wait; the session ends it
        if not admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall():
            admin.execute(CREATE_DATABASE.format(sql.Identifier(draft), sql.Identifier("template0")))
            migrate(urlsplit(admin_url)._replace(path=f"/{draft}").geturl())
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name)))
    return name


@contextmanager
def fresh_target(admin_url: str) -> Iterator[str]:
    """The URL of a database with an empty ledger, gone after the block whoever is still connected."""
    template, name = ledger_template(admin_url), f"target_{uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(CREATE_DATABASE.format(sql.Identifier(name), sql.Identifier(template)))
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
