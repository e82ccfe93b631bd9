"""One table of customers in each kind of server, and how to connect to it: what `queries` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from ingest_pipelines_tests.servers import (
    clickhouse,
    hive,
    mssql,
    mysql,
    oracle,
    postgres,
    postgres_debian,
    snowflake,
)
from ingest_pipelines_tests.servers.fleet import Fleet

FIELDS = 11
Keys = dict[str, Any]

MARIADB = """
    INSERT INTO customers SELECT seq, CONCAT('customer', seq, '@example.com'), CONCAT('First', seq % 5000),
    CONCAT('Lastname', seq % 90000), CONCAT('+4479', LPAD(seq % 100000000, 8, '0')), ELT(seq % 3 + 1, 'Bronze',
    'Silver', 'Gold'), seq % 9000, seq % 100000 / 100, seq % 2, DATE'2015-01-01' + INTERVAL seq % 4000 DAY,
    TIMESTAMP'2026-01-01 00:00:00' + INTERVAL seq % 20000000 SECOND FROM seq_1_to_{rows}
"""
POSTGRES = """
    INSERT INTO customers SELECT n, 'customer' || n || '@example.com', 'First' || n % 5000, 'Lastname' || n % 90000,
    '+4479' || lpad((n % 100000000)::text, 8, '0'), (ARRAY['Bronze', 'Silver', 'Gold'])[n % 3 + 1], n % 9000,
    n % 100000 / 100.0, n % 2 = 0, date '2015-01-01' + n % 4000,
    timestamptz '2026-01-01' + n % 20000000 * interval '1 s' FROM generate_series(1, {rows}) n
"""
CLICKHOUSE = """
    INSERT INTO customers SELECT number + 1 AS n, concat('customer', toString(n), '@example.com'),
    concat('First', toString(n % 5000)), concat('Lastname', toString(n % 90000)),
    concat('+4479', leftPad(toString(n % 100000000), 8, '0')), arrayElement(['Bronze', 'Silver', 'Gold'], n % 3 + 1),
    n % 9000, toDecimal64(n % 100000, 2) / 100, n % 2, toDate('2015-01-01') + n % 4000,
    toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + n % 20000000 FROM numbers({rows})
"""
SPARK = """
    CREATE TABLE customers USING parquet AS SELECT id + 1 AS id, concat('customer', id + 1, '@example.com') AS email,
    concat('First', id % 5000) AS first_name, concat('Lastname', id % 90000) AS last_name,
    concat('+4479', lpad(id % 100000000, 8, '0')) AS phone, elt(id % 3 + 1, 'Bronze', 'Silver', 'Gold') AS tier,
    CAST(id % 9000 AS INT) AS points, CAST(id % 100000 / 100 AS DECIMAL(12, 2)) AS spent, id % 2 = 0 AS active,
    date_add(DATE'2015-01-01', CAST(id % 4000 AS INT)) AS joined,
    timestamp_seconds(1767225600 + id % 20000000) AS seen_at FROM range({rows})
"""
DUCKDB = """
    INSERT INTO customers SELECT i, CONCAT('customer', i, '@example.com'), CONCAT('First', i % 5000),
    CONCAT('Lastname', i % 90000), CONCAT('+4479', 10000000 + i % 10000000),
    CASE i % 3 WHEN 0 THEN 'Bronze' WHEN 1 THEN 'Silver' ELSE 'Gold' END, i % 9000,
    CAST(i % 100000 AS DECIMAL(12, 2)) / 100, {active}, {joined}, {seen_at} FROM {numbers}
"""
"""What the stand-ins run, whichever SQL their clients speak."""


@dataclass(frozen=True)
class Kind:
    """A kind of server.

    Attributes:
        what: the server that stands for it here.
        emulated: whether that server is none of the product's makers, so that only our side of the wire is measured.
        most_rows: what the server of the tests holds; more would measure its memory.
        filled: a context with the table in it, which gives the connection's keys in YAML.
    """

    what: str
    filled: Callable[[Fleet, int], AbstractContextManager[Keys]]
    emulated: bool = False
    most_rows: int = 10_000_000


def _columns(*types: str) -> str:
    names = (
        "id",
        "email",
        "first_name",
        "last_name",
        "phone",
        "tier",
        "points",
        "spent",
        "active",
        "joined",
        "seen_at",
    )
    return ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))


def _keys(kind: str, server: Any, database: str) -> Keys:
    return {
        "type": kind, "host": server.host, "port": server.port, "database": database, "username": server.username,
        "password": {"env": "BENCH_PW"}, "secret": getattr(server, "password", ""), "timeout_seconds": 30,
    }  # fmt: skip


@contextmanager
def _postgresql(url: str, rows: int) -> Iterator[Keys]:
    with postgres.fresh_database(url) as fresh:
        text = ("varchar(200)",) * 5
        table = _columns("bigint PRIMARY KEY", *text, "int", "numeric(12,2)", "boolean", "date", "timestamptz")
        with psycopg.connect(fresh, autocommit=True) as connection:
            for statement in (f"CREATE TABLE customers ({table})", POSTGRES.format(rows=rows), "VACUUM customers"):
                connection.execute(sql.SQL(statement))
        parts = urlsplit(fresh)
        yield postgres.connection_to(fresh, password="BENCH_PW", secret=parts.password)


def _postgresql_15(fleet: Fleet, rows: int) -> AbstractContextManager[Keys]:
    return _postgresql(fleet.ask("postgres-15", postgres.PostgresServer, postgres_debian.launch).url, rows)


def _postgresql_18(fleet: Fleet, rows: int) -> AbstractContextManager[Keys]:
    return _postgresql(fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url, rows)


@contextmanager
def _mysql(fleet: Fleet, rows: int) -> Iterator[Keys]:
    server = fleet.ask("mysql", mysql.MysqlServer, mysql.launch)
    with mysql.fresh_database(server) as database:
        text = ("varchar(200)",) * 5
        table = _columns("bigint PRIMARY KEY", *text, "int", "decimal(12,2)", "bool", "date", "datetime(6)")
        database.execute(f"CREATE TABLE customers ({table})", MARIADB.format(rows=rows))
        yield _keys("mysql", server, database.name)


@contextmanager
def _clickhouse(fleet: Fleet, rows: int) -> Iterator[Keys]:
    server = fleet.ask("clickhouse", clickhouse.ClickhouseServer, clickhouse.launch)
    with clickhouse.fresh_database(server) as database:
        text = ("String",) * 5
        table = _columns("Int64", *text, "Int32", "Decimal(12, 2)", "Bool", "Date", "DateTime64(3, 'UTC')")
        database.execute(
            f"CREATE TABLE customers ({table}) ENGINE = MergeTree ORDER BY id", CLICKHOUSE.format(rows=rows)
        )
        yield _keys("clickhouse", server, database.name)


@contextmanager
def _hive(fleet: Fleet, rows: int) -> Iterator[Keys]:
    server = fleet.ask("hive", hive.HiveServer, hive.launch)
    with hive.fresh_database(server) as database:
        database.execute(SPARK.format(rows=rows))
        yield {key: value for key, value in _keys("hive", server, database.name).items() if key != "password"}


@contextmanager
def _snowflake(fleet: Fleet, rows: int) -> Iterator[Keys]:
    server = fleet.ask("snowflake", snowflake.SnowflakeServer, snowflake.launch)
    database = snowflake.fresh_database(server)
    text = ("VARCHAR(200)",) * 5
    table = _columns("NUMBER(18, 0)", *text, "NUMBER(9, 0)", "NUMBER(12, 2)", "BOOLEAN", "DATE", "TIMESTAMP_NTZ")
    filled = DUCKDB.format(
        active="i % 2 = 0",
        joined="DATEADD(day, i % 4000, '2015-01-01'::DATE)",
        seen_at="DATEADD(second, i % 20000000, '2026-01-01'::TIMESTAMP_NTZ)",
        numbers=f"(SELECT seq4() + 1 AS i FROM TABLE(GENERATOR(ROWCOUNT => {rows})))",
    )
    database.execute(f"CREATE TABLE customers ({table})", filled)
    yield {
        "type": "snowflake", "account": server.account, "user": server.user, "database": database.name,
        "schema": "PUBLIC", "password": {"env": "BENCH_PW"}, "secret": server.password, "options": server.options,
    }  # fmt: skip


@contextmanager
def _mssql(fleet: Fleet, rows: int) -> Iterator[Keys]:
    server = fleet.ask("mssql", mssql.MssqlServer, mssql.launch)
    with mssql.fresh_database(server) as database:
        text = ("nvarchar(200)",) * 5
        table = _columns("bigint", *text, "int", "decimal(12, 2)", "bit", "date", "datetime2")
        filled = DUCKDB.format(
            active="CAST(i % 2 AS bit)",
            joined="DATEADD(day, i % 4000, CAST('2015-01-01' AS date))",
            seen_at="DATEADD(second, i % 20000000, CAST('2026-01-01' AS datetime2))",
            numbers=f"range(1, {rows + 1}) AS r(i)",
        )
        database.execute(f"CREATE TABLE customers ({table})", filled)
        yield {**_keys("mssql", server, database.name), "options": {"TrustServerCertificate": "yes"}}


@contextmanager
def _oracle(fleet: Fleet, rows: int) -> Iterator[Keys]:
    server = fleet.ask("oracle", oracle.OracleServer, oracle.launch)
    with oracle.fresh_schema(server) as schema:
        text = ("VARCHAR2(200)",) * 5
        table = _columns("NUMBER(18)", *text, "NUMBER(9)", "NUMBER(12, 2)", "NUMBER(1)", "DATE", "TIMESTAMP")
        filled = DUCKDB.format(
            active="i % 2",
            joined="DATE '2015-01-01'",
            seen_at="TIMESTAMP '2026-01-01 00:00:00'",
            numbers=f"range(1, {rows + 1}) r(i)",
        )
        schema.execute(f"CREATE TABLE customers ({table})", filled)
        keys = _keys("oracle", server, server.service)
        yield {**keys, "username": schema.username, "secret": schema.password}


KINDS: dict[str, Kind] = {
    "postgresql-15": Kind("PostgreSQL 15", _postgresql_15),
    "postgresql-18": Kind("PostgreSQL 18", _postgresql_18),
    "mysql": Kind("MariaDB 10.11", _mysql),
    "clickhouse": Kind("ClickHouse's engine, our HTTP front", _clickhouse),
    "hive": Kind("Spark's HiveServer2", _hive),
    "snowflake": Kind("fakesnow", _snowflake, emulated=True),
    "mssql": Kind("our stand-in", _mssql, emulated=True),
    "oracle": Kind("our stand-in", _oracle, emulated=True),
}
