"""Spark's HiveServer2: the contract, and types.

What it does not prove: passwords, which it does not check; Hive's own SQL; that a query ends whose reader leaves
between two batches, since it has ended before the first; and that one ends whose reader leaves within milliseconds of
its start, since Spark accepts that cancel and runs it on.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from ingest_pipelines_tests.servers import hive
from ingest_pipelines_tests.sources.landed import Landed
from ingest_pipelines_tests.sources.query_contract import ROWS, LegalSelectContract, QueryContract, Warehouse
from ingest_pipelines_tests.sources.statements import LEGAL, NOT_SPARK

CONTRACT = (
    "CREATE TABLE contract_rows USING parquet AS"
    f" SELECT id + 1 AS id, concat('name ', id + 1) AS name FROM range({ROWS})",
    "CREATE TABLE contract_moments USING parquet AS SELECT id,"
    " timestamp_micros(unix_micros(timestamp '2026-03-29 01:30:00Z') + id) AS seen_at FROM range(1, 5)",
    "CREATE TABLE t USING parquet AS SELECT 1 AS id, 'x,y' AS a, 1 AS b, current_timestamp() AS d",
)


class HiveWarehouse(Warehouse):
    def __init__(self, database: hive.HiveDatabase) -> None:
        self.database, server = database, database.server
        super().__init__(
            (server.host, server.port), None, type="hive", database=database.name, username=server.username,
            timeout_seconds=20,
        )  # fmt: skip

    def numbers(self, most: int) -> str:
        """Spark would make a job of 30 tasks of 30 SELECTs; values of a query are none."""
        return f"SELECT id FROM VALUES {', '.join(f'({n})' for n in range(1, most + 1))} AS numbers(id)"

    def running(self, mark: str) -> int:
        """Of Spark's jobs; one that was cancelled counts until the last of its tasks has ended."""
        server = self.database.server
        applications = f"http://{server.host}:{server.status_port}/api/v1/applications"
        (application,) = (each["id"] for each in _asked(applications))
        jobs = [job for job in _asked(f"{applications}/{application}/jobs") if mark in job.get("description", "")]
        return sum(job["status"] == "RUNNING" or job["numActiveTasks"] > 0 for job in jobs)


def _asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def warehouse(hive_server: hive.HiveServer) -> Iterator[HiveWarehouse]:
    with hive.fresh_database(hive_server) as database:
        database.execute(*CONTRACT)
        yield HiveWarehouse(database)


class TestHive(QueryContract, LegalSelectContract):
    selects = [query for query in LEGAL["hive"] if not any(part in query for part in NOT_SPARK)]  # noqa: RUF012
    slow_query = "SELECT COUNT(*) AS MARK FROM range(100000000000000) WHERE SIN(id) = 2"
    unreadable = "SELECT raise_error(concat('hunter2 ', id)) AS v FROM contract_rows"


LONG = "9999999999999999999999999999.9999999999"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("TINYINT", {"-128": -128}),
        ("SMALLINT", {"-32768": -32768, "32767": 32767}),
        ("INT", {"-2147483648": -(2**31), "2147483647": 2**31 - 1}),
        ("BIGINT", {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
        ("DECIMAL(38, 10)", {LONG: LONG}),
        ("DECIMAL(12, 2)", {"-0.10": "-0.10"}),
        ("DOUBLE", {"0.1": 0.1, "'1.7976931348623157E308'": 1.7976931348623157e308, "'4.9E-324'": 5e-324}),
        ("DOUBLE", {"'-Infinity'": float("-inf")}),
        ("DECIMAL(38, 0)", {"9" * 38: "9" * 38}),
        ("FLOAT", {"1.5": 1.5}),
        ("BOOLEAN", {"true": True, "false": False}),
        ("STRING", {"''": "", "'Zoë 日本 \U0001f600'": "Zoë 日本 \U0001f600", "'NULL'": "NULL"}),
        ("VARCHAR(20)", {"'Zoë'": "Zoë"}),
        ("CHAR(3)", {"'abc'": "abc"}),
        ("BINARY", {"unhex('00ff')": b"\x00\xff", "unhex('')": b""}),
        ("DATE", {"'9999-12-31'": "9999-12-31", "'0001-01-01'": "0001-01-01"}),
        ("TIMESTAMP", {"'2026-03-29 02:30:00.123456'": "2026-03-29 02:30:00.123456"}),
        ("TIMESTAMP_NTZ", {"'0001-01-01 00:00:00'": "0001-01-01 00:00:00"}),
        ("STRUCT<a: INT, b: STRING>", {"named_struct('a', 1, 'b', 'x')": '{"a":1,"b":"x"}'}),
        ("ARRAY<INT>", {"array(1, 2)": "[1,2]"}),
        ("MAP<STRING, INT>", {"map('k', 1)": '{"k":1}'}),
    ],
)
def test_every_value_arrives_without_loss(
    landed: Landed, warehouse: HiveWarehouse, kind: str, values: dict[str, object]
) -> None:
    rows = " UNION ALL ".join(
        f"SELECT {number} AS n, CAST({literal} AS {kind}) AS v" for number, literal in enumerate((*values, "NULL"))
    )
    frame = landed(warehouse.connection(), f"SELECT v FROM ({rows}) r ORDER BY n", ["v"])
    assert frame["v"].to_list() == [*values.values(), None]


def test_texts_with_a_collation_arrive_as_they_are(landed: Landed, warehouse: HiveWarehouse) -> None:
    """Spark sends them in quotes, beside texts without a collation that may be in quotes by themselves."""
    kinds = ("STRING COLLATE UNICODE_CI", "CHAR(9) COLLATE UTF8_LCASE", "STRING", "ARRAY<STRING COLLATE UNICODE_CI>")
    texts = ["NULL", "''", "'\"A\"'", "'a'", "'\"'", "'Zoë \U0001f600'"]
    rows = [
        f"SELECT {n} AS n, CAST({text} AS {kinds[0]}) AS c, CAST({text} AS {kinds[1]}) AS d,"
        f" CAST({quoted} AS {kinds[2]}) AS p, CAST(array('x') AS {kinds[3]}) AS l"
        for n, (text, quoted) in enumerate(zip(texts, ["'\"A\"'", "'x'", *texts[2:]], strict=True))
    ]
    frame = landed(warehouse.connection(), f"SELECT c, d, p, l FROM ({' UNION ALL '.join(rows)}) r ORDER BY n", [])
    assert frame["c"].to_list() == [None, "", '"A"', "a", '"', "Zoë \U0001f600"]
    assert [text and text.rstrip() for text in frame["d"].to_list()] == [None, "", '"A"', "a", '"', "Zoë \U0001f600"]
    assert frame["p"].to_list() == ['"A"', "x", '"A"', "a", '"', "Zoë \U0001f600"]
    assert frame["l"].to_list() == ['["x"]'] * 6
