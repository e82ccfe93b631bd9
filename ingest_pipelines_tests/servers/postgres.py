"""Postgres 18: the embedded server, without its durability."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_pipelines import embedded
from ingest_pipelines_tests.servers.fleet import Fleet, Launched

_CREATE = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
"""Copied as files, not page by page through the log: half of the server's time, and a third of that of the drop."""


@dataclass(frozen=True)
class PostgresServer:
    """A superuser's URL of the database `postgres`."""

    url: str


def launch(fleet: Fleet, folder: Path) -> Launched:
    """Postgres accepts connections."""
    server = embedded.start(folder, durable=False)
    hash_passwords_once(server.url())
    return Launched(PostgresServer(server.url()), server.pid, group=False, stop=signal.SIGINT)


def hash_passwords_once(url: str) -> None:
    """Logins cost half of what they did: 4096 rounds of hashing guard a password that lives as long as the tests."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.info.server_version >= 160000:  # roles that tests create are cheap, too
            connection.execute("ALTER SYSTEM SET scram_iterations = 1")
            connection.execute("SELECT pg_reload_conf()")
        verifier = _scram_verifier(connection.info.password)
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(verifier)))


def _scram_verifier(password: str) -> str:
    """What Postgres stores of a password that is hashed once (RFC 5802)."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    keys = (base64.b64encode(part).decode() for part in (salt, stored, hmac.digest(salted, b"Server Key", "sha256")))
    return "SCRAM-SHA-256$1:{}${}:{}".format(*keys)


@cache
def template(admin_url: str, name: str, fill: Callable[[str], object]) -> str:
    """The name of a database to make others from, which `fill` has filled at its URL; the server's first caller asks.

    Nobody may be connected to it any more when `fill` returns.
    """
    draft = f"{name}_{uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])  # other workers wait; the session ends it
        if not admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall():
            admin.execute(_CREATE.format(sql.Identifier(draft), sql.Identifier("template0")))
            url = urlsplit(admin_url)._replace(path=f"/{draft}").geturl()
            fill(url)
            psycopg.connect(url).close()  # it leaves a cache of the catalog behind, which is copied, too: 5 ms each
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name)))
    return name


@contextmanager
def fresh_database(admin_url: str, template: str = "template0") -> Iterator[str]:
    """The URL of a database of our own, empty or as its template; it is gone after the block, whoever is connected."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(_CREATE.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def connection_to(url: str, *, password: str = "SHOP_PW", **more: Any) -> dict[str, Any]:
    """The database at the URL as a connection in connections.yaml, whose password is in that variable."""
    parts = urlsplit(url)
    return {
        "type": "postgresql", "host": parts.hostname, "port": parts.port, "database": parts.path[1:],
        "username": parts.username, "password": {"env": password}, **more,
    }  # fmt: skip


def accepts_login(url: str) -> bool:
    """Whether the server behind the URL is there and lets us in."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
