"""Debian's Redis: the broker between runs and Celery's workers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, accepts


@dataclass(frozen=True)
class RedisServer:
    """Where it is, and the password that it asks for."""

    port: int
    password: str
    host: str = "127.0.0.1"

    def url(self, database: int = 0) -> str:
        """The address of one of its 16 databases, with the password. A test that needs a queue takes one of its own."""
        return f"redis://:{self.password}@{self.host}:{self.port}/{database}"


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server accepts connections from whoever knows the password."""
    server = RedisServer(fleet.free_port(), secrets.token_hex(16))
    configuration = folder / "redis.conf"
    lines = [
        f"bind {server.host}", f"port {server.port}", f"requirepass {server.password}", f"dir {folder}",
        'save ""', "appendonly no", "databases 16",
    ]  # fmt: skip
    configuration.write_text("\n".join(lines))
    process = fleet.spawn(["redis-server", configuration], folder, lambda: accepts(server.port))
    return Launched(server, process.pid)
