"""ClickHouse's engine behind an HTTP front: the contract, and every type without loss.

What the front does not prove: the native protocol, TLS, errors within a result, clusters, and that a server ends a
query whose client is gone; that it kills the one we name is the engine's own doing.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from ingest_pipelines.cursor.values import parse_cursor
from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.clickhouse import _marker
from ingest_pipelines_tests.servers import clickhouse
from ingest_pipelines_tests.sources.landed import Landed
from ingest_pipelines_tests.sources.query_contract import (
    ROWS,
    EarlyCancelContract,
    LegalSelectContract,
    PasswordContract,
    QueryContract,
    Warehouse,
)
from ingest_pipelines_tests.sources.statements import LEGAL, NOT_EMBEDDED

LONG = "9999999999999999999999999999.9999999999"

CONTRACT = (
    "CREATE TABLE contract_rows (id Int64, name String) ENGINE = MergeTree ORDER BY id",
    f"INSERT INTO contract_rows SELECT number + 1, concat('name ', toString(number + 1)) FROM numbers({ROWS})",
    "CREATE TABLE contract_moments (id Int32, seen_at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO contract_moments SELECT number, addMicroseconds(toDateTime64('2026-03-29 01:30:00', 6, 'UTC'), number)"
    " FROM numbers(1, 4)",
    "CREATE TABLE t (id Int32, a String, b Int32, d DateTime) ENGINE = ReplacingMergeTree ORDER BY id",
    "INSERT INTO t VALUES (1, 'x', 1, now()), (2, 'y', 1, now())",
)


class ClickhouseWarehouse(Warehouse):
    def __init__(self, database: clickhouse.ClickhouseDatabase) -> None:
        self.database, server = database, database.server
        super().__init__(
            (server.host, server.port), server.password, type="clickhouse", database=database.name,
            username=server.username,
        )  # fmt: skip

    def running(self, mark: str) -> int:
        """Asked without the client, whose greetings wait for their turn."""
        server = self.database.server
        query = f"SELECT count() FROM system.processes WHERE query LIKE '%{mark}%' AND query NOT LIKE '%processes%'"
        asked = urlencode({"user": server.username, "password": server.password, "query": query})
        with urllib.request.urlopen(f"http://{server.host}:{server.port}/?{asked}", timeout=5) as answer:
            return int(answer.read())


@pytest.fixture(scope="module")
def filled(clickhouse_server: clickhouse.ClickhouseServer) -> Iterator[ClickhouseWarehouse]:
    with clickhouse.fresh_database(clickhouse_server) as database:
        database.execute(*CONTRACT)
        yield ClickhouseWarehouse(database)


class TestClickhouse(QueryContract, PasswordContract, EarlyCancelContract, LegalSelectContract):
    selects = [query for query in LEGAL["clickhouse"] if not any(part in query for part in NOT_EMBEDDED)]  # noqa: RUF012
    slow_query = "SELECT count() AS MARK FROM numbers(100000000000) WHERE sipHash64(number) = 1"
    unreadable = "SELECT toInt32(concat('hunter2', toString(id))) AS v FROM contract_rows"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Int8", {"-128": -128}),
        ("Int16", {"-32768": -32768, "32767": 32767}),
        ("Int32", {"-2147483648": -(2**31), "2147483647": 2**31 - 1}),
        ("Int64", {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
        ("UInt8", {"255": 255}),
        ("UInt16", {"65535": 2**16 - 1}),
        ("UInt32", {"4294967295": 2**32 - 1}),
        ("UInt64", {"18446744073709551615": 2**64 - 1}),
        ("Int128", {"-170141183460469231731687303715884105728": "-170141183460469231731687303715884105728"}),
        ("UInt256", {"1": "1"}),
        ("Float64", {"0.1": 0.1, "inf": float("inf"), "1.7976931348623157e308": 1.7976931348623157e308}),
        ("Decimal(38, 10)", {f"'{LONG}'": Decimal(LONG)}),
        ("Decimal(12, 2)", {"'-0.10'": Decimal("-0.10")}),
        ("Decimal(38, 0)", {f"'{'9' * 38}'": Decimal("9" * 38)}),
        ("Decimal(76, 40)", {"'-1.5'": "-1.5"}),
        ("Bool", {"true": True, "false": False}),
        ("String", {"''": "", "'Zoë 日本 \U0001f600'": "Zoë 日本 \U0001f600", "'\\\\N'": "\\N"}),
        ("FixedString(3)", {"'abc'": "abc"}),
        ("LowCardinality(String)", {"'x'": "x"}),
        ("UUID", {"'550e8400-e29b-41d4-a716-446655440000'": "550e8400-e29b-41d4-a716-446655440000"}),
        ("Float32", {"1.5": 1.5, "-inf": float("-inf")}),
        ("IPv4", {"'192.0.2.1'": "192.0.2.1"}),
        ("IPv6", {"'2001:db8::1'": "2001:db8::1"}),
        ("Enum8('bronze' = 5, 'gold' = 9)", {"'gold'": "gold"}),
        ("Date", {"'2026-01-02'": date(2026, 1, 2), "'1970-01-01'": date(1970, 1, 1)}),
        ("Date32", {"'1900-01-02'": date(1900, 1, 2)}),
        ("DateTime", {"'2106-02-07 06:28:15'": datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC)}),
        ("DateTime('Europe/London')", {"'2026-07-01 12:00:00'": datetime(2026, 7, 1, 11, tzinfo=UTC)}),
        ("DateTime64(3, 'UTC')", {"'2026-01-02 03:04:05.678'": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)}),
    ],
)  # fmt: skip
def test_every_value_arrives_without_loss(
    landed: Landed, warehouse: ClickhouseWarehouse, kind: str, values: dict[str, object]
) -> None:
    nullable = kind if kind.startswith("Low") else f"Nullable({kind})"
    filler = "" if kind.startswith("Low") else ", (99, NULL)"
    warehouse.database.execute(
        "DROP TABLE IF EXISTS one",
        f"CREATE TABLE one (n Int32, v {nullable}) ENGINE = MergeTree ORDER BY n",
        "INSERT INTO one VALUES "
        + ", ".join(f"({number}, {literal})" for number, literal in enumerate(values))
        + filler,
    )
    frame = landed(warehouse.connection(), "SELECT v FROM one ORDER BY n", ["v"])
    assert frame["v"].to_list() == [*values.values(), *([None] if filler else [])]


def test_nested_values_are_json_or_lists(landed: Landed, warehouse: ClickhouseWarehouse) -> None:
    query = (
        "SELECT [1, 2] AS plain, map('k', 1) AS pairs, tuple(1, 'a') AS both,"
        " [toUUID('550e8400-e29b-41d4-a716-446655440000')] AS ids"
    )
    frame = landed(warehouse.connection(), query, [])
    assert frame.drop("_line").to_dicts() == [
        {"plain": [1, 2], "pairs": '{"k":1}', "both": '[1,"a"]', "ids": '["550e8400-e29b-41d4-a716-446655440000"]'}
    ]


def test_nanoseconds_are_kept_and_bound(warehouse: ClickhouseWarehouse) -> None:
    query = "SELECT toDateTime64('2026-01-01 00:00:00.123456789', 9, 'UTC') AS at WHERE at > {lastItem}"
    with open_query(warehouse.connection()) as source:
        for digits, rows in (("123456788", 1), ("123456789", 0)):
            after = parse_cursor(f"2026-01-01T00:00:00.{digits}+00:00", "moment")
            assert sum(batch.num_rows for batch in source.batches(query, {"lastItem": after})) == rows


def test_bytes_that_are_no_text_are_refused_with_what_to_do(warehouse: ClickhouseWarehouse) -> None:
    with open_query(warehouse.connection()) as source, pytest.raises(SourceDenied, match="toValidUTF8"):
        list(source.batches("SELECT unhex('ff') AS v", {}))


def test_the_session_can_not_write(warehouse: ClickhouseWarehouse) -> None:
    with open_query(warehouse.connection()) as source:
        (batch,) = list(source.batches("SELECT getSetting('readonly') AS v", {}))
    assert batch.column(0).to_pylist() == [2]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "Int64"), (-1, "Int64"), (2**63 - 1, "Int64"), (2**63, "UInt64"), (2**64 - 1, "UInt64"), (2**64, "Int128"),
        (-(2**63) - 1, "Int128"), (2**127, "UInt128"), (2**128, "Int256"), (-(2**200), "Int256"), (2**255, "UInt256"),
    ],
)  # fmt: skip
def test_a_whole_number_is_bound_as_the_smallest_type_that_holds_it(value: int, kind: str) -> None:
    """The tests' engine is built without numbers of 128 and 256 bits; a server of ours has them."""
    assert _marker("lastItem", value) == f"{{lastItem:{kind}}}"
