"""PgBouncer in transaction mode, in front of a Postgres: each transaction may get another session of the server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ingest_pipelines_tests.servers.fleet import Fleet, Launched
from ingest_pipelines_tests.servers.postgres import accepts_login


@dataclass(frozen=True)
class PgBouncer:
    """Where it listens."""

    port: int

    def url(self, behind: str) -> str:
        """The way through the pooler to the database that the URL names."""
        parts = urlsplit(behind)
        return f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{self.port}{parts.path}"


def launch_before(server_url: str, fleet: Fleet, folder: Path) -> Launched:
    """The pooler lets everybody in, and logs in to the server with the user and password of `server_url`."""
    pooler, server = PgBouncer(fleet.free_port()), urlsplit(server_url)
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"""
        [databases]
        * = host={server.hostname} port={server.port} user={server.username} password={server.password}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {pooler.port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 20
        server_login_retry = 1
        """.replace("        ", "")
    )
    configuration.chmod(0o644)
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = fleet.spawn(
        ["pgbouncer", *account, configuration], folder, lambda: accepts_login(pooler.url(server_url)),
        {"PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )  # fmt: skip
    return Launched(pooler, process.pid)
