"""Drivers that are not installed, and real servers for who has them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ingest_pipelines.config.connections import Connection, Connections
from ingest_pipelines.cursor.values import CursorValue, Moment
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources import open_query
from ingest_pipelines_tests.sources.query_contract import HOSTILE

REAL = "INGEST_TEST_CONNECTIONS"
"""Names a connections.yaml: every query connection in it is tested against the server it leads to."""

DRIVERS = {
    "mysql": "pymysql", "mssql": "mssql_python", "oracle": "oracledb", "hive": "pyhive",
    "clickhouse": "clickhouse_connect",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "module"), DRIVERS.items())
def test_a_missing_driver_is_named_with_the_line_that_installs_it(kind: str, module: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None
from pydantic import TypeAdapter
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.errors import MissingDriver
from ingest_pipelines.sources import open_query
keys = dict(type={kind!r}, host="127.0.0.1", database="d", username="u")
try:
    with open_query(TypeAdapter(Connection).validate_python(keys)):
        pass
except MissingDriver as error:
    print(error.hint)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"pip install 'ingest-pipelines[{kind}]'\n"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("postgresql", {"sslmode": "requir"}),
        ("postgresql", {"keepalives_idle": "soon"}),
        ("mysql", {"charset": "utf9"}),
        ("mysql", {"autocommit": True}),
        ("mysql", {"cursorclass": "SSCursor"}),
        ("mysql", {"defer_connect": True}),
        ("mssql", {"Autocommit": "true"}),
        ("mysql", {"ssl": 7}),
        ("mysql", {"connect_timeout": "soon"}),
        ("oracle", {"tcp_connect_timeout": "soon"}),
        ("hive", {"auth": "KERBEROSS"}),
        ("clickhouse", {"interface": "htps"}),
        ("clickhouse", {"connect_timeout": "soon"}),
    ],
)
def test_an_option_with_a_value_that_the_driver_does_not_take_is_named(kind: str, options: dict[str, object]) -> None:
    """Nothing listens there: it is not the network that is blamed."""
    keys = {"type": kind, "host": "127.0.0.1", "port": 9, "database": "d", "username": "u", "retries": 0,
            "options": options}  # fmt: skip
    connection = TypeAdapter[Connection](Connection).validate_python(keys)
    with pytest.raises(ConfigError, match="options: ") as refusal, open_query(connection):
        pass
    assert next(iter(options)) in str(refusal.value)


def test_opening_a_source_imports_no_driver_of_another() -> None:
    code = """
import sys
from pydantic import TypeAdapter
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.sources import open_query
for kind in ("mysql", "mssql", "oracle", "hive", "clickhouse"):
    keys = dict(type=kind, host="127.0.0.1", database="d", username="u")
    open_query(TypeAdapter(Connection).validate_python(keys)).uri()
drivers = {"pymysql", "mssql_python", "oracledb", "pyhive", "clickhouse_connect", "snowflake.connector"}
print(sorted(drivers & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


VALUES: list[CursorValue] = [
    0, -(2**63), 2**63 - 1, Decimal("-12.50"), Decimal("9999999999999999.0001"),
    Moment.of(datetime(2026, 3, 29, 1, 30, 0, 1)), Moment.of(datetime(9999, 12, 31, 23, 59, 59)),
]  # fmt: skip


def _plain(value: object) -> str:
    """The value's digits, whichever type a database answers with."""
    if isinstance(value, Moment):
        return value.text(" ", digits=6)
    try:
        return format(Decimal(str(value)).normalize(), "f")
    except InvalidOperation:
        return str(value).removesuffix("+00:00").removesuffix(".000000")


if REAL in os.environ:
    import yaml

    _FOUND = Connections.model_validate(yaml.safe_load(Path(os.environ[REAL]).read_text())).connections

    @pytest.mark.parametrize(
        "name", [name for name, found in _FOUND.items() if hasattr(found, "query_timeout_seconds")]
    )
    def test_a_real_server_keeps_the_contract_s_core(name: str) -> None:
        connection = TypeAdapter[Connection](Connection).validate_python(_FOUND[name])
        source = open_query(connection)
        assert all(step.ok for step in source.probe())
        one_row = "FROM dual" if connection.type == "oracle" else ""
        with source:
            assert isinstance(list(source.tables()), list)
            for value in [*HOSTILE, *VALUES]:
                (batch,) = list(source.batches(f"SELECT {{lastItem}} AS v {one_row}", {"lastItem": value}))
                (found,) = batch.column(0).to_pylist()
                assert found == value or _plain(found) == _plain(value)
