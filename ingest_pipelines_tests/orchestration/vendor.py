"""A vendor that delivers to a real SFTP server, a shop's database, and the `ingest up` that loads what they have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import yaml

from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.conftest import DATABASES, IMPORT
from ingest_pipelines_tests.orchestration.served import Served, serve, wait_for
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.servers.sftp import SftpServer

KEY = ("customers", "points")
VISITS = {
    "database": "customers",
    "source": {
        "connection": "shop_db",
        "query": "SELECT who, n FROM visits WHERE at >= {windowStart} AND at < {windowEnd}",
        "window": {"every": "day", "start": "2026-01-01"},
    },
    "columns": {"who": "customer_id", "n": {"field": "visits", "type": "int"}},
}


@dataclass
class Vendor:
    """An SFTP server that delivers, the target that it is loaded into, and the `ingest up` in between.

    Attributes:
        folder: where `ingest up` runs; its state is in `state`.
    """

    home: Path
    root: Path
    folder: Path
    database_url: str
    environment: Mapping[str, str]
    _served: list[Served] = field(default_factory=list)

    @property
    def served(self) -> Served:
        """The `ingest up` that runs now."""
        return self._served[-1]

    @contextmanager
    def up(self) -> Iterator[Served]:
        """`ingest up` for the length of the block."""
        with serve(self.environment, self.folder) as served:
            self._served.append(served)
            yield served

    def deliver(self, name: str, text: str) -> Path:
        """A file, complete since an hour and a little newer than the last one."""
        folder = self.root / "points"
        path = folder / name
        draft = self.root / f".{name}"
        draft.write_text(text, encoding="utf-8")
        newest = max((file.stat().st_mtime for file in folder.glob("*")), default=0.0)
        when = max(newest + 1, (datetime.now(UTC) - timedelta(hours=1)).timestamp())
        os.utime(draft, (when, when))
        draft.rename(path)
        return path

    def write_import(self, **changes: Any) -> None:
        source = {"connection": "vendor", "file": "points/Points", "settle": "1s"}
        self.write("points", {**IMPORT, "source": source, "sensor": {"every": "5s"}, **changes})

    def write(self, name: str, spec: Mapping[str, Any]) -> None:
        """An import's YAML, whole at once: the daemon may be reading. Nothing is written that is there already."""
        text = yaml.safe_dump(dict(spec))
        path = self.home / "imports" / f"{name}.yaml"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").rename(path)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database_url) as connection:
            connection.execute(statement.encode())

    def wait_for_load(self, file: str, status: str) -> str:
        """The key of the file's item, once its last load has that status."""
        query = "SELECT item FROM ingest.loads WHERE item LIKE %s AND status = %s"
        what = f"{file} {status}"
        [(key,)] = wait_for(lambda: self._loads(query, f"%{file}%", status), what, lambda: self._told_of(file))
        return str(key)

    def _told_of(self, file: str) -> str:
        """What is known of a file that is not loaded as a test expects it."""
        loads = self._loads("SELECT status, rejected, error FROM ingest.loads WHERE item LIKE %s", f"%{file}%")
        items = self._loads("SELECT key, status FROM ingest.items WHERE key LIKE %s", f"%{file}%")
        runs = [run for key, _ in items for run in self.served.runs(key)]
        return f"loads: {loads}; items: {items}; runs: {runs}"

    def _loads(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self.rows(query, *values)
        except psycopg.errors.UndefinedTable:
            return []


@contextmanager
def vendor_of(
    folder: Path, sftp_server: SftpServer, postgres_url: str, *, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Vendor]:
    """A project of one import of files and one of windows, and databases of its own; nothing runs yet.

    Args:
        more: variables for the environment of `ingest up`.
    """
    root = Path(sftp_server.root) / uuid4().hex
    (root / "points").mkdir(parents=True)
    home = folder / "project"
    (home / "imports").mkdir(parents=True)
    connection = sftp_server.connection(root=str(root))
    (home / "databases.yaml").write_text(yaml.safe_dump(DATABASES))
    with fresh_target(postgres_url) as target, fresh_storage(postgres_url) as runs:
        parts = urlsplit(target)
        shop_db = postgres.connection_to(target)
        drops = {
            "type": "s3", "bucket": "drops", "endpoint_url": "https://s3.example.com",
            "access_key_id": {"env": "DROPS_ID"}, "secret_access_key": {"env": "DROPS_SECRET"},
        }  # fmt: skip
        house = {"type": "snowflake", "account": "acme", "user": "etl", "password": {"env": "HOUSE_PW"}}
        connections = {"vendor": connection, "shop_db": shop_db, "drops": drops, "house": house}
        (home / "connections.yaml").write_text(yaml.safe_dump({"connections": connections}))
        environment = {
            "INGEST_HOME": str(home), "INGEST_STATE": str(folder / "state"), "INGEST_DATABASE_URL": target,
            "INGEST_DAGSTER_URL": runs, "VENDOR_KEY": sftp_server.private_key,
            "SHOP_PW": str(parts.password), "DROPS_ID": "s3cret-id", "DROPS_SECRET": "s3cret-key",
            "HOUSE_PW": "s3cret-password", **more,
        }  # fmt: skip
        vendor = Vendor(home, root, folder, target, environment)
        vendor.write_import()
        vendor.write("visits", VISITS)
        yield vendor
