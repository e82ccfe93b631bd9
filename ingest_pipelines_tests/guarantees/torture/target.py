"""The Postgres of a torture: its own, since its sessions are ended, its backends killed and its postmaster too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from ingest_pipelines import embedded
from ingest_pipelines.ledger import migrate
from ingest_pipelines_tests.servers import postgres, postgres_debian
from ingest_pipelines_tests.servers.fleet import Fleet


class TargetServer:
    """A Postgres that nobody else uses.

    Attributes:
        version: its major version.
        can_restart: whether its postmaster may be killed: `restart` starts it again.
    """

    def __init__(self, admin_url: str, version: int, folder: Path | None = None) -> None:
        self.admin_url, self.version = admin_url, version
        self._folder = folder
        self.can_restart = folder is not None

    def url(self, database: str) -> str:
        return urlsplit(self.admin_url)._replace(path=f"/{database}").geturl()

    def end_sessions(self, database: str) -> int:
        """Every session of the database is terminated; how many there were."""
        return len(self._backends(database, "pg_terminate_backend(pid)::int"))

    def kill_backend(self, database: str) -> bool:
        """One backend of the database gets SIGKILL: all sessions end and the server recovers. Whether there was one."""
        found = self._backends(database, "pid")
        if found:
            with suppress(ProcessLookupError):
                os.kill(found[0], signal.SIGKILL)
        return bool(found)

    def kill_postmaster(self) -> None:
        """The server is gone, without a word."""
        assert self._folder is not None
        pid = int((self._folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGKILL)

    def restart(self) -> None:
        """The server runs, on the same port."""
        if self._folder is not None:
            url = embedded.start(self._folder, durable=False).url()
            assert url == self.admin_url, "the server came back at another address"

    def _backends(self, database: str, what: str) -> list[int]:
        query = sql.SQL("SELECT {} FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'")
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            return [int(row[0]) for row in admin.execute(query.format(sql.SQL(what)), [database])]


@contextmanager
def postgres_18(folder: Path, port: int) -> Iterator[TargetServer]:
    """The embedded server, with its data below the folder; on a port that no other one takes while it is down."""
    embedded.start(folder, durable=False).stop()
    (folder / "postgres" / "port").write_text(str(port))
    server = embedded.start(folder, durable=False)
    try:
        yield TargetServer(server.url(), 18, folder)
    finally:
        embedded.stop(folder)


def postgres_15(fleet: Fleet) -> TargetServer:
    """Debian's PostgreSQL 15 of a fleet that nobody else uses; its postmaster is left alone."""
    return TargetServer(fleet.ask("postgres-15", postgres.PostgresServer, postgres_debian.launch).url, 15)


@contextmanager
def fresh_target(server: TargetServer) -> Iterator[str]:
    """The name of a database with an empty ledger. What it says is committed survives the death of its server."""
    name = f"tortured_{uuid4().hex}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
        # The servers of tests write nothing to disk in time; a process's death does not need the disk, only the write.
        admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = 'local'").format(identifier))
    migrate(server.url(name))
    try:
        yield name
    finally:
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
