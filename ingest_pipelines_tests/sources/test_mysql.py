"""MariaDB: the contract, and every type as the server spells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.mysql_rows import split
from ingest_pipelines_tests.servers import mysql
from ingest_pipelines_tests.sources.landed import Landed
from ingest_pipelines_tests.sources.query_contract import (
    ROWS,
    EarlyCancelContract,
    LegalSelectContract,
    PasswordContract,
    StreamContract,
    Warehouse,
)
from ingest_pipelines_tests.sources.statements import LEGAL, NOT_MARIADB

CONTRACT = (
    f"CREATE TABLE contract_rows AS SELECT seq AS id, CONCAT('name ', seq) AS name FROM seq_1_to_{ROWS}",
    "CREATE TABLE contract_moments (id int, seen_at datetime(6))",
    "INSERT INTO contract_moments"
    " SELECT seq, TIMESTAMP'2026-03-29 01:30:00' + INTERVAL seq MICROSECOND FROM seq_1_to_4",
    "CREATE TABLE t (id int PRIMARY KEY, a varchar(50), b int, d datetime, FULLTEXT (a)) CHARACTER SET utf8mb4",
    "INSERT INTO t VALUES (1, 'x', 1, now()), (2, 'y', 1, now())",
)


class MysqlWarehouse(Warehouse):
    def __init__(self, database: mysql.MysqlDatabase) -> None:
        self.database, server = database, database.server
        super().__init__(
            (server.host, server.port), server.password, type="mysql", database=database.name,
            username=server.username,
        )  # fmt: skip

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        import pymysql

        server = self.database.server
        with (
            pymysql.connect(host=server.host, port=server.port, user=server.username, password=server.password) as c,
            c.cursor() as cursor,
        ):
            cursor.execute(statement)
            return list(cursor.fetchall())

    def running(self, mark: str) -> int:
        listed = self.rows("SELECT info FROM information_schema.processlist WHERE command = 'Query'")
        return sum(mark in (text or "") for (text,) in listed)


@pytest.fixture(scope="module")
def filled(mysql_server: mysql.MysqlServer) -> Iterator[MysqlWarehouse]:
    with mysql.fresh_database(mysql_server) as database:
        database.execute(*CONTRACT)
        yield MysqlWarehouse(database)


class TestMysql(StreamContract, PasswordContract, EarlyCancelContract, LegalSelectContract):
    selects = [query for query in LEGAL["mysql"] if not any(part in query for part in NOT_MARIADB)]  # noqa: RUF012
    slow_query = "SELECT SLEEP(600) AS MARK"
    unreadable = "SELECT POW(10, 400 + LENGTH('hunter2')) AS v"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("tinyint", {"-128": -128, "127": 127}),
        ("smallint", {"-32768": -32768, "32767": 32767}),
        ("mediumint", {"-8388608": -8388608, "8388607": 8388607}),
        ("int", {"-2147483648": -(2**31), "2147483647": 2**31 - 1}),
        ("tinyint unsigned", {"255": 255}),
        ("bool", {"1": 1, "0": 0}),
        ("int unsigned zerofill", {"7": 7}),
        ("bigint", {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
        ("bigint unsigned", {"18446744073709551615": 2**64 - 1}),
        ("year", {"2026": 2026}),
        ("bit(1)", {"b'1'": 1, "b'0'": 0}),
        ("bit(64)", {"b'1000000000000000000000000000000000000000000000000000000000000001'": 2**63 + 1}),
        ("decimal(12,2)", {"0.10": None, "-9999999999.99": None}),
        ("decimal(38,10)", {"9999999999999999999999999999.9999999999": None}),
        ("decimal(65,30)", {"99999999999999999999999999999999999.999999999999999999999999999999": None}),
        ("double", {"1.7976931348623157e308": 1.7976931348623157e308, "0.1": 0.1}),
        ("float", {"1.5": 1.5}),
        ("char(5)", {"'é'": "é"}),
        ("varchar(50)", {"''": "", "'Zoë 日本 \U0001f600'": "Zoë 日本 \U0001f600", "'NULL'": "NULL"}),
        ("varchar(50) character set latin1", {"'Zoë'": "Zoë"}),
        ("tinytext", {"''": "", "'x'": "x"}),
        ("varbinary(4)", {"x'00ff'": b"\x00\xff", "''": b""}),
        ("longtext", {"REPEAT('x', 300)": "x" * 300, "REPEAT('ü', 70000)": "ü" * 70000}),
        ("date", {"'9999-12-31'": "9999-12-31", "'0000-00-00'": "0000-00-00"}),
        ("datetime(6)", {"'2026-03-29 02:30:00.123456'": "2026-03-29 02:30:00.123456"}),
        ("timestamp(6) null", {"'2026-03-29 02:30:00.000001'": "2026-03-29 02:30:00.000001Z"}),
        ("time(6)", {"'-838:59:59.000000'": "-838:59:59.000000"}),
        ("enum('a','b')", {"'b'": "b"}),
        ("set('x','y')", {"'x,y'": "x,y"}),
        ("json", {'\'{"a": "Zoë"}\'': '{"a": "Zoë"}'}),
        ("blob", {"x'00ff'": b"\x00\xff"}),
        ("binary(2)", {"'ab'": b"ab"}),
        ("uuid", {"'550e8400-e29b-41d4-a716-446655440000'": "550e8400-e29b-41d4-a716-446655440000"}),
        ("inet6", {"'2001:db8::1'": "2001:db8::1"}),
    ],
)
def test_every_value_arrives_as_the_server_spells_it(
    landed: Landed, warehouse: MysqlWarehouse, kind: str, values: dict[str, object]
) -> None:
    warehouse.database.execute(
        "DROP TABLE IF EXISTS one", f"CREATE TABLE one (n serial, v {kind})",
        "INSERT INTO one (v) VALUES " + ", ".join(f"({literal})" for literal in (*values, "NULL")),
    )  # fmt: skip
    frame = landed(warehouse.connection(), "SELECT v FROM one ORDER BY n", ["v"])
    assert frame["v"].to_list() == [*(text if value is None else value for text, value in values.items()), None]


def test_the_session_can_not_write(warehouse: MysqlWarehouse) -> None:
    warehouse.database.execute("CREATE SEQUENCE IF NOT EXISTS counted")
    with open_query(warehouse.connection()) as source, pytest.raises(SourceDenied, match="READ ONLY transaction"):
        list(source.batches("SELECT NEXTVAL(counted) AS n", {}))


def test_a_server_that_does_not_escape_by_backslash_is_no_way_in(warehouse: MysqlWarehouse) -> None:
    before = warehouse.rows("SELECT @@global.sql_mode")[0][0]
    connection = warehouse.connection(options={"init_command": "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'"})
    with open_query(connection) as source:
        (batch,) = list(source.batches("SELECT {lastItem} AS v", {"lastItem": "\\' OR 1=1 -- \\"}))
    assert batch.column(0).to_pylist() == ["\\' OR 1=1 -- \\"]
    assert warehouse.rows("SELECT @@global.sql_mode")[0][0] == before


def test_a_row_of_16_mb_is_refused() -> None:
    with pytest.raises(ValueError, match="16 MB"):
        split(b"\xff\xff\xff\x01" + b"x" * 100)


def test_packets_are_split_wherever_the_network_cuts() -> None:
    buffer = b"\x02\0\0\x01\x01a" + b"\x01\0\0\x02\xfb" + b"\x05\0\0\x03\xfe\0\0\0\0"
    for cut in range(len(buffer)):
        head = split(buffer[:cut])
        rest = split(buffer[head.used :])
        assert head.end is None
        assert len(head.starts) + len(rest.starts) == 2
        assert rest.end is not None


def test_a_user_without_permission_is_told_so(warehouse: MysqlWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    server = warehouse.database.server
    monkeypatch.setenv("READER_PW", server.reader_password)
    connection = warehouse.connection(username=server.reader_username, password={"env": "READER_PW"}, retries=5)
    with pytest.raises(SourceDenied, match="Access denied"), open_query(connection):
        pass
