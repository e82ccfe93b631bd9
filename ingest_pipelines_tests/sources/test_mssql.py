"""A stand-in for SQL Server that Microsoft's own driver talks to: the contract, and types.

What it does not prove: T-SQL itself, isolation, types that DuckDB lacks (`money`), Kerberos and Entra logins.
`test_drivers` goes on to a real server where it is given one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from ingest_pipelines.cursor.values import Moment
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.mssql import _braced
from ingest_pipelines_tests.servers import mssql
from ingest_pipelines_tests.sources.landed import Landed
from ingest_pipelines_tests.sources.query_contract import (
    ENDLESS,
    ROWS,
    EarlyCancelContract,
    PasswordContract,
    StreamContract,
    Warehouse,
)

CONTRACT = (
    "CREATE TABLE contract_rows (id bigint, name nvarchar(50))",
    f"INSERT INTO contract_rows SELECT i, CONCAT('name ', i) FROM range(1, {ROWS + 1}) AS r(i)",
    "CREATE TABLE contract_moments (id int, seen_at datetime2)",
    *(f"INSERT INTO contract_moments VALUES ({n}, '2026-03-29 01:30:00.00000{n}')" for n in range(1, 5)),
)


class MssqlWarehouse(Warehouse):
    def __init__(self, database: mssql.MssqlDatabase) -> None:
        self.database, server = database, database.server
        super().__init__(
            (server.host, server.port), server.password, type="mssql", database=database.name,
            username=server.username, options={"TrustServerCertificate": "yes"},
        )  # fmt: skip

    def running(self, mark: str) -> int:
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT RUNNING('{mark}') AS n")
            ((found,),) = cursor.fetchall()
        return int(found)


@pytest.fixture(scope="module")
def filled(mssql_server: mssql.MssqlServer) -> Iterator[MssqlWarehouse]:
    with mssql.fresh_database(mssql_server) as database:
        database.execute(*CONTRACT)
        yield MssqlWarehouse(database)


class TestMssql(StreamContract, PasswordContract, EarlyCancelContract):
    slow_query = ENDLESS
    unreadable = "SELECT CAST(CONCAT('hunter2', id) AS int) AS v FROM contract_rows"


LONG = "9999999999999999999999999999.9999999999"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
        ("smallint", {"-32768": -32768}),
        ("tinyint", {"255": 255}),
        ("int", {"-2147483648": -(2**31), "2147483647": 2**31 - 1}),
        ("float", {"0.25": 0.25, "-1.5": -1.5}),
        ("real", {"1.5": 1.5}),
        ("varbinary(4)", {"UNHEX('00ff')": b"\x00\xff", "UNHEX('')": b""}),
        ("datetimeoffset", {"'2026-01-01 00:00:00.000001+02:00'": datetime(2025, 12, 31, 22, 0, 0, 1, UTC)}),
        ("bit", {"1": True, "0": False}),
        ("decimal(12, 2)", {"-0.10": Decimal("-0.10")}),
        ("decimal(38, 10)", {f"'{LONG}'": Decimal(LONG)}),
        ("decimal(38, 0)", {f"'{'9' * 38}'": Decimal("9" * 38)}),
        ("nvarchar(50)", {"''": "", "N'Zoë 日本 \U0001f600'": "Zoë 日本 \U0001f600", "'007'": "007"}),
        ("date", {"'0001-01-01'": date(1, 1, 1), "'9999-12-31'": date(9999, 12, 31)}),
        ("datetime2", {"'2026-03-29 02:30:00.123456'": datetime(2026, 3, 29, 2, 30, 0, 123456)}),
        ("time", {"'23:59:59.5'": time(23, 59, 59, 500000)}),
        ("uniqueidentifier", {"'550e8400-e29b-41d4-a716-446655440000'": "550E8400-E29B-41D4-A716-446655440000"}),
    ],
)
def test_every_value_arrives_without_loss(
    landed: Landed, warehouse: MssqlWarehouse, kind: str, values: dict[str, object]
) -> None:
    warehouse.database.execute(
        "DROP TABLE IF EXISTS one", f"CREATE TABLE one (n int, v {kind})",
        *(f"INSERT INTO one VALUES ({number}, {literal})" for number, literal in enumerate((*values, "NULL"))),
    )  # fmt: skip
    frame = landed(warehouse.connection(), "SELECT v FROM one ORDER BY n", ["v"])
    assert frame["v"].to_list() == [*values.values(), None]


def test_a_cursor_finds_no_row_of_its_own_microsecond_again(warehouse: MssqlWarehouse) -> None:
    query = "SELECT seen_at FROM contract_moments WHERE seen_at > {lastItem} ORDER BY seen_at"
    with open_query(warehouse.connection()) as source:
        for microsecond, rows in ((1, 3), (4, 0)):
            after = Moment.of(datetime(2026, 3, 29, 1, 30, 0, microsecond))
            assert sum(batch.num_rows for batch in source.batches(query, {"lastItem": after})) == rows


def test_nothing_in_a_password_ends_it() -> None:
    assert _braced("p};Server=evil,{1") == "{p}};Server=evil,{1}"
