"""Postgres 18: the embedded server, without its durability."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_pipelines import embedded
from ingest_pipelines_tests.servers.fleet import Fleet, Launched


@dataclass(frozen=True)
class PostgresServer:
    """A superuser's URL of the database `postgres`."""

    url: str


def launch(fleet: Fleet, folder: Path) -> Launched:
    """Postgres accepts connections."""
    server = embedded.start(folder, durable=False)
    return Launched(PostgresServer(server.url()), server.pid, group=False, stop=signal.SIGINT)


@contextmanager
def fresh_database(admin_url: str) -> Iterator[str]:
    """The URL of an empty database of our own; it is dropped after the block, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def accepts_login(url: str) -> bool:
    """Whether the server behind the URL is there and lets us in."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
