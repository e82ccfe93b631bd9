"""A stand-in for Oracle: its protocol and logins are real to python-oracledb, its SQL is DuckDB's."""

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
    from oracledb import Connection


@dataclass(frozen=True)
class OracleServer:
    """Where it is, and a user who may create users."""

    port: int
    host: str = "127.0.0.1"
    service: str = "XEPDB1"
    username: str = "system"
    password: str = "system_secret"


@dataclass(frozen=True)
class OracleSchema:
    """A user, with an empty schema of the same name, of one test."""

    server: OracleServer
    username: str
    password: str

    def connect(self) -> Connection:
        """A connection of the user."""
        import oracledb

        dsn = f"{self.server.host}:{self.server.port}/{self.server.service}"
        return oracledb.connect(user=self.username, password=self.password, dsn=dsn)

    def execute(self, *statements: str) -> None:
        """The statements ran, and were committed."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The stand-in accepts connections."""
    server = OracleServer(fleet.free_port())
    module = "ingest_pipelines_tests.servers.tns.front"
    command = [sys.executable, "-m", module, str(server.port), server.service, server.username, server.password]
    process = fleet.spawn(command, folder, lambda: accepts(server.port))
    return Launched(server, process.pid)


@contextmanager
def fresh_schema(server: OracleServer) -> Iterator[OracleSchema]:
    """A user with an empty schema; both are dropped after the block."""
    schema = OracleSchema(server, f"TEST_{uuid4().hex.upper()}", uuid4().hex)
    system = OracleSchema(server, server.username, server.password)
    system.execute(f"CREATE USER {schema.username} IDENTIFIED BY {schema.password}")
    try:
        yield schema
    finally:
        system.execute(f"DROP USER {schema.username} CASCADE")
