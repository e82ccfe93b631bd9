"""PostgreSQL 18 and 15: the contract, and every type as the server spells it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ingest_pipelines.cursor.values import CursorValue
from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.sources import open_query
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.sources.landed import Landed
from ingest_pipelines_tests.sources.query_contract import (
    ROWS,
    EarlyCancelContract,
    LegalSelectContract,
    PasswordContract,
    StreamContract,
    Warehouse,
)
from ingest_pipelines_tests.sources.statements import LEGAL

CONTRACT = f"""
    CREATE TABLE contract_rows AS SELECT n AS id, 'name ' || n AS name FROM generate_series(1, {ROWS}) n;
    CREATE TABLE contract_moments AS
    SELECT n AS id, timestamp '2026-03-29 01:30' + n * interval '1 us' AS seen_at FROM generate_series(1, 4) n;
    CREATE TABLE t (id int, a text, b int, d timestamp);
    INSERT INTO t VALUES (1, 'x', 1, now()), (2, 'y', 1, now());
"""


class PostgresWarehouse(Warehouse):
    def __init__(self, url: str) -> None:
        self.url, parts = url, urlsplit(url)
        super().__init__(
            (str(parts.hostname), int(parts.port or 0)), str(parts.password), type="postgresql",
            database=parts.path[1:], username=parts.username,
        )  # fmt: skip

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(sql.SQL(statement), values or None)
            return cursor.fetchall() if cursor.description else []

    def running(self, mark: str) -> int:
        return len(
            self.execute(
                "SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE %s",
                f"%{mark}%",
            )
        )


@pytest.fixture(scope="module", params=["postgres_url", "postgres_15_url"], ids=["18", "15"])
def filled(request: pytest.FixtureRequest) -> Iterator[PostgresWarehouse]:
    with postgres.fresh_database(request.getfixturevalue(request.param)) as url:
        warehouse = PostgresWarehouse(url)
        warehouse.execute(CONTRACT)
        yield warehouse


class TestPostgresql(StreamContract, PasswordContract, EarlyCancelContract, LegalSelectContract):
    selects = LEGAL["postgres"]
    slow_query = "SELECT pg_sleep(600) AS MARK"
    unreadable = "SELECT CAST('hunter2' || id AS int) FROM contract_rows"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("smallint", {"-32768": -32768, "32767": 32767}),
        ("integer", {"-2147483648": -(2**31), "2147483647": 2**31 - 1}),
        ("bigint", {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1, "0": 0}),
        ("numeric", {"12345678901234567890123456789012345678.5": None, "0.00000000000000000001": None, "NaN": None}),
        ("numeric(38,10)", {"-9999999999999999999999999999.9999999999": None}),
        ("numeric(12,2)", {"0.10": None}),
        ("real", {"1.5": 1.5, "NaN": float("nan"), "Infinity": float("inf")}),
        ("double precision", {"1.7976931348623157e+308": 1.7976931348623157e308, "0.1": 0.1, "5e-324": 5e-324}),
        ("boolean", {"t": True, "f": False}),
        ("text", {"": None, "NULL": None, "\\N": None, "\\.": None, "a,\"b\"\r\nc": None, "Zoë 日本 \U0001f600": None}),
        ("varchar(3)", {"abc": None}),
        ("char(3)", {"ab ": None}),
        ("date", {"2026-02-28": None, "infinity": None, "0044-03-15 BC": None, "9999-12-31": None}),
        ("timestamp", {"2026-03-29 02:30:00.123456": None, "-infinity": None, "0001-01-01 00:00:00": None}),
        ("timestamptz", {"2026-03-29 02:30:00.000001Z": None, "9999-12-31 23:59:59Z": None}),
        ("time", {"23:59:59.999999": None}),
        ("timetz", {"23:59:59+02": None}),
        ("interval", {"P1Y2M3DT4H5M6S": None}),
        ("uuid", {"550e8400-e29b-41d4-a716-446655440000": None}),
        ("json", {'{"b": 1, "a": [null]}': None}),
        ("jsonb", {'{"a": "Zoë"}': None, "null": None}),
        ("bytea", {"\\x00ff": None}),
        ("inet", {"192.0.2.1": None, "2001:db8::1/64": None}),
        ("text[]", {'{a,NULL,"b,c"}': None}),
        ("int4range", {"[1,5)": None}),
        ("bit(3)", {"101": None}),
        ("money", {"$1,234.50": None}),
        ("point", {"(1.5,2)": None}),
    ],
)  # fmt: skip
def test_every_value_arrives_as_the_server_spells_it(
    landed: Landed, warehouse: PostgresWarehouse, kind: str, values: dict[str, object]
) -> None:
    warehouse.execute(f"DROP TABLE IF EXISTS one; CREATE TABLE one (n serial, v {kind})")
    for text in (*values, None):
        warehouse.execute(
            "INSERT INTO one (v) VALUES (%s)", text.removesuffix("Z") if text and "Z" in text[-1:] else text
        )
    frame = landed(warehouse.connection(), "SELECT v FROM one ORDER BY n", ["v"])
    expected = [text if value is None else value for text, value in values.items()]
    assert repr(frame["v"].to_list()) == repr([*expected, None])
    assert frame["_line"].to_list() == list(range(1, len(values) + 2))


def test_the_session_can_not_write(warehouse: PostgresWarehouse) -> None:
    warehouse.execute("CREATE SEQUENCE IF NOT EXISTS counted")
    with open_query(warehouse.connection()) as source, pytest.raises(SourceDenied, match="read-only transaction"):
        list(source.batches("SELECT nextval('counted')", {}))


def test_a_user_without_permission_is_told_so(warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.execute(
        "DO $$ BEGIN CREATE ROLE stranger LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN END $$"
    )
    monkeypatch.setenv("STRANGER_PW", "x")
    connection = warehouse.connection(username="stranger", password={"env": "STRANGER_PW"})
    with open_query(connection) as source:
        assert list(source.tables()) == []
        with pytest.raises(SourceDenied, match="permission denied for table contract_rows"):
            list(source.batches("SELECT * FROM contract_rows", {}))


@pytest.mark.parametrize(
    ("column", "marker"),
    [("'7'::xid8", 0), ("7::money", 0), ("now()", 0), ("'a'::text", 0), ("7", date(2026, 1, 1)), ("'{}'::jsonb", 0)],
)
def test_a_column_that_the_marker_cannot_be_compared_with_is_told_as_that(
    warehouse: PostgresWarehouse, column: str, marker: CursorValue
) -> None:
    query = f"SELECT 1 AS id FROM (SELECT {column} AS c) AS s WHERE c > {{lastItem}} AND 1 = 1"
    with open_query(warehouse.connection()) as source, pytest.raises(SourceDenied) as refused:
        list(source.batches(query, {"lastItem": marker}))
    assert "types do not go together; {lastItem} is what cursor.start spells: a number, a date" in refused.value.message
    assert "cast the column" in refused.value.hint
    with (
        open_query(warehouse.connection()) as source,
        pytest.raises(SourceDenied, match="function does not exist: nosuch"),
    ):
        list(source.batches("SELECT nosuch(7) AS id FROM t WHERE id > {lastItem}", {"lastItem": 0}))
    with open_query(warehouse.connection()) as source, pytest.raises(SourceDenied) as refused:
        list(source.batches("SELECT 1 AS id WHERE 7::money > 0", {}))
    assert "lastItem" not in refused.value.message
