"""A stand-in for SQL Server: its protocol, TLS and logins are real to drivers, its SQL is DuckDB's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, accepts

if TYPE_CHECKING:
    from mssql_python import Connection


@dataclass(frozen=True)
class MssqlServer:
    """How to log in. Its certificate is its own: a client has to trust it, or not ask."""

    port: int
    host: str = "127.0.0.1"
    username: str = "etl"
    password: str = "etl-Secret1!"


@dataclass(frozen=True)
class MssqlDatabase:
    """An empty database, with the schema dbo, that one test uses."""

    server: MssqlServer
    name: str

    def connect(self) -> Connection:
        """A connection of the user, with TLS."""
        import mssql_python

        return mssql_python.connect(
            f"Server={self.server.host},{self.server.port};Database={self.name};UID={self.server.username};"
            f"PWD={self.server.password};Encrypt=yes;TrustServerCertificate=yes",
            autocommit=True,
        )

    def execute(self, *statements: str) -> None:
        """The statements ran, and were committed."""
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.execute(statement)


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The stand-in accepts connections."""
    server = MssqlServer(fleet.free_port())
    module = "ingest_pipelines_tests.servers.tds.front"
    command = [sys.executable, "-m", module, str(server.port), server.username, server.password]
    process = fleet.spawn(command, folder, lambda: accepts(server.port))
    return Launched(server, process.pid)


@contextmanager
def fresh_database(server: MssqlServer) -> Iterator[MssqlDatabase]:
    """An empty database; it is dropped after the block."""
    name = f"test_{uuid4().hex}"
    whole = MssqlDatabase(server, "master")
    whole.execute(f"CREATE DATABASE {name}")
    try:
        yield MssqlDatabase(server, name)
    finally:
        whole.execute(f"DROP DATABASE {name}")
