"""`python -m ingest_pipelines_tests.benchmarks`: measure, write RESULTS.md, print it. `--quick` takes three minutes."""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from ingest_pipelines_tests.benchmarks.formats import measure_formats
from ingest_pipelines_tests.benchmarks.measure import PRODUCT, Bench, compete
from ingest_pipelines_tests.benchmarks.overhead import (
    edited_yaml,
    fixed_cost,
    handed_over,
    runs_a_minute,
    through_the_daemon,
    twenty_at_once,
    twenty_handed_over,
)
from ingest_pipelines_tests.benchmarks.report import PAGE, write_page
from ingest_pipelines_tests.benchmarks.scenarios import PLAN, QUICK_PLAN, SCENARIOS, SLOW_PLAN, Task
from ingest_pipelines_tests.benchmarks.server import running

OVERHEAD = (
    "fixed_cost",
    "handed_over",
    "through_the_daemon",
    "runs_a_minute",
    "edited_yaml",
    "twenty_at_once",
    "twenty_handed_over",
    "formats",
)


def main() -> None:
    """Measures what the arguments ask for; without any, the whole plan but 30 million rows."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="250,000 rows, the floor and ourselves, under 3 minutes")
    parser.add_argument("--slow", action="store_true", help="also 30 million rows; needs 30 GB of disk")
    parser.add_argument(
        "--scenario", action="append", choices=[*SCENARIOS, *OVERHEAD], help="only this; may be repeated"
    )
    parser.add_argument("--rows", type=int, help="with --scenario: this size")
    parser.add_argument("--rounds", type=int, help="this many rounds instead of the plan's")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="only contenders with WORD in the name"
    )
    parser.add_argument("--no-peers", action="store_true", help="the floor and ourselves")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("INGEST_STATE", ".ingest")) / "bench")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the page from kept results")
    options = parser.parse_args()
    folder = options.folder.resolve()
    page = PAGE
    if options.quick:
        folder, page = folder / "quick", folder / "quick" / "RESULTS.md"
    if not options.report:
        if options.quick:
            shutil.rmtree(folder / "results", ignore_errors=True)
        _measure(options, folder)
    print(write_page(folder / "results", page))


def _measure(options: argparse.Namespace, folder: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    with_product = not options.only or any(word in PRODUCT for word in options.only)
    with running(folder / "postgres") as cluster:
        bench = Bench(folder, cluster, with_product=with_product)
        for task in _tasks(options):
            print(f"{task.scenario}, {task.rows:,} rows", flush=True)
            compete(bench, task, uv, options.only)
        wanted = options.scenario or OVERHEAD
        if with_product and "fixed_cost" in wanted:
            fixed_cost(bench, options.rounds or (3 if options.quick else 7))
        if with_product and "handed_over" in wanted and not options.quick:
            handed_over(bench, options.rounds or 7)
        if with_product and "through_the_daemon" in wanted and not options.quick:
            through_the_daemon(bench, options.rounds or 5)
        if with_product and "runs_a_minute" in wanted and not options.quick:
            runs_a_minute(bench)
        if with_product and "edited_yaml" in wanted and not options.quick:
            edited_yaml(bench, options.rounds or 5)
        if with_product and "twenty_at_once" in wanted and not options.quick:
            twenty_at_once(bench, options.rows or 50_000)
        if with_product and "twenty_handed_over" in wanted and not options.quick:
            twenty_handed_over(bench, options.rows or 50_000)
        if with_product and "formats" in wanted:
            measure_formats(bench, options.rows or (50_000 if options.quick else 300_000), options.rounds or 3)


def _tasks(options: argparse.Namespace) -> list[Task]:
    plan = QUICK_PLAN if options.quick else PLAN + (SLOW_PLAN if options.slow else ())
    if options.scenario:
        plan = tuple(
            next((task for task in plan if task.scenario == name), Task(name, 1_000_000, 3))
            for name in options.scenario
            if name in SCENARIOS
        )
    return [
        Task(
            task.scenario,
            options.rows or task.rows,
            options.rounds or task.rounds,
            task.peers and not options.no_peers,
        )
        for task in plan
    ]


if __name__ == "__main__":
    main()
