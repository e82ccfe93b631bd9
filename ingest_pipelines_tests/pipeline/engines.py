"""Databases of every kind as the source of a cursor import, for tests that say the same of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from pydantic import TypeAdapter

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import Import
from ingest_pipelines_tests.pipeline.conftest import CUSTOMERS
from ingest_pipelines_tests.servers import clickhouse, hive, mssql, mysql, oracle, postgres, snowflake
from ingest_pipelines_tests.servers.fleet import Fleet

PASSWORD = "ENGINE_PW"


@dataclass(frozen=True)
class Engine:
    """A database that only one test module uses.

    Attributes:
        keys: its connection's YAML.
        secret: the password.
        execute: runs statements.
        table: `CREATE TABLE` with `{name}` and `{columns}`.
        limited: a query's rows `{where}` in the order of `seq`, at most `{limit}` of them.
    """

    name: str
    keys: Mapping[str, Any]
    secret: str
    execute: Callable[..., None]
    table: str = "CREATE TABLE {name} ({columns})"
    limited: str = "SELECT id, seq FROM {name} WHERE seq > {{lastItem}} ORDER BY seq LIMIT {limit}"

    def fill(self, name: str, kind: str, literals: Sequence[str], first: int = 1) -> None:
        """A table of rows with those values of `seq`, in that order; it is made with the first of them."""
        if first == 1:
            number = {"clickhouse": "Int64", "oracle": "NUMBER(10)"}.get(self.name, "int")
            self.execute(self.table.format(name=name, columns=f"id {number}, seq {kind}"))
        if not literals:
            return
        rows = [f"({number}, {literal})" for number, literal in enumerate(literals, first)]
        if self.name == "oracle":
            self.execute(*(f"INSERT INTO {name} VALUES {row}" for row in rows))
        else:
            self.execute(f"INSERT INTO {name} VALUES {', '.join(rows)}")

    def bound(self, name: str, limit: int, start: int | str, query: str | None = None, **more: Any) -> BoundImport:
        """The import of that table in chunks of so many rows; `more` is YAML of `source`, `lag` of its cursor."""
        cursor = {"column": "seq", "start": start, "lag": more.pop("lag", 0)}
        asked = (query or self.limited).format(name=name, limit=limit)
        parsed = Import.model_validate(
            {
                "database": "customers", "columns": {"id": "customer_id"}, "duplicates": "last",
                "source": {"connection": "engine", "query": asked, "cursor": cursor, **more},
            }
        )  # fmt: skip
        connection = TypeAdapter[Connection](Connection).validate_python(self.keys)
        bound, problems = bind(
            "tills", parsed, {"engine": connection}, {"customers": Database.model_validate(CUSTOMERS)}, {}
        )
        assert bound is not None
        assert not problems, problems
        return bound


def _keys(kind: str, server: Any, database: str, **more: Any) -> dict[str, Any]:
    return {
        "type": kind, "host": server.host, "port": server.port, "database": database, "username": server.username,
        "password": {"env": PASSWORD}, "timeout_seconds": 30, "retries": 1, **more,
    }  # fmt: skip


@contextmanager
def postgresql(fleet: Fleet) -> Iterator[Engine]:
    """PostgreSQL 18."""
    server = fleet.ask("postgres", postgres.PostgresServer, postgres.launch)
    with _postgresql(server.url) as engine:
        yield engine


@contextmanager
def _postgresql(server_url: str) -> Iterator[Engine]:
    with postgres.fresh_database(server_url) as url:
        parts = urlsplit(url)

        def execute(*statements: str) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in statements:
                    connection.execute(sql.SQL(statement))

        keys = postgres.connection_to(url, password=PASSWORD, timeout_seconds=30, retries=1)
        yield Engine("postgresql", keys, str(parts.password), execute)


@contextmanager
def mariadb(fleet: Fleet) -> Iterator[Engine]:
    """MariaDB."""
    server = fleet.ask("mysql", mysql.MysqlServer, mysql.launch)
    with mysql.fresh_database(server) as database:
        yield Engine("mysql", _keys("mysql", server, database.name), server.password, database.execute)


@contextmanager
def sql_server(fleet: Fleet) -> Iterator[Engine]:
    """The stand-in for SQL Server."""
    server = fleet.ask("mssql", mssql.MssqlServer, mssql.launch)
    with mssql.fresh_database(server) as database:
        keys = _keys("mssql", server, database.name, options={"TrustServerCertificate": "yes"})
        limited = "SELECT TOP {limit} id, seq FROM {name} WHERE seq > {{lastItem}} ORDER BY seq"
        yield Engine("mssql", keys, server.password, database.execute, limited=limited)


@contextmanager
def oracle_database(fleet: Fleet) -> Iterator[Engine]:
    """The stand-in for Oracle."""
    server = fleet.ask("oracle", oracle.OracleServer, oracle.launch)
    with oracle.fresh_schema(server) as schema:
        keys = {**_keys("oracle", server, server.service), "username": schema.username}
        limited = "SELECT id, seq FROM {name} WHERE seq > {{lastItem}} ORDER BY seq FETCH FIRST {limit} ROWS ONLY"
        yield Engine("oracle", keys, schema.password, schema.execute, limited=limited)


@contextmanager
def spark(fleet: Fleet) -> Iterator[Engine]:
    """Spark's HiveServer2."""
    server = fleet.ask("hive", hive.HiveServer, hive.launch)
    with hive.fresh_database(server) as database:
        keys = _keys("hive", server, database.name)
        keys.pop("password")
        table = "CREATE TABLE {name} ({columns}) USING parquet"
        yield Engine("hive", keys, "", database.execute, table=table)


@contextmanager
def clickhouse_database(fleet: Fleet) -> Iterator[Engine]:
    """ClickHouse's engine."""
    server = fleet.ask("clickhouse", clickhouse.ClickhouseServer, clickhouse.launch)
    with clickhouse.fresh_database(server) as database:
        keys = _keys("clickhouse", server, database.name)
        table = "CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY id"
        yield Engine("clickhouse", keys, server.password, database.execute, table=table)


@contextmanager
def snowflake_account(fleet: Fleet) -> Iterator[Engine]:
    """Fakesnow."""
    server = fleet.ask("snowflake", snowflake.SnowflakeServer, snowflake.launch)
    database = snowflake.fresh_database(server)
    keys = {
        "type": "snowflake", "account": server.account, "user": server.user, "database": database.name,
        "schema": "PUBLIC", "password": {"env": PASSWORD}, "timeout_seconds": 30, "retries": 1,
        "options": {**server.options, "host": server.host, "port": server.port},
    }  # fmt: skip
    yield Engine("snowflake", keys, server.password, database.execute)


ENGINES = {
    "postgresql": postgresql,
    "mysql": mariadb,
    "mssql": sql_server,
    "oracle": oracle_database,
    "hive": spark,
    "clickhouse": clickhouse_database,
    "snowflake": snowflake_account,
}
