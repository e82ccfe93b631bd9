"""Wherever a connection breaks: it is tried again, and if it keeps breaking, that is what the error says.

Every engine and store behind a proxy that cuts after so many bytes, in either direction, by FIN and by RST. The slow
tests cut at every byte of the first kilobytes, the fast ones at places that those found worth it, and at random ones.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import SourceUnavailable
from ingest_pipelines.landing import land_file
from ingest_pipelines.sources import network, open_query, sql
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.sources.contract import NetworkPlace, item_in
from ingest_pipelines_tests.sources.query_contract import Warehouse
from ingest_pipelines_tests.sources.test_azure import AzurePlace
from ingest_pipelines_tests.sources.test_clickhouse import ClickhouseWarehouse
from ingest_pipelines_tests.sources.test_gcs import GcsPlace
from ingest_pipelines_tests.sources.test_hive import HiveWarehouse
from ingest_pipelines_tests.sources.test_mssql import MssqlWarehouse
from ingest_pipelines_tests.sources.test_mysql import MysqlWarehouse
from ingest_pipelines_tests.sources.test_oracle import OracleWarehouse
from ingest_pipelines_tests.sources.test_postgresql import PostgresWarehouse
from ingest_pipelines_tests.sources.test_s3 import S3Place
from ingest_pipelines_tests.sources.test_sftp import SftpPlace
from ingest_pipelines_tests.sources.test_snowflake import SnowflakeWarehouse

EVERY = 4096
"""Bytes of each direction of a session that the slow tests cut at, one after the other."""

NUMBERS = list(range(1, 31))
CONTENT = b"id,name\n" + b"".join(b"%d,name %d\n" % (n, n) for n in range(20_000))


FOUND = {
    "postgresql": (430, 560), "hive": (400, 700), "snowflake": (300, 900), "sftp": (1, 1800, 2000),
    "s3": (100, 180, 900), "gcs": (150, 400), "clickhouse": (60, 150),
}  # fmt: skip
"""Bytes received after which a cut by FIN was something else than a broken connection, once."""


@dataclass
class Door:
    """What is behind the proxy, and how to read all of it."""

    kind: str
    address: tuple[str, int]
    read: Callable[..., object]
    whole: object
    limits: tuple[str, ...] = ("timeout_seconds",)


def _query(kind: str, warehouse: Warehouse) -> Door:
    query = warehouse.numbers(len(NUMBERS))

    def read(proxy: CutProxy, retries: int, begun: list[bool], **limits: float) -> object:
        connection = warehouse.connection(host=proxy.host, port=proxy.port, retries=retries, **limits)
        with open_query(connection) as source:
            source_tables = list(source.tables())
            assert source_tables == sorted(source_tables)
            batches = []
            for batch in source.batches(query, {}):
                begun.append(True)
                batches.append(batch)
        return sorted(int(n) for n in pa.Table.from_batches(batches).column(0).to_pylist())

    return Door(kind, warehouse.address, read, NUMBERS, ("timeout_seconds", "query_timeout_seconds"))


def _files(kind: str, place: NetworkPlace, spool: Path) -> Door:
    place.put("in/a.csv", CONTENT)
    place.put("in/b.csv", b"")

    def read(proxy: CutProxy, retries: int, begun: list[bool], timeout_seconds: float = 10) -> object:
        with place.through(proxy, timeout_seconds=timeout_seconds, retries=retries) as source:
            names = [file.path for file in source.listing().files]
            landing = land_file(item_in(source, "in/a.csv"), source, spool, Limits())
        return names, landing.path.read_bytes() == CONTENT

    return Door(kind, ("127.0.0.1", place.port()), read, (["in/a.csv", "in/b.csv"], True))


KINDS = ["postgresql", "mysql", "mssql", "oracle", "hive", "clickhouse", "snowflake", "sftp", "s3", "gcs", "azure"]
FIXTURES = {
    "postgresql": "database_url", "mysql": "mysql_database", "mssql": "mssql_database", "oracle": "oracle_schema",
    "hive": "hive_database", "clickhouse": "clickhouse_database", "snowflake": "snowflake_database",
}  # fmt: skip
WAREHOUSES: dict[str, Any] = {
    "postgresql": PostgresWarehouse, "mysql": MysqlWarehouse, "mssql": MssqlWarehouse, "oracle": OracleWarehouse,
    "hive": HiveWarehouse, "clickhouse": ClickhouseWarehouse, "snowflake": SnowflakeWarehouse,
}  # fmt: skip


@pytest.fixture(params=KINDS)
def door(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setattr(network, "FIRST_PAUSE", 0.001)
    kind = request.param
    if kind in FIXTURES:
        warehouse = WAREHOUSES[kind](request.getfixturevalue(FIXTURES[kind]))
        monkeypatch.setenv("WAREHOUSE_PW", warehouse.secrets[0])
        return _query(kind, warehouse)
    (tmp_path / "secrets").mkdir()
    if kind == "sftp":
        folder = request.getfixturevalue("sftp_folder")
        server = request.getfixturevalue("sftp_server")
        shutil.chown(folder, server.username)
        place: Any = SftpPlace(server, folder, tmp_path / "secrets")
    elif kind == "s3":
        place = S3Place(request.getfixturevalue("s3_bucket"), tmp_path / "secrets")
    elif kind == "azure":
        place = AzurePlace(request.getfixturevalue("azure_container"), tmp_path / "secrets")
    else:
        place = GcsPlace(request.getfixturevalue("gcs_bucket"))
    return _files(kind, place, tmp_path / "spool")


@pytest.fixture
def proxy(door: Door) -> Iterator[CutProxy]:
    with CutProxy(*door.address) as proxy:
        yield proxy


def _cut(door: Door, proxy: CutProxy, direction: str, place: int, *, reset: bool) -> None:
    """One cut is made up for, and a connection that is always cut there is unavailable."""
    where = f"cut after {place} bytes {direction}, {'RST' if reset else 'FIN'}"
    fault = {"received": "cut_after_received", "sent": "cut_after_sent"}[direction]
    for once in (True, False):
        proxy.break_with(Fault(**{fault: place}, reset=reset, once=once))  # type: ignore[arg-type]  # all fit
        begun: list[bool] = []
        found = _read(door, proxy, 1, begun)
        proxy.mend()
        if isinstance(found, SourceUnavailable):
            assert begun or not once, f"{where}: not tried again: {found}"
            assert found.hint, where
            assert "\n" not in found.message, where
        else:
            assert found == door.whole, where
    assert _read(door, proxy, 0, []) == door.whole, where


def _read(door: Door, proxy: CutProxy, retries: int, begun: list[bool]) -> object:
    """What is there, or the error that says that the connection broke."""
    try:
        return door.read(proxy, retries, begun)
    except SourceUnavailable as error:
        return error


def _length(door: Door, proxy: CutProxy) -> dict[str, int]:
    proxy.mend()
    sent, received = proxy.sent, proxy.received
    assert door.read(proxy, 0, []) == door.whole
    return {"sent": proxy.sent - sent, "received": proxy.received - received}


def test_wherever_a_connection_breaks_it_is_tried_again(door: Door, proxy: CutProxy) -> None:
    lengths = _length(door, proxy)
    chance = random.Random(lengths["received"])
    for number, direction in product(range(2), lengths):
        _cut(door, proxy, direction, chance.randrange(min(lengths[direction], EVERY)), reset=number == 0)
    for place in FOUND.get(door.kind, ()):
        _cut(door, proxy, "received", place, reset=False)


@pytest.mark.slow
@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
@pytest.mark.parametrize("direction", ["received", "sent"])
def test_a_cut_at_every_byte_is_tried_again(door: Door, proxy: CutProxy, direction: str, reset: bool) -> None:
    length = _length(door, proxy)[direction]
    for place in range(min(length, EVERY)):
        _cut(door, proxy, direction, place, reset=reset)
    chance = random.Random(length)
    for _ in range(20):
        _cut(door, proxy, direction, chance.randrange(length), reset=reset)


SILENCE_SECONDS = 1.0
"""The time-outs of a connection that falls silent: longer than any step of a server that does not."""


def _fall_silent(door: Door, proxy: CutProxy, place: int) -> None:
    """After so many bytes nothing more comes: the connection's own time-out says so, and the next attempt works."""
    proxy.break_with(Fault(stall_after_received=place))
    began = time.monotonic()
    try:
        found = door.read(proxy, 0, [], **dict.fromkeys(door.limits, SILENCE_SECONDS))
    except SourceUnavailable as error:
        found = error
    seconds = time.monotonic() - began
    proxy.mend()
    proxy.cut_all()
    where = f"silent after {place} bytes"
    if found == door.whole and place:  # what was missing was no row, as a server's last words are none
        return
    assert isinstance(found, SourceUnavailable), (where, found)
    assert found.hung, (where, found)
    assert found.step, (where, found)
    assert found.hint, (where, found)
    assert "\n" not in found.message, where
    assert seconds < 2 * SILENCE_SECONDS + 3 * sql.CANCEL_SECONDS, (where, seconds)


@pytest.fixture
def short_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "CANCEL_SECONDS", 1.0)


@pytest.mark.usefixtures("short_cancels")
def test_a_source_that_falls_silent_is_given_up_by_its_own_time_out(door: Door, proxy: CutProxy) -> None:
    length = _length(door, proxy)["received"]
    _fall_silent(door, proxy, length * 2 // 3)
    _fall_silent(door, proxy, length - 30)  # all rows were there, and not the server's word that they were all


@pytest.mark.usefixtures("short_cancels")
@pytest.mark.parametrize("door", ["postgresql"], indirect=True)
def test_a_server_that_does_not_say_how_a_query_ended_stops_no_other_thread(door: Door, proxy: CutProxy) -> None:
    """Libpq would wait for that with Python's own lock held: no time-out and no Ctrl-C would come through."""
    length = _length(door, proxy)["received"]
    for place in range(length - 60, length, 15):
        _fall_silent(door, proxy, place)


@pytest.mark.slow
@pytest.mark.usefixtures("short_cancels")
def test_a_source_that_falls_silent_at_any_place_is_given_up(door: Door, proxy: CutProxy) -> None:
    length = _length(door, proxy)["received"]
    for part in range(24):
        _fall_silent(door, proxy, length * part // 24)
