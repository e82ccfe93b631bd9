"""A file or a table that changes while it is read is landed as it was in one state, or refused as changed.

Files are changed after some of their bytes were read, with and without a connection that breaks there, so that the rest
is read by a second request. What an engine promises for a query is in docs/loading.md: the two real ones are tried.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pymysql
import pytest

from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import IngestError, ItemChanged, ItemGone, SourceUnavailable
from ingest_pipelines.landing import land_file
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources import csv_directory, open_files, open_query, s3, sftp_protocol
from ingest_pipelines.sources.base import FileSource
from ingest_pipelines_tests.servers import mysql
from ingest_pipelines_tests.sources.contract import item_in
from ingest_pipelines_tests.sources.test_mysql import MysqlWarehouse
from ingest_pipelines_tests.sources.test_postgresql import PostgresWarehouse
from ingest_pipelines_tests.sources.test_s3 import S3Place
from ingest_pipelines_tests.sources.test_sftp import SftpPlace

PATH = "in/a.csv"
CHUNK = 1 << 17
OLD, NEW = (b"id,state\n" + b"".join(b"%06d,%s\n" % (n, state) for n in range(100_000)) for state in (b"old", b"new"))
"""Of one size: 1 MB, four of the answers of an SFTP server."""

PLACES = (1, len(OLD) // 2, len(OLD))
"""After how many bytes the file changes; at the end they are all there, and nobody has looked whether they hold."""


@dataclass
class Vendor:
    """Where the file is, how its owner changes it, and how the product reads it."""

    open: Callable[[], FileSource]
    changes: dict[str, Callable[[], None]]
    put: Callable[[bytes], None]


class Changing:
    """A source whose file changes once so many bytes were read."""

    def __init__(self, source: FileSource, after: int, change: Callable[[], None], *, breaks: bool) -> None:
        self._source, self._after, self._change, self._breaks = source, after, change, breaks
        self.has_changed = False

    def stat(self, path: str, version: str = "") -> SourceFile:
        return self._source.stat(path, version)

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        received = offset
        for chunk in self._source.read(path, offset, version):
            received += len(chunk)
            yield chunk
            if received >= self._after and not self.has_changed:
                self.has_changed = True
                self._change()
                if self._breaks:
                    raise SourceUnavailable("the connection broke")


def _on_disk(file: Path) -> dict[str, Callable[[], None]]:
    """What a program does to a file that another one is reading."""

    def later() -> None:
        when = file.stat()
        os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns + 2_000_000_000))

    def write(content: bytes, mode: str) -> None:
        with file.open(mode) as opened:
            opened.write(content)
        later()

    def replace() -> None:
        _beside(file, NEW, time_of=None).replace(file)
        later()

    def truncate() -> None:
        os.truncate(file, len(OLD) // 3)
        later()

    return {
        "grows": lambda: write(b"99999,new\n", "ab"), "shrinks": truncate, "is touched": later,
        "is rewritten in place": lambda: write(NEW, "r+b"), "is replaced": replace, "is deleted": file.unlink,
    }  # fmt: skip


def _beside(file: Path, content: bytes, *, time_of: os.stat_result | None) -> Path:
    """A new file in the same folder, readable as the other one."""
    draft = file.with_suffix(".new")
    draft.write_bytes(content)
    shutil.chown(draft, file.stat().st_uid)
    if time_of is not None:
        os.utime(draft, ns=(time_of.st_atime_ns, time_of.st_mtime_ns))
    return draft


def _unseen_by_its_time(file: Path) -> dict[str, Callable[[], None]]:
    """Changes after which size and time are those of before: only a local disk tells more."""

    def rewrite() -> None:
        before = file.stat()
        with file.open("r+b") as opened:
            opened.write(NEW)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def replace() -> None:
        _beside(file, NEW, time_of=file.stat()).replace(file)

    return {"is rewritten, its time set back": rewrite, "is replaced by a copy with its time": replace}


@pytest.fixture(params=["disk", "sftp", "s3"])
def vendor(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    (tmp_path / "secrets").mkdir()
    for module in (csv_directory, sftp_protocol, s3):
        monkeypatch.setattr(module, "CHUNK", CHUNK)
    if request.param == "disk":
        folder = tmp_path / "uploads"
        file = folder / PATH
        file.parent.mkdir(parents=True)
        connection = CsvConnection.model_validate({"type": "csv", "directory": str(folder)})
        on_disk = {**_on_disk(file), **_unseen_by_its_time(file)}
        return Vendor(lambda: open_files(connection), on_disk, lambda content: _put(file, content))
    if request.param == "sftp":
        folder = request.getfixturevalue("sftp_folder")
        server = request.getfixturevalue("sftp_server")
        shutil.chown(folder, server.username)
        place = SftpPlace(server, folder, tmp_path / "secrets")

        def put(content: bytes) -> None:
            place.put(PATH, content)
            _put(folder / PATH, content)

        return Vendor(place.source, _on_disk(folder / PATH), put)
    bucket = S3Place(request.getfixturevalue("s3_bucket"), tmp_path / "secrets")
    objects = {"grows": OLD + b"99999,new\n", "shrinks": OLD[: len(OLD) // 3], "is replaced": NEW, "is touched": OLD}
    changes: dict[str, Callable[[], None]] = {
        name: partial(bucket.put, PATH, content) for name, content in objects.items()
    }
    changes["is deleted"] = lambda: bucket.client.delete_object(Bucket=bucket.bucket.name, Key=f"inbox/{PATH}")
    return Vendor(bucket.source, changes, lambda content: bucket.put(PATH, content))


def _put(file: Path, content: bytes) -> None:
    """A file that has been complete for an hour."""
    file.write_bytes(content)
    when = file.stat().st_mtime_ns - 3_600_000_000_000
    os.utime(file, ns=(when, when))


def test_a_file_is_landed_as_it_was_in_one_state_or_refused(vendor: Vendor, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    refused = set()
    with vendor.open() as source:
        for (name, change), after, breaks in product(vendor.changes.items(), PLACES, (False, True)):
            where = f"it {name} after {after} bytes{', where the connection breaks' if breaks else ''}"
            vendor.put(OLD)
            item = item_in(source, PATH)
            changing = Changing(source, after, change, breaks=breaks)
            try:
                landed = land_file(item, changing, spool, Limits()).path.read_bytes()
                assert landed in {OLD, NEW}, where
            except (ItemChanged, ItemGone):
                refused.add(name)
            assert changing.has_changed, where
            assert [path.name for path in spool.iterdir() if not path.name.endswith(".csv")] == [], where
    assert refused >= set(vendor.changes) - {"is touched"}


SALES = 20_000
"""Rows of the table."""


@dataclass
class Shop:
    """A table of sales, a transaction of the shop's that is open, and how the product reads the table."""

    connection: Any
    begin: Callable[[], Any]

    def execute(self, *statements: str) -> None:
        """In one transaction."""
        with closing(self.begin()) as session:
            cursor = session.cursor()
            for statement in statements:
                cursor.execute(statement)
            session.commit()


@pytest.fixture(params=["postgresql", "mysql"])
def sales(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shop:
    if request.param == "postgresql":
        url = request.getfixturevalue("database_url")
        warehouse: Any = PostgresWarehouse(url)
        monkeypatch.setenv("WAREHOUSE_PW", warehouse.secrets[0])
        shop = Shop(warehouse.connection(), lambda: psycopg.connect(url))
        numbers = f"generate_series(1, {SALES}) AS s (seq)"
    else:
        database: mysql.MysqlDatabase = request.getfixturevalue("mysql_database")
        server = database.server
        warehouse = MysqlWarehouse(database)
        monkeypatch.setenv("WAREHOUSE_PW", warehouse.secrets[0])
        shop = Shop(
            warehouse.connection(),
            lambda: pymysql.connect(
                host=server.host, port=server.port, user=server.username, password=server.password,
                database=database.name, ssl_disabled=True,
            ),
        )  # fmt: skip
        numbers = f"seq_1_to_{SALES}"
    shop.execute(
        "CREATE TABLE sales (id int PRIMARY KEY, state varchar(10), padding varchar(100))",
        f"INSERT INTO sales SELECT seq, 'old', repeat('x', 100) FROM {numbers}",
    )
    return shop


def test_a_query_reads_one_state_whatever_is_changed_deleted_and_committed_late(sales: Shop) -> None:
    with closing(sales.begin()) as late, open_query(sales.connection) as source:
        late.cursor().execute(f"INSERT INTO sales VALUES ({SALES + 1}, 'late', '')")
        parts: list[pa.RecordBatch] = []
        with closing(source.batches("SELECT id, state FROM sales", {}, batch_rows=500)) as batches:
            parts.append(next(batches))
            sales.execute(
                f"UPDATE sales SET state = 'new' WHERE id < {SALES}",
                f"DELETE FROM sales WHERE id < {SALES} AND id % 3 = 0",
                f"INSERT INTO sales SELECT id + {2 * SALES}, 'new', '' FROM sales WHERE id < {SALES} AND id % 7 = 0",
            )  # fmt: skip
            late.commit()
            parts.extend(batches)
        assert len(parts) > 2
        read = pa.Table.from_batches(parts).to_pydict()
        again = pa.Table.from_batches(list(source.batches("SELECT id, state FROM sales", {}))).to_pydict()
    assert sorted(int(number) for number in read["id"]) == list(range(1, SALES + 1))
    assert set(read["state"]) == {"old"}
    assert set(again["state"]) == {"old", "new", "late"}
    assert len(again["id"]) < len(read["id"])


WAIT_BRIEFLY = {True: "SET lock_timeout = 200", False: "SET lock_wait_timeout = 1"}
"""Of Postgres, and of MariaDB."""


def test_a_table_that_is_emptied_or_dropped_while_it_is_read_is_whole_or_an_error(sales: Shop) -> None:
    """TRUNCATE and DROP wait for the read, or end it: they never cut it short."""
    with open_query(sales.connection) as source:
        with closing(source.batches("SELECT id FROM sales", {}, batch_rows=500)) as batches:
            rows = next(batches).num_rows
            with closing(sales.begin()) as other:
                cursor = other.cursor()
                cursor.execute(WAIT_BRIEFLY[isinstance(other, psycopg.Connection)])
                try:
                    cursor.execute("TRUNCATE TABLE sales")
                    other.commit()
                except (psycopg.errors.LockNotAvailable, pymysql.err.OperationalError):
                    other.rollback()
            try:
                rows += sum(batch.num_rows for batch in batches)
            except IngestError:
                rows = SALES  # nothing is landed
        assert rows == SALES
