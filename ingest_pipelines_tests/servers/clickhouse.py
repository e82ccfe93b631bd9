"""ClickHouse: the real engine behind an HTTP front of our own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, answers

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True)
class ClickhouseServer:
    """How to log in."""

    port: int
    host: str = "127.0.0.1"
    username: str = "etl"
    password: str = "etl-secret"

    def client(self, database: str = "default") -> Client:
        """A client of the user."""
        import clickhouse_connect

        return clickhouse_connect.get_client(
            host=self.host, port=self.port, username=self.username, password=self.password, database=database
        )


@dataclass(frozen=True)
class ClickhouseDatabase:
    """An empty database that one test uses."""

    server: ClickhouseServer
    name: str

    def execute(self, *statements: str) -> None:
        """The statements ran."""
        client = self.server.client(self.name)
        for statement in statements:
            client.command(statement)
        client.close()


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The front answers."""
    server = ClickhouseServer(fleet.free_port())
    module = "ingest_pipelines_tests.servers.clickhouse_front"
    command = [sys.executable, "-m", module, str(server.port), server.username, server.password]
    process = fleet.spawn(command, folder, lambda: answers(f"http://127.0.0.1:{server.port}/ping"))
    return Launched(server, process.pid)


@contextmanager
def fresh_database(server: ClickhouseServer) -> Iterator[ClickhouseDatabase]:
    """An empty database; it is dropped after the block."""
    name = f"test_{uuid4().hex}"
    whole = ClickhouseDatabase(server, "default")
    whole.execute(f"CREATE DATABASE {name}")
    try:
        yield ClickhouseDatabase(server, name)
    finally:
        whole.execute(f"DROP DATABASE {name}")
