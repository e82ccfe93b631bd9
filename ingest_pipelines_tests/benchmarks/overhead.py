"""What a run costs besides its rows, and what happens when many start together."""

# ruff: noqa: T201  it tells the terminal how far it is

from __future__ import annotations

import os
import sys
from statistics import median
from typing import Any

from ingest_pipelines_tests.benchmarks import product
from ingest_pipelines_tests.benchmarks.generate import File, Truth, truth
from ingest_pipelines_tests.benchmarks.measure import DATABASE, PRODUCT, Bench, facts

STEPS = {
    "python": "pass",
    "import ingest_pipelines.cli": "import ingest_pipelines.cli",
    "import ingest_pipelines.definitions": "import ingest_pipelines.definitions",
}
"""The way to a run; each holds the one before."""


def fixed_cost(bench: Bench, rounds: int) -> None:
    """A run of ten rows into a small table, beside the start of the interpreter and the imports it begins with."""
    load_before = os.getloadavg()[0]
    given = bench.table("half", 1_000)
    tiny = bench.csv(File(10))
    runs: list[dict[str, Any]] = []
    for number in range(rounds):
        for name in (*STEPS, PRODUCT):
            if name == PRODUCT:
                bench.cluster.create(DATABASE, given)
                bench.cluster.settle()
            argv, environment = bench.ingest("customers", tiny)
            cost = bench.run([sys.executable, "-c", STEPS[name]] if name in STEPS else argv, environment)
            runs.append({"contender": name, "round": number, **facts(cost), "correct": True})
    for name in (*STEPS, PRODUCT):
        print(f"  fixed cost  {name:<40}{median(r['wall'] for r in runs if r['contender'] == name):8.2f} s", flush=True)
    bench.keep("fixed_cost", "a run of ten rows, and what it starts with", 10, load_before, runs)


def twenty_at_once(bench: Bench, rows: int) -> None:
    """Twenty imports into one table, started together; each has customers of its own."""
    load_before = os.getloadavg()[0]
    bench.cluster.create(DATABASE, bench.table("empty", rows))
    files = {name: File(rows, first=number * rows, changed_percent=100) for number, name in enumerate(product.TWENTY)}
    script, environment = bench.work / "twenty.sh", dict(os.environ)
    lines = []
    for name, file in files.items():
        argv, environment = bench.ingest(name, bench.csv(file))
        lines.append(f'{" ".join(argv)} > {bench.work / name}.log 2>&1 & pids="$pids $!"\n')
    script.write_text("".join(lines) + 'for pid in $pids; do wait "$pid" || exit 1; done\n')
    bench.cluster.settle()
    cost = bench.run(["bash", str(script)], environment)
    correct = bench.added_up() == sum((truth(file) for file in files.values()), Truth())
    told = "" if correct else ", WRONG RESULT"
    print(f"  twenty imports of {rows:,} rows at once: {cost.wall:.1f} s, {cost.peak_mb:.0f} MB{told}", flush=True)
    title = f"20 imports of {rows:,} rows each into one table, started together"
    run = {"contender": PRODUCT, "round": 0, **facts(cost), "correct": correct}
    bench.keep("twenty_at_once", title, 20 * rows, load_before, [run])
