"""`python -m ingest_pipelines_tests.benchmarks.ledger`: every query on a ledger of years, with its time and its plan.

It fills 200,000 loads and 1,000,000 rejects, calls every function of the ledger for imports of every size, and prints
what Postgres executed.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path

import psycopg

from ingest_pipelines.ledger import migrate
from ingest_pipelines_tests.benchmarks.server import running
from ingest_pipelines_tests.ledger import large_ledger
from ingest_pipelines_tests.ledger.calls import CALLS, cases, undone
from ingest_pipelines_tests.ledger.plans import Plan, PlanLog, write_plans

DATABASE = "large_ledger"


def main() -> None:
    """Fills, calls, prints."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.benchmarks.ledger", description=__doc__)
    parser.add_argument("--loads", type=int, default=225_000)
    parser.add_argument("--rejects", type=int, default=1_000_000)
    parser.add_argument("--fresh", action="store_true", help="fill anew, even if a filled ledger is there")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("INGEST_STATE", ".ingest")) / "bench-ledger")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    with running(folder) as cluster:
        url = cluster.url(DATABASE)
        if not cluster.exists(DATABASE):
            cluster.create(DATABASE)
            migrate(url)
            with psycopg.connect(url) as connection:
                begun = time.perf_counter()
                large_ledger.fill(connection, loads=options.loads, rejects=options.rejects)
                print(f"filled in {time.perf_counter() - begun:.0f} s", flush=True)
        migrate(url)
        write_plans(url, DATABASE)
        _calls(url, PlanLog(folder / "server.log"))


def _calls(url: str, log: PlanLog) -> None:
    slowest: dict[str, list[tuple[str, Plan]]] = defaultdict(list)
    with psycopg.connect(url) as connection:
        connection.prepare_threshold = None  # as Target.connect
        connection.execute("SET work_mem = '256MB'")
        for case in list(cases(connection)):
            for name, call in CALLS.items():
                with log.recorded() as recorded, undone(connection):
                    call(connection, case)
                slowest[name].extend((case.import_name, plan) for plan in recorded.plans)
    for name, plans in sorted(slowest.items(), key=lambda pair: -max(plan.milliseconds for _, plan in pair[1])):
        of_statement: dict[str, list[tuple[str, Plan]]] = defaultdict(list)
        for import_name, plan in plans:
            of_statement[plan.statement].append((import_name, plan))
        for executions in of_statement.values():
            import_name, plan = max(executions, key=lambda pair: pair[1].milliseconds)
            where = ", ".join(plan.sequential(large_ledger.LARGE))
            print(
                f"{name:<22}{plan.milliseconds:>9.1f} ms {plan.rows:>7} rows {plan.pages:>7} pages"
                f" {plan.spilled:>6} spilled  {import_name:<14} {'SEQUENTIAL ' + where if where else ''}"
            )
            print(f"    {plan.words}\n    {plan.statement[:300]}")


if __name__ == "__main__":
    main()
