"""Would several writers commit one item sooner? `python -m ingest_pipelines_tests.benchmarks.shards [--rows N]`.

One writer copies into its own temporary table and merges. N writers cannot share that: they copy into a table that all
see, unlogged, one part of the item each, and commit; then one of them merges all of it, since an item commits whole.
What is sent is encoded beforehand: only the server's work is measured, which is what more writers could spread.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
from psycopg import sql

from ingest_pipelines_tests.benchmarks.process import tree_cpu
from ingest_pipelines_tests.benchmarks.server import Cluster, running

DATABASE, MOLD = "shards", "shards_mold"
COLUMNS = sql.SQL("customer_id text, full_name text, email text, points bigint, balance numeric(12, 2), joined_on date")
PIECE = 1 << 18


@dataclass(frozen=True)
class Round:
    """One item committed.

    Attributes:
        copy, merge: seconds until the rows are staged, and until they are committed after that.
        cpu: the server's.
    """

    copy: float
    merge: float
    cpu: float


def main() -> None:
    """Prints a line for each number of writers; a half-new item is merged into a table of its own size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-shards-") as name, running(Path(name)) as cluster:
        folder = Path(name)
        folder.chmod(0o755)  # the server has an account of its own
        _prepare(cluster, options.rows)
        parts = {writers: _encode(cluster, options.rows, writers, folder) for writers in options.writers}
        found: dict[int, list[Round]] = {writers: [] for writers in options.writers}
        for _ in range(options.rounds):
            for writers in options.writers:  # in turn: whatever else the machine does hits all alike
                cluster.create(DATABASE, MOLD)
                cluster.settle()
                found[writers].append(_load(cluster, parts[writers]))
    print(f"{options.rows:,} rows, half of them new; medians of {options.rounds} rounds, in seconds")
    print("writers     copy    merge    total   server's CPU")
    for writers, rounds in found.items():
        copy, merge = median(each.copy for each in rounds), median(each.merge for each in rounds)
        total, cpu = median(each.copy + each.merge for each in rounds), median(each.cpu for each in rounds)
        print(f"{writers:7} {copy:8.2f} {merge:8.2f} {total:8.2f} {cpu:14.2f}")


def _prepare(cluster: Cluster, rows: int) -> None:
    """The mold: a table of `rows` customers, and `delivered`, what comes for it."""
    cluster.create(MOLD)
    with psycopg.connect(cluster.url(MOLD), autocommit=True) as connection:
        for name, first, version in (("customers", 0, 0), ("delivered", rows // 2, 1)):
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(name), COLUMNS))
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} SELECT 'C' || lpad(n::text, 12, '0'), 'Customer ' || n, n || '@example.com', "
                    "n % 1000 + {}, n % 100000 / 100.0, date '2020-01-01' + (n % 2000)::int "
                    "FROM generate_series({}, {}) n"
                ).format(sql.Identifier(name), version, first, first + rows - 1)
            )
        connection.execute("ALTER TABLE customers ADD PRIMARY KEY (customer_id)")
        connection.execute("VACUUM ANALYZE customers")


def _encode(cluster: Cluster, rows: int, writers: int, folder: Path) -> list[Path]:
    """The item as `writers` binary COPY streams, by the hash of the key and sorted by it, as shards would be."""
    paths = []
    with psycopg.connect(cluster.url(MOLD)) as connection:
        for shard in range(writers):
            path = folder / f"{writers}-{shard}.copy"
            statement = sql.SQL(
                "COPY (SELECT * FROM delivered WHERE abs(hashtext(customer_id)) % {} = {} ORDER BY customer_id) "
                "TO STDOUT (FORMAT binary)"
            ).format(writers, shard)
            with path.open("wb") as file, connection.cursor() as cursor, cursor.copy(statement) as copy:
                for piece in copy:
                    file.write(piece)
            paths.append(path)
    return paths


def _load(cluster: Cluster, parts: Sequence[Path]) -> Round:
    """The item staged by as many writers as there are parts, then merged and committed by one."""
    url, cpu = cluster.url(DATABASE), tree_cpu(cluster.pid)
    alone = len(parts) == 1
    with ProcessPoolExecutor(len(parts)) as pool, psycopg.connect(url) as connection:
        list(pool.map(len, ["ready"] * len(parts)))  # the writers are started; that is not measured
        began = time.perf_counter()
        _create_stage(connection, shared=not alone)
        if alone:
            _send(connection, parts[0])
        else:
            list(pool.map(_write, [url] * len(parts), parts))
        staged = time.perf_counter()
        connection.execute("ANALYZE stage (customer_id)")
        connection.execute(
            """
            MERGE INTO customers t USING stage s ON t.customer_id = s.customer_id
            WHEN MATCHED AND ROW(t.full_name, t.email, t.points, t.balance, t.joined_on)
                IS DISTINCT FROM ROW(s.full_name, s.email, s.points, s.balance, s.joined_on)
            THEN UPDATE SET full_name = s.full_name, email = s.email, points = s.points, balance = s.balance,
                joined_on = s.joined_on
            WHEN NOT MATCHED THEN INSERT VALUES
                (s.customer_id, s.full_name, s.email, s.points, s.balance, s.joined_on)
            """
        )
        if not alone:
            connection.execute("DROP TABLE stage")
        connection.commit()
        merged = time.perf_counter()
    return Round(staged - began, merged - staged, tree_cpu(cluster.pid) - cpu)


def _create_stage(connection: psycopg.Connection, *, shared: bool) -> None:
    kind = sql.SQL("UNLOGGED") if shared else sql.SQL("TEMPORARY")
    connection.execute(sql.SQL("CREATE {} TABLE stage ({})").format(kind, COLUMNS))
    if shared:
        connection.commit()  # the others have to see it


def _write(url: str, part: Path) -> None:
    """One writer: its part is staged and committed."""
    with psycopg.connect(url) as connection:
        _send(connection, part)


def _send(connection: psycopg.Connection, part: Path) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY stage FROM STDIN (FORMAT binary)") as copy,
        part.open("rb") as f,
    ):
        while piece := f.read(PIECE):
            copy.write(piece)


if __name__ == "__main__":
    main()
