"""A stand-in for Oracle that python-oracledb's thin mode talks to: the contract, and types.

What it does not prove: Oracle's SQL, isolation, NUMBER without a precision, LOBs, named time zones, and that Oracle
refuses to write when asked to. Of `TIMESTAMP WITH TIME ZONE` it shows that we ask for UTC, not what Oracle answers.
`test_drivers` goes on to a real server where it is given one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import oracledb
import pytest

from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.oracle import spelled
from ingest_pipelines_tests.servers import oracle
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
    "CREATE TABLE contract_rows (id NUMBER(10), name VARCHAR2(50))",
    f"INSERT INTO contract_rows SELECT i, 'name ' || i FROM range(1, {ROWS + 1}) t(i)",
    "CREATE TABLE contract_moments (id NUMBER(10), seen_at TIMESTAMP)",
    *(
        f"INSERT INTO contract_moments VALUES ({n}, TIMESTAMP '2026-03-29 01:30:00.00000{n}')"
        for n in range(1, 5)
    ),
)  # fmt: skip


class OracleWarehouse(Warehouse):
    one_row = "FROM dual"

    def __init__(self, schema: oracle.OracleSchema) -> None:
        self.schema, server = schema, schema.server
        super().__init__(
            (server.host, server.port), schema.password, type="oracle", database=server.service,
            username=schema.username,
        )  # fmt: skip

    def running(self, mark: str) -> int:
        with closing(self.schema.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT RUNNING('{mark}') AS n FROM dual")
            ((found,),) = cursor.fetchall()
        return int(found)


@pytest.fixture(scope="module")
def filled(oracle_server: oracle.OracleServer) -> Iterator[OracleWarehouse]:
    with oracle.fresh_schema(oracle_server) as schema:
        schema.execute(*CONTRACT)
        yield OracleWarehouse(schema)


class TestOracle(StreamContract, PasswordContract, EarlyCancelContract):
    slow_query = ENDLESS
    unreadable = "SELECT CAST('hunter2' || id AS NUMBER) AS v FROM contract_rows"
    missing = "table or view does not exist"


LONG = "9999999999999999999999999999.9999999999"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("NUMBER(18)", {"-999999999999999999": -999999999999999999}),
        ("NUMBER(38)", {"9" * 38: Decimal("9" * 38)}),
        ("NUMBER(12, 2)", {"-0.10": Decimal("-0.10")}),
        ("NUMBER(38, 10)", {LONG: Decimal(LONG)}),
        ("BINARY_DOUBLE", {"0.1": 0.1, "-1.5": -1.5}),
        ("VARCHAR2(50)", {"'Zoë 日本 \U0001f600'": "Zoë 日本 \U0001f600", "'007'": "007"}),
        ("DATE", {"DATE '2026-02-28'": datetime(2026, 2, 28)}),
        ("RAW(4)", {"HEXTORAW('00FF')": b"\x00\xff"}),
        (
            "TIMESTAMP WITH TIME ZONE",
            {"'2026-01-01 00:00:00+02:00'": datetime(2025, 12, 31, 22, tzinfo=UTC)},
        ),
        ("TIMESTAMP", {"TIMESTAMP '2026-03-29 02:30:00.123456'": datetime(2026, 3, 29, 2, 30, 0, 123456)}),
    ],
)
def test_every_value_arrives_without_loss(
    landed: Landed, warehouse: OracleWarehouse, kind: str, values: dict[str, object]
) -> None:
    warehouse.schema.execute(
        "DROP TABLE IF EXISTS one", f"CREATE TABLE one (n NUMBER(10), v {kind})",
        *(f"INSERT INTO one VALUES ({number}, {literal})" for number, literal in enumerate((*values, "NULL"))),
    )  # fmt: skip
    frame = landed(warehouse.connection(), "SELECT v FROM one ORDER BY n", ["v"])
    assert frame["v"].to_list() == [*values.values(), None]


def test_what_arrow_would_round_is_spelled_by_the_server() -> None:
    columns = [
        ("ID", "DB_TYPE_NUMBER", 0), ("AMOUNT", "DB_TYPE_NUMBER", 12), ("SEEN", "DB_TYPE_TIMESTAMP_TZ", None),
        ("Doc", "DB_TYPE_JSON", None),
    ]  # fmt: skip
    assert spelled("SELECT * FROM t -- all", columns) == (
        'SELECT TO_CHAR("ID", \'TM9\') AS "ID", "AMOUNT", SYS_EXTRACT_UTC("SEEN") AS "SEEN", '
        'JSON_SERIALIZE("Doc" RETURNING CLOB) AS "Doc" FROM (\nSELECT * FROM t -- all\n)'
    )
    assert spelled("SELECT 1", [("ONE", "DB_TYPE_NUMBER", 10)]) == "SELECT 1"


def test_every_query_runs_in_a_read_only_transaction(warehouse: OracleWarehouse) -> None:
    """That it is asked for in time, each time. The refusal below is the stand-in's own; Oracle's is the real one."""
    with open_query(warehouse.connection()) as source:
        for _ in range(2):
            (batch,) = source.batches("SELECT SYS_CONTEXT('STAND_IN', 'TRANSACTION') AS v FROM dual", {})
            assert batch.column(0).to_pylist() == ["READ ONLY"]
    warehouse.schema.execute("DROP TABLE IF EXISTS kept", "CREATE TABLE kept (n NUMBER(10))")
    with pytest.raises(oracledb.DatabaseError, match="ORA-01456"):
        warehouse.schema.execute("SET TRANSACTION READ ONLY", "INSERT INTO kept VALUES (1)")
    warehouse.schema.execute("INSERT INTO kept VALUES (1)")


def test_an_unknown_service_is_told_so(warehouse: OracleWarehouse) -> None:
    with (
        pytest.raises(SourceDenied, match="does not know the service"),
        open_query(warehouse.connection(database="NO")),
    ):
        pass
