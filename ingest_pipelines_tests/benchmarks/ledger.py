"""`python -m ingest_pipelines_tests.benchmarks.ledger`: every query on a ledger of years, with its time and its plan.

It fills 200,000 loads and 1,000,000 rejects, calls every function of the ledger for imports of every size, and prints
what Postgres executed; then what the indexes cost a load, and how long their migration takes.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import psycopg
from psycopg import sql

from ingest_pipelines import ledger
from ingest_pipelines.ledger import migrate
from ingest_pipelines.ledger.migrations.versions.r0004_indexes import INDEXES
from ingest_pipelines.model import Counts, Item, ItemKey, Run
from ingest_pipelines_tests.benchmarks.server import Cluster, running
from ingest_pipelines_tests.ledger import large_ledger
from ingest_pipelines_tests.ledger.calls import CALLS, cases, undone
from ingest_pipelines_tests.ledger.plans import Plan, PlanLog, write_plans

DATABASE = "large_ledger"

RUNS = "ledger_runs"

BEFORE = "ledger_without_indexes"

COMMANDS = (
    "status",
    "report daily",
    "rejects list daily",
    "rejects list clean",
    "rejects export small_1",
    "audit",
    "events --limit 10",
    "alerts",
    "purge --dry-run",
    "run new --file {file}",
    "run new --file {file} --force",
    "report new",
)
"""As a person types them, each in a process of its own; `run` is a whole run with its checks."""

WRITES = 300
"""Loads whose ledger entries are written with and without the indexes, in turns."""


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
        log = PlanLog(folder / "server.log")
        _calls(url, log)
        cluster.create(RUNS)
        _commands(url, cluster.url(RUNS), log)
        _cost_of_indexes(cluster)


def _cost_of_indexes(cluster: Cluster) -> None:
    """What a load writes to the ledger, with its commit, with the indexes of 0004 and without; then making them."""
    cluster.create(BEFORE, DATABASE)
    with psycopg.connect(cluster.url(BEFORE)) as without:
        definitions = [
            row[0]
            for row in without.execute(
                "SELECT indexdef FROM pg_indexes WHERE schemaname = 'ingest' AND indexname = ANY(%s)",
                ([index for _, index in INDEXES],),
            )
        ]
        for _, index in INDEXES:
            without.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier("ingest", index)))
    cluster.settle()
    with psycopg.connect(cluster.url(BEFORE)) as without, psycopg.connect(cluster.url(DATABASE)) as indexed:
        indexed.execute("SET auto_explain.log_min_duration = -1")
        indexed.commit()
        seconds: dict[str, list[float]] = {"without": [], "with": []}
        for number in range(WRITES):
            for name, session in (("without", without), ("with", indexed)):
                begun = time.perf_counter()
                _write_load(session, number)
                seconds[name].append(time.perf_counter() - begun)
        for session in (without, indexed):
            session.execute("DELETE FROM ingest.loads WHERE item LIKE 'written%'")
            session.execute("DELETE FROM ingest.items WHERE key LIKE 'written%'")
    medians = {name: 1000 * median(times) for name, times in seconds.items()}
    ratio = median(after / before for before, after in zip(seconds["without"], seconds["with"], strict=True))
    print(
        f"a load's entries with their commit: {medians['without']:.2f} ms without, {medians['with']:.2f} ms with the"
        f" indexes; {ratio:.2f} times as long"
    )
    begun = time.perf_counter()
    with psycopg.connect(cluster.url(BEFORE)) as without:
        for definition in definitions:
            without.execute(definition.encode())
    print(f"the indexes made in {time.perf_counter() - begun:.1f} s (load average {os.getloadavg()[0]:.1f})")
    cluster.drop(BEFORE)


def _write_load(connection: psycopg.Connection, number: int) -> None:
    item = Item(
        "daily", ItemKey(f"written_{number}"), "file", uri="sftp://vendor", path=f"in/{number}.csv", serial=number,
        modified_at=large_ledger.NOW,
    )  # fmt: skip
    ledger.register_items(connection, [item], large_ledger.NOW)
    load = ledger.open_load(connection, ledger.NewLoad(item, Run(f"run {number}"), large_ledger.NOW))
    assert load is not None
    ledger.close_load(connection, load, ledger.LoadOutcome("committed", Counts(9, 9), large_ledger.NOW))
    ledger.set_item_status(connection, item, "committed")
    connection.commit()


def _commands(url: str, runs: str, log: PlanLog) -> None:
    """The commands' seconds, and their statements on large tables; housekeeping's tick, too."""
    print("commands")
    with tempfile.TemporaryDirectory(prefix="ingest-ledger-") as name:
        folder = Path(name)
        environment = _project(folder) | {"INGEST_DATABASE_URL": url, "INGEST_DAGSTER_URL": runs}
        ingest = [sys.executable, "-c", "from ingest_pipelines.cli import main; main()"]
        tick = [sys.executable, "-m", "ingest_pipelines_tests.benchmarks.served", "--inside", "housekeeping"]
        typed = {words: [*ingest, *words.format(file=folder / "new.csv").split()] for words in COMMANDS}
        for title, words in {**typed, "tick of housekeeping": tick}.items():
            begun = time.perf_counter()
            with log.recorded() as recorded:
                done = subprocess.run(
                    words, env={**os.environ, **environment}, check=False, capture_output=True, text=True
                )
            seconds = time.perf_counter() - begun
            large = [plan for plan in recorded.plans if any(scan.table in large_ledger.LARGE for scan in plan.scans)]
            print(
                f"{title:<32}{seconds:>6.1f} s, exit code {done.returncode}, {len(recorded.plans)} statements, of large"
                f" tables {len(large)} in {sum(plan.milliseconds for plan in large):.1f} ms"
            )
            if done.returncode:
                print("    " + done.stderr.strip().replace("\n", "\n    "))
            for plan in large:
                if plan.sequential(large_ledger.LARGE) or plan.milliseconds > 10:
                    sequential = ", ".join(plan.sequential(large_ledger.LARGE))
                    print(f"    {plan.milliseconds:.1f} ms {'SEQUENTIAL ' + sequential if sequential else ''}")
                    print(f"    {plan.words}\n    {plan.statement[:300]}")


def _project(folder: Path) -> dict[str, str]:
    """A project with imports of the ledger's names, and one that it does not have."""
    (folder / "imports").mkdir()
    table = {"table": "crm.customers", "key": "customer_id", "fields": {"customer_id": {"type": "string"}}}
    files: dict[str, object] = {
        "connections": {"connections": {"uploads": {"type": "csv", "directory": str(folder)}}},
        "databases": {"databases": {"customers": table}},
    }
    for name in ("daily", "clean", "small_1", "new"):
        files[f"imports/{name}"] = {
            "description": "Points", "owners": ["team:crm"], "labels": ["many"], "database": "customers",
            "source": {"connection": "uploads", "file": f"in/{name}"},
            "columns": {"CID": "customer_id", "Points": {"field": "points", "type": "int"}},
        }  # fmt: skip
    for path, content in files.items():
        (folder / f"{path}.yaml").write_text(json.dumps(content), encoding="utf-8")
    (folder / "new.csv").write_text("CID,Points\nC1,1\nC2,2\n", encoding="utf-8")
    return {"INGEST_HOME": str(folder), "INGEST_STATE": str(folder / "state")}


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
