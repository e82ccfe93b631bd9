"""fakesnow: the Snowflake connector's protocol over DuckDB. Results come in one batch; key pairs are not checked."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, answers

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection


@dataclass(frozen=True)
class SnowflakeServer:
    """How to log in. `options` are what leads the connector here instead of to snowflakecomputing.com."""

    port: int
    host: str = "127.0.0.1"
    account: str = "fakesnow"
    user: str = "etl"
    password: str = "etl-secret"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `connect` besides account, user and password."""
        return {
            "host": self.host, "port": self.port, "protocol": "http",
            "session_parameters": {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
        }  # fmt: skip


@dataclass(frozen=True)
class SnowflakeDatabase:
    """An empty database, with the schema PUBLIC, that one test uses."""

    server: SnowflakeServer
    name: str

    def connect(self) -> SnowflakeConnection:
        """A connection of the user."""
        import snowflake.connector

        return snowflake.connector.connect(
            account=self.server.account, user=self.server.user, password=self.server.password,
            database=self.name, schema="PUBLIC", platform_detection_timeout_seconds=0.0, **self.server.options,
        )  # fmt: skip

    def execute(self, *statements: str) -> None:
        """The statements ran, and were committed."""
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.cursor().execute(statement)


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server answers."""
    server = SnowflakeServer(fleet.free_port())
    module = "ingest_pipelines_tests.servers.snowflake_front"
    command = [sys.executable, "-m", module, str(server.port), server.user, server.password]
    process = fleet.spawn(command, folder, lambda: answers(f"http://127.0.0.1:{server.port}/"))
    return Launched(server, process.pid)


def fresh_database(server: SnowflakeServer) -> SnowflakeDatabase:
    """An empty database. It is gone when the server is: fakesnow cannot drop one."""
    database = SnowflakeDatabase(server, f"TEST_{uuid4().hex.upper()}")
    database.execute("SELECT 1")  # fakesnow makes a database when somebody connects to it
    return database
