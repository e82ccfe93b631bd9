"""Which statement writes the staged rows? `python -m ingest_pipelines_tests.benchmarks.upserts [--rows N]`.

The product's own statements against `INSERT ... ON CONFLICT`, each over the same stage, sorted by key, in a copy of the
same database: once where nobody asks which profiles were written, once where events or subscriptions do.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psycopg
from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge.catalog import rows_written
from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.names import comma
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.statements import Merge
from ingest_pipelines.merge.target import Target, prepare_session
from ingest_pipelines_tests.benchmarks.process import tree_cpu
from ingest_pipelines_tests.benchmarks.server import Cluster, running
from ingest_pipelines_tests.merge.deliveries import bound_import

DATABASE, MOLD = "upserts", "upserts_mold"
FIELDS = {
    "customer_id": "string", "full_name": "string", "email": "email", "tier": "string", "points": "int", "visits": "int"
}  # fmt: skip

CASES: Mapping[str, tuple[float, int]] = {
    "half are new, half changed": (0.5, 1),
    "all known, a tenth changed": (0.0, 10),
}
"""Name -> the share of new rows, and one of how many known rows is changed."""


def main() -> None:
    """Prints a line per case and statement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-upserts-") as name, running(Path(name)) as cluster:
        Path(name).chmod(0o755)  # the server has an account of its own
        bound = _import()
        ways = _ways(Stage(bound))
        print(f"{options.rows:,} rows into as many, Postgres {cluster.version()}; medians of {options.rounds} rounds")
        for case, (new, every) in CASES.items():
            _prepare(cluster, options.rows, new, every)
            found: dict[str, list[tuple[float, float, int]]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, statements in ways.items():  # in turn: whatever else the machine does hits all alike
                    cluster.create(DATABASE, MOLD)
                    cluster.settle()
                    found[way].append(_write(cluster, bound, statements))
            print(f"\n{case}\n  {'':<44} wall s  server CPU s")
            for way, rounds in found.items():
                assert {written for _, _, written in rounds} == {found["MERGE"][0][2]}, f"{way} wrote other rows"
                print(f"  {way:<44} {median(r[0] for r in rounds):6.2f}  {median(r[1] for r in rounds):12.2f}")


def _import() -> BoundImport:
    fields = {name: {"type": kind} for name, kind in FIELDS.items()}
    database = {"table": "crm.customers", "key": "customer_id", "fields": fields}
    return bound_import("customers", database, columns={name: name for name in FIELDS})


def _ways(stage: Stage) -> dict[str, Sequence[sql.Composable]]:
    """Name -> the statements, of which one writes the rows."""
    merge = Merge(stage)
    keep = sql.SQL("CREATE TEMPORARY TABLE ingest_written ON COMMIT DROP AS WITH w AS ({}) SELECT * FROM w")
    return {
        "MERGE": [merge.statement()],
        "INSERT ON CONFLICT": [_on_conflict(merge)],
        "who was written: MERGE RETURNING old, new": [merge.keep_written(returns_old=True)],
        "who was written: before MERGE, by a join": [
            merge.keep_written(returns_old=False),
            merge.statement(),
            merge.number_created(),
        ],
        "who was written: ON CONFLICT RETURNING": [
            keep.format(_on_conflict(merge) + sql.SQL(" RETURNING {}").format(_returned(merge)))
        ],
    }


def _on_conflict(changes: Changes) -> sql.Composed:
    columns = [changes.stage.bound.database.key, *(column.into for column in changes.written)]
    written = [sql.Identifier(column.into) for column in changes.written]
    old = sql.SQL(", ").join(sql.SQL("t.{}").format(name) for name in written)
    new = sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(name) for name in written)
    return sql.SQL(
        "INSERT INTO {} ({}) SELECT {} FROM ingest_stage AS s ON CONFLICT ({}) DO UPDATE SET ({}) = ROW({}) "
        "WHERE ROW({}) IS DISTINCT FROM ROW({})"
    ).format(
        changes.target, comma(columns), comma(columns), sql.Identifier(columns[0]), sql.SQL(", ").join(written), new,
        old, new,
    )  # fmt: skip


def _returned(changes: Changes) -> sql.Composable:
    created = sql.SQL("old.profile_id IS NULL")
    masks = changes.mask_columns(
        created,
        lambda column: sql.Identifier("old", column.into),
        lambda column: sql.Identifier("new", column.into),
    )
    return sql.SQL("{} AS created, new.profile_id, new.customer_id AS key, {}").format(created, masks)


def _prepare(cluster: Cluster, rows: int, new: float, every: int) -> None:
    """The mold: a table of `rows` customers, and `delivered`, what comes for it."""
    cluster.create(MOLD)
    first = round(rows * new)
    values = sql.SQL(
        "SELECT 'C' || lpad(n::text, 12, '0') AS customer_id, 'Customer ' || n AS full_name,"
        " n || '@example.com' AS email, 'Gold' AS tier,"
        " CASE WHEN n % {} = 0 THEN n + {} ELSE n END AS points, n % 90 AS visits FROM generate_series({}, {}) n"
    )
    with psycopg.connect(cluster.url(MOLD), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA crm")
        connection.execute(
            "CREATE TABLE crm.customers (profile_id bigint GENERATED BY DEFAULT AS IDENTITY,"
            " customer_id text PRIMARY KEY, full_name text, email text, tier text, points bigint, visits bigint)"
        )
        columns = comma(FIELDS)
        insert = sql.SQL("INSERT INTO crm.customers ({}) {}")
        connection.execute(insert.format(columns, values.format(every, 0, 1, rows)))
        connection.execute(
            sql.SQL("CREATE TABLE delivered AS {}").format(values.format(every, 1, first + 1, first + rows))
        )
        connection.execute("VACUUM ANALYZE crm.customers")


def _write(cluster: Cluster, bound: BoundImport, statements: Sequence[sql.Composable]) -> tuple[float, float, int]:
    """Seconds, the server's CPU seconds, and rows written: from the full stage to the commit."""
    stage = Stage(bound)
    with psycopg.connect(cluster.url(DATABASE)) as connection:
        prepare_session(connection, Target(cluster.url(DATABASE)), "benchmark")
        connection.execute(stage.create())
        columns = comma(FIELDS)
        connection.execute(
            sql.SQL("INSERT INTO ingest_stage ({}) SELECT {} FROM delivered ORDER BY customer_id").format(
                columns, columns
            )
        )
        [(oid,)] = connection.execute("SELECT 'crm.customers'::regclass::oid::bigint").fetchall()
        connection.execute(stage.analyze())
        cpu, began = tree_cpu(cluster.pid), time.perf_counter()
        for statement in statements:
            connection.execute(sql.Composed([statement]))
        written = sum(rows_written(connection, oid))
        connection.commit()
        return time.perf_counter() - began, tree_cpu(cluster.pid) - cpu, written


if __name__ == "__main__":
    main()
