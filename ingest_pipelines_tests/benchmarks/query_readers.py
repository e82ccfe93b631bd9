"""Who reads the table of `queries`, each in a process of its own: `python -m ...query_readers READER KEYS ROWS`.

Prints one line of JSON: rows, seconds from the query's text to the last row, and memory. Logins are not counted.
"""

# ruff: noqa: T201  it talks to the process that started it

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

BATCH = 50_000
Keys = dict[str, Any]
QUERY = "SELECT * FROM customers WHERE id <= {rows}"
WARM = 1_000
"""Rows that each reader reads before the clock runs, so that nothing is imported or planned while it does."""

Read = Callable[[str], Iterator[int]]
"""Reads a query, and gives the number of rows of each batch."""


def ours(keys: Keys) -> tuple[Read, str]:
    """From the source to frames: batches, landed on disk with their hash, and read back as rules get them."""
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.config.imports import Limits
    from ingest_pipelines.landing import land_query, read_arrow
    from ingest_pipelines.model import Item, ItemKey
    from ingest_pipelines.sources import open_query

    connection = TypeAdapter[Connection](Connection).validate_python(
        {name: value for name, value in keys.items() if name != "secret"}
    )
    source = open_query(connection).__enter__()
    item = Item("bench", ItemKey("bench"), "query", uri="")

    def read(query: str) -> Iterator[int]:
        with tempfile.TemporaryDirectory() as spool:
            with closing(source.batches(query, {})) as batches:
                landing = land_query(item, batches, ("id",), Path(spool), Limits(max_bytes=1 << 40))
            for frame in read_arrow(landing, ("id",))[1]:
                yield len(frame)

    return read, ""


def _fetchmany(cursor: Any) -> Read:
    def read(query: str) -> Iterator[int]:
        cursor.execute(query)
        while fetched := cursor.fetchmany(BATCH):
            yield len(fetched)

    return read


def _named(connection: Any) -> Read:
    """A server-side cursor of psycopg, which has to have a name, each time a new one."""

    def read(query: str) -> Iterator[int]:
        with connection.cursor(name="bench") as cursor:
            yield from _fetchmany(cursor)(query)

    return read


def rows_of(keys: Keys) -> tuple[Read, str]:
    """The driver's own rows, as Python tuples, thrown away as they come."""
    match keys["type"]:
        case "postgresql":
            import psycopg

            connection = psycopg.connect(
                host=keys["host"], port=keys["port"], dbname=keys["database"], user=keys["username"],
                password=keys["secret"],
            )  # fmt: skip
            return _named(connection), "psycopg, server-side cursor"
        case "mysql":
            import pymysql
            import pymysql.cursors

            login = pymysql.connect(
                host=keys["host"], port=keys["port"], database=keys["database"], user=keys["username"],
                password=keys["secret"], cursorclass=pymysql.cursors.SSCursor,
            )  # fmt: skip
            return _fetchmany(login.cursor()), "PyMySQL, SSCursor"
        case "clickhouse":
            client = _clickhouse(keys)

            def blocks(query: str) -> Iterator[int]:
                with client.query_row_block_stream(query) as stream:
                    yield from (len(block) for block in stream)

            return blocks, "clickhouse-connect, row blocks"
        case "hive":
            from pyhive import hive

            session = hive.connect(
                host=keys["host"], port=keys["port"], username=keys["username"], database=keys["database"]
            )
            cursor = session.cursor()
            cursor.arraysize = BATCH
            return _fetchmany(cursor), "PyHive"
        case "snowflake":
            return _fetchmany(_snowflake(keys).cursor()), "snowflake-connector"
        case "mssql":
            return _fetchmany(_mssql(keys).cursor()), "mssql-python"
        case "oracle":
            cursor = _oracle(keys).cursor()
            cursor.arraysize = cursor.prefetchrows = BATCH
            return _fetchmany(cursor), "python-oracledb"
    raise AssertionError(keys["type"])


def arrow_of(keys: Keys) -> tuple[Read, str]:
    """The driver's own Arrow batches, where it has them, thrown away as they come."""
    match keys["type"]:
        case "clickhouse":
            client = _clickhouse(keys)

            def stream(query: str) -> Iterator[int]:
                with client.query_arrow_stream(query) as batches:
                    yield from (len(batch) for batch in batches)

            return stream, "query_arrow_stream"
        case "snowflake":
            cursor = _snowflake(keys).cursor()
            return lambda query: (len(t) for t in cursor.execute(query).fetch_arrow_batches()), "fetch_arrow_batches"
        case "mssql":
            reader = _mssql(keys).cursor()

            def batches(query: str) -> Iterator[int]:
                reader.execute(query)
                while read := reader.arrow_batch(BATCH).num_rows:
                    yield read

            return batches, "arrow_batch"
        case "oracle":
            login = _oracle(keys)
            return (
                lambda query: (
                    frame.num_rows() for frame in login.fetch_df_batches(query, size=BATCH, fetch_decimals=True)
                )
            ), "fetch_df_batches"
    raise AssertionError(keys["type"])


ARROW = frozenset({"clickhouse", "snowflake", "mssql", "oracle"})
"""Drivers that have Arrow of their own."""

READERS = {"ours": ours, "rows": rows_of, "arrow": arrow_of}


def _clickhouse(keys: Keys) -> Any:
    import clickhouse_connect

    return clickhouse_connect.get_client(
        host=keys["host"], port=keys["port"], username=keys["username"], password=keys["secret"],
        database=keys["database"], compress=False,
    )  # fmt: skip


def _snowflake(keys: Keys) -> Any:
    import snowflake.connector

    return snowflake.connector.connect(
        account=keys["account"], user=keys["user"], password=keys["secret"], database=keys["database"],
        schema=keys["schema"], **keys["options"],
    )  # fmt: skip


def _mssql(keys: Keys) -> Any:
    import mssql_python

    return mssql_python.connect(
        f"Server={keys['host']},{keys['port']};Database={keys['database']};UID={keys['username']};"
        f"PWD={keys['secret']};TrustServerCertificate=yes",
        autocommit=True,
    )


def _oracle(keys: Keys) -> Any:
    import oracledb

    dsn = f"{keys['host']}:{keys['port']}/{keys['database']}"
    return oracledb.connect(user=keys["username"], password=keys["secret"], dsn=dsn)


def _memory_mb(name: str) -> float:
    """`VmRSS` now or `VmHWM` at its highest, of this process since it started."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1000


def main() -> None:
    """Reads once."""
    reader, keys, rows = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    read, with_what = READERS[reader](keys)
    sum(read(QUERY.format(rows=WARM)))
    before = _memory_mb("VmRSS")
    began, cpu = time.perf_counter(), time.process_time()
    found = sum(read(QUERY.format(rows=rows)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    said = {
        "rows": found, "seconds": seconds, "cpu": cpu, "with": with_what, "before_mb": before,
        "peak_mb": _memory_mb("VmHWM"),
    }  # fmt: skip
    print(json.dumps(said))


if __name__ == "__main__":
    main()
