"""Snowflake's protocol over DuckDB: the contract, types, and logins by password and by key.

What the stand-in does not prove: results in several chunks, key pairs, Snowflake's own SQL.
`test_drivers` goes on to a real account where it is given one.
"""

from __future__ import annotations

import urllib.request
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_der_private_key,
)
from pydantic import TypeAdapter
from snowflake.connector import platform_detection

from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.connections.snowflake import SnowflakeConnection
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources import open_query
from ingest_pipelines.sources.snowflake import _credentials
from ingest_pipelines_tests.servers import snowflake
from ingest_pipelines_tests.sources.landed import Landed
from ingest_pipelines_tests.sources.query_contract import (
    ENDLESS,
    ROWS,
    EarlyCancelContract,
    PasswordContract,
    QueryContract,
    Warehouse,
)

CONTRACT = (
    f"CREATE TABLE contract_rows AS SELECT seq4() + 1 AS id, 'name ' || (seq4() + 1) AS name"
    f" FROM TABLE(GENERATOR(ROWCOUNT => {ROWS}))",
    "CREATE TABLE contract_moments (id NUMBER(38, 0), seen_at TIMESTAMP_NTZ)",
    *(f"INSERT INTO contract_moments VALUES ({n}, '2026-03-29 01:30:00.00000{n}')" for n in range(1, 5)),
)


class SnowflakeWarehouse(Warehouse):
    def __init__(self, database: snowflake.SnowflakeDatabase) -> None:
        self.database, server = database, database.server
        super().__init__(
            (server.host, server.port), server.password, type="snowflake", account=server.account, user=server.user,
            database=database.name, schema="PUBLIC",
        )  # fmt: skip

    def connection(self, **changes: Any) -> Connection:
        """An account has no host: that is the driver's option."""
        host, port = changes.pop("host", self.address[0]), changes.pop("port", self.address[1])
        options = {**self.database.server.options, "host": host, "port": port}
        return TypeAdapter[Connection](Connection).validate_python({**self._keys, "options": options, **changes})

    def running(self, mark: str) -> int:
        host, port = self.address
        with urllib.request.urlopen(f"http://{host}:{port}/running?{mark}", timeout=5) as answer:
            return int(answer.read())


@pytest.fixture(scope="module")
def filled(snowflake_server: snowflake.SnowflakeServer) -> SnowflakeWarehouse:
    database = snowflake.fresh_database(snowflake_server)
    database.execute(*CONTRACT)
    return SnowflakeWarehouse(database)


class TestSnowflake(QueryContract, PasswordContract, EarlyCancelContract):
    slow_query = ENDLESS
    unreadable = "SELECT ('hunter2' || id)::NUMBER AS v FROM contract_rows"


LONG = "9999999999999999999999999999.9999999999"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("NUMBER(18, 0)", {"-999999999999999999": -999999999999999999}),
        ("NUMBER(12, 2)", {"-0.10": Decimal("-0.10")}),
        ("NUMBER(38, 10)", {LONG: Decimal(LONG)}),
        ("FLOAT", {"0.1": 0.1}),
        ("BOOLEAN", {"true": True, "false": False}),
        ("VARCHAR", {"''": "", "'Zoë 日本 \U0001f600'": "Zoë 日本 \U0001f600"}),
        ("BINARY", {"TO_BINARY('00ff', 'HEX')": b"\x00\xff"}),
        ("DATE", {"'9999-12-31'": date(9999, 12, 31)}),
        ("TIME", {"'23:59:59.5'": time(23, 59, 59, 500000)}),
        ("TIMESTAMP_NTZ", {"'9999-12-31 23:59:59'": datetime(9999, 12, 31, 23, 59, 59)}),
        ("TIMESTAMP_NTZ", {"'2026-03-29 02:30:00.000001'": datetime(2026, 3, 29, 2, 30, 0, 1)}),
        ("TIMESTAMP_TZ", {"'2026-01-01 00:00:00+02:00'": datetime(2025, 12, 31, 22, tzinfo=UTC)}),
        ("TIMESTAMP_LTZ", {"'2026-01-01 00:00:00+02:00'": datetime(2025, 12, 31, 22, tzinfo=UTC)}),
        ("ARRAY", {"ARRAY_CONSTRUCT(1, 2)": "[1,2]"}),
        ("OBJECT", {"OBJECT_CONSTRUCT('a', 1)": '{"a":1}'}),
        ("VARIANT", {"PARSE_JSON('{\"a\":1}')": '{"a":1}'}),
    ],
)  # fmt: skip
def test_every_value_arrives_without_loss(
    landed: Landed, warehouse: SnowflakeWarehouse, kind: str, values: dict[str, object]
) -> None:
    warehouse.database.execute(
        f"CREATE OR REPLACE TABLE one (n INT, v {kind})",
        *(f"INSERT INTO one SELECT {number}, {literal}" for number, literal in enumerate((*values, "NULL"))),
    )
    frame = landed(warehouse.connection(), "SELECT v FROM one ORDER BY n", ["v"])
    assert frame["v"].to_list() == [*values.values(), None]


def test_mapped_names_need_not_be_written_in_capitals(landed: Landed, warehouse: SnowflakeWarehouse) -> None:
    frame = landed(warehouse.connection(), "SELECT id, name FROM contract_rows WHERE id = 1", ["id", "Name"])
    assert frame.columns == ["_line", "id", "Name"]


def test_a_login_asks_no_cloud_where_it_runs(warehouse: SnowflakeWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for question in ("is_ec2_instance", "has_aws_identity", "is_azure_vm", "is_gce_vm", "has_gcp_identity"):
        monkeypatch.setattr(platform_detection, question, lambda *_, question=question: asked.append(question))
    with open_query(warehouse.connection()) as source:
        assert list(source.tables())
    assert asked == []


def test_a_key_is_opened_with_its_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    monkeypatch.setenv("KEY", pem.decode())
    monkeypatch.setenv("PASSPHRASE", "open sesame")
    monkeypatch.setenv("WRONG", "open barley")
    keys = {"type": "snowflake", "account": "a", "user": "u", "private_key": {"env": "KEY"}}
    found = _credentials(SnowflakeConnection.model_validate({**keys, "passphrase": {"env": "PASSPHRASE"}}))
    opened = load_der_private_key(found["private_key"], None)  # type: ignore[arg-type]  # bytes
    assert opened.private_numbers() == key.private_numbers()  # type: ignore[union-attr]  # RSA
    with pytest.raises(ConfigError, match="passphrase does not open it") as caught:
        _credentials(SnowflakeConnection.model_validate({**keys, "passphrase": {"env": "WRONG"}}))
    assert "barley" not in str(caught.value)
