"""What a run costs besides its rows, and what happens when many start together."""

# ruff: noqa: T201  it tells the terminal how far it is

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg
import yaml

from ingest_pipelines.orchestration.dagster_internals.standby import STANDBY_NAME
from ingest_pipelines.orchestration.run_server.process import SPARE
from ingest_pipelines.orchestration.run_server.worker import SPARE_NAME
from ingest_pipelines_tests.benchmarks import peers, product
from ingest_pipelines_tests.benchmarks.generate import File, Truth, truth
from ingest_pipelines_tests.benchmarks.measure import DATABASE, PRODUCT, Bench, Failed, facts
from ingest_pipelines_tests.benchmarks.process import Cost, tree_cpu
from ingest_pipelines_tests.benchmarks.report import WHOLE
from ingest_pipelines_tests.benchmarks.scenarios import Start
from ingest_pipelines_tests.orchestration.served import Served, serve, wait_for

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
    peer = _quickest_peer(bench, tiny)
    runs: list[dict[str, Any]] = []
    for number in range(rounds):
        for name in (*STEPS, *peer, PRODUCT):
            if name == PRODUCT:
                bench.cluster.create(DATABASE, given)
                bench.cluster.settle()
            argv, environment = bench.ingest("customers", tiny)
            if name in STEPS:
                argv = [sys.executable, "-c", STEPS[name]]
            cost = bench.run(peer.get(name, argv), environment)
            runs.append({"contender": name, "round": number, **facts(cost), "correct": True})
    for name in (*STEPS, *peer, PRODUCT):
        print(f"  fixed cost  {name:<40}{median(r['wall'] for r in runs if r['contender'] == name):8.2f} s", flush=True)
    bench.keep("fixed_cost", "a run of ten rows, and what it starts with", 10, load_before, runs)


def _quickest_peer(bench: Bench, file: Path) -> dict[str, list[str]]:
    """How the peer that starts fastest loads the file into a small table of its own; empty: it is not here."""
    peer = peers.PEERS["ingestr"]
    try:
        python = peers.install(peer, bench.peers, Path(sys.executable).parent / "uv")
        name = bench.table_of(peer, python, "half", 1_000)
    except (subprocess.CalledProcessError, Failed) as failure:
        print(f"{peer.name} does not work here and is left out: {failure}", file=sys.stderr)
        return {}
    return {peer.name: peers.command(peer, python, file, bench.cluster.url(name), bench.work / name)}


STAGES = {
    "queued, until the daemon takes it": "PIPELINE_ENQUEUED",
    "launch: a process, imports, the code location": "PIPELINE_STARTING",
    "start of the run, until its first step": "PIPELINE_START",
    "steps: land, validate, merge, checks": "STEP_START",
    WHOLE: "PIPELINE_SUCCESS",
}
"""What a run of the daemon goes through, by the Dagster event that each begins with."""

_WINDOWS = """\
database: customers
source:
  connection: cluster
  query: >-
    SELECT 'D' || n AS customer_id, n AS points FROM generate_series(1, 10) n
    WHERE {windowStart} < {windowEnd}
  window: {every: day, start: "2026-01-01"}
columns: {customer_id: customer_id, points: points}
"""


MANY_RUNS = 120
"""Runs of the burst. Twelve imports have ten each: an import's runs go one after the other."""


def through_the_daemon(bench: Bench, rounds: int) -> None:
    """A run of ten rows under `ingest up`, asked for as the UI does it; by the times of Dagster's own events."""
    load_before = os.getloadavg()[0]
    runs = []
    with _served(bench, ["windows"]) as (up, environment):
        for number in range(rounds):
            run = up.materialize(("customers", "windows"), f"2026-01-{number + 1:02}")
            correct = up.wait_for_run(run)["status"] == "SUCCESS"
            for stage, seconds in _stages(environment["INGEST_DAGSTER_URL"], run).items():
                runs.append({"contender": stage, "round": number, "wall": seconds, "correct": correct})
    for stage in STAGES:
        print(f"  {stage:<50}{median(r['wall'] for r in runs if r['contender'] == stage):8.2f} s", flush=True)
    bench.keep("through_the_daemon", "a run of ten rows under `ingest up`", 10, load_before, runs)


def handed_over(bench: Bench, rounds: int) -> None:
    """`ingest run` of ten rows, as a whole process, where `ingest up` serves."""
    load_before = os.getloadavg()[0]
    tiny = bench.csv(File(10))
    peer = _quickest_peer(bench, tiny)
    runs: list[dict[str, Any]] = []
    with _served(bench, []) as (up, environment):
        for number in range(rounds):
            wait_for(lambda: len(_spares(up)) == SPARE, "a process that is ready")
            tiny.touch()
            cost = bench.run(product.command("customers", tiny), environment)
            runs.append({"contender": PRODUCT, "round": number, **facts(cost), "correct": True})
            for name, argv in peer.items():
                cost = bench.run(argv, dict(os.environ))
                runs.append({"contender": name, "round": number, **facts(cost), "correct": True})
    print(
        f"  ingest run beside ingest up{median(run['wall'] for run in runs if run['contender'] == PRODUCT):24.2f} s",
        flush=True,
    )
    bench.keep("handed_over", "`ingest run` of ten rows beside `ingest up`", 10, load_before, runs)


def runs_a_minute(bench: Bench) -> None:
    """Many runs of ten rows under `ingest up`, asked for as fast as the UI takes them."""
    load_before = os.getloadavg()[0]
    names = [f"windows_{number:02}" for number in range(12)]
    days = [f"2026-01-{number + 1:02}" for number in range(MANY_RUNS // len(names))]
    with _served(bench, names) as (up, environment):
        up.wait_for_run(up.materialize(("customers", names[0]), "2026-01-20"))
        cpu, server_cpu = tree_cpu(up.process.pid), tree_cpu(bench.cluster.pid)
        asked = [up.materialize(("customers", name), day) for day in days for name in names]
        with psycopg.connect(environment["INGEST_DAGSTER_URL"], autocommit=True) as connection:
            correct = wait_for(lambda: _ended(connection, asked)) == {"SUCCESS"}
            query = (
                "SELECT extract(epoch FROM max(timestamp) - min(timestamp))::float8 FROM event_logs"
                " WHERE run_id = ANY(%s)"
            )
            row = connection.execute(query, [asked]).fetchone()
        cpu, server_cpu = tree_cpu(up.process.pid) - cpu, tree_cpu(bench.cluster.pid) - server_cpu
    assert row is not None
    minute = 60 * len(asked) / row[0]
    told = "" if correct else ", WRONG RESULT"
    print(
        f"  {len(asked)} runs of ten rows: {minute:.0f} a minute, {cpu / len(asked):.2f} s CPU each, and"
        f" {server_cpu / len(asked):.2f} s of Postgres{told}",
        flush=True,
    )
    run = {"contender": PRODUCT, "round": 0, "wall": row[0], "correct": correct}
    bench.keep("runs_a_minute", f"{len(asked)} runs of ten rows under `ingest up`", 10 * len(asked), load_before, [run])


def _ended(connection: psycopg.Connection, runs: Sequence[str]) -> set[str] | None:
    """How the runs ended; None: some have not. Asked of the storage: the webserver would spend CPU on the answer."""
    query = "SELECT DISTINCT status FROM runs WHERE run_id = ANY(%s)"
    statuses = {status for (status,) in connection.execute(query, [list(runs)])}
    return statuses if statuses <= {"SUCCESS", "FAILURE", "CANCELED"} else None


_ONE_ASSET = """{ assetNodeOrError(assetKey: {path: ["customers", "windows"]}) { ... on AssetNode { description } } }"""


def edited_yaml(bench: Bench, rounds: int) -> None:
    """A YAML of a small project is edited under `ingest up`: until the UI shows it."""
    load_before = os.getloadavg()[0]
    runs: list[dict[str, Any]] = []
    with _served(bench, ["windows"]) as (up, environment):
        file = Path(environment["INGEST_HOME"]) / "imports" / "windows.yaml"
        for number in range(rounds):
            wait_for(lambda: standbys(up) == 2, "code servers that are ready")
            words = f"edit {number}"
            began = time.perf_counter()
            file.write_text(f"description: {words}\n{_WINDOWS}")
            wait_for(partial(_is_shown, up, words), "the edit")
            wall = time.perf_counter() - began
            runs.append({"contender": "until the UI shows it", "round": number, "wall": wall, "correct": True})
    print(f"  an edited YAML, until the UI shows it{median(run['wall'] for run in runs):14.2f} s", flush=True)
    bench.keep("edited_yaml", "an edited YAML under `ingest up`", 1, load_before, runs)


def _is_shown(up: Served, words: str) -> bool:
    return words in up.ask(_ONE_ASSET)["assetNodeOrError"]["description"]


def standbys(up: Served) -> int:
    """How many code servers wait, with everything imported."""
    family = psutil.Process(up.process.pid).children(recursive=True)
    return sum(process.name() == STANDBY_NAME for process in family)


@contextmanager
def _served(bench: Bench, names: Sequence[str], start: Start = "half") -> Iterator[tuple[Served, dict[str, str]]]:
    """`ingest up` of a project with imports of windows of those names, and the environment of its commands."""
    bench.cluster.create(DATABASE, bench.table(start, 1_000))
    _, environment = bench.ingest("customers", bench.csv(File(10)))
    with tempfile.TemporaryDirectory(prefix="ingest-daemon-") as name:
        folder = Path(name)
        home = folder / "home"
        product.write_project(home, bench.data)
        connections = yaml.safe_load((home / "connections.yaml").read_text())
        connections["connections"]["cluster"] = {
            "type": "postgresql", "host": "127.0.0.1", "port": bench.cluster.port, "database": DATABASE,
            "username": "postgres", "password": {"env": "CLUSTER_PASSWORD"},
        }  # fmt: skip
        (home / "connections.yaml").write_text(yaml.safe_dump(connections))
        for import_name in names:
            (home / "imports" / f"{import_name}.yaml").write_text(_WINDOWS)
        here = {"INGEST_HOME": str(home), "INGEST_STATE": str(folder / "state"), "CLUSTER_PASSWORD": "unused"}
        with serve({**environment, **here}, folder) as up:
            wait_for(lambda: len(_spares(up)) == SPARE, "the run server")
            yield up, {**environment, **here}


def _spares(up: Served) -> list[psutil.Process]:
    """The processes that wait for runs."""
    family = psutil.Process(up.process.pid).children(recursive=True)
    return [process for process in family if process.name() == SPARE_NAME and process.num_threads() > 1]


def _stages(dagster_url: str, run: str) -> dict[str, float]:
    query = (
        "SELECT dagster_event_type, extract(epoch FROM min(timestamp))::float8 FROM event_logs"
        " WHERE run_id = %s GROUP BY 1"
    )
    with psycopg.connect(dagster_url) as connection:
        first: dict[str, float] = dict(connection.execute(query, [run]).fetchall())
    times = [first[event] for event in STAGES.values()]
    lasted = [after - before for before, after in pairwise(times)]
    return dict(zip(STAGES, [*lasted, times[-1] - times[0]], strict=True))


def twenty_at_once(bench: Bench, rows: int) -> None:
    """Twenty imports into one table, started together; each has customers of its own."""
    load_before = os.getloadavg()[0]
    bench.cluster.create(DATABASE, bench.table("empty", rows))
    files = _twenty(bench, rows)
    _, environment = bench.ingest("customers", bench.csv(File(10)))
    cost = _run_twenty(bench, files, environment)
    correct = bench.added_up() == sum((truth(file) for file in files.values()), Truth())
    told = "" if correct else ", WRONG RESULT"
    print(f"  twenty imports of {rows:,} rows at once: {cost.wall:.1f} s, {cost.peak_mb:.0f} MB{told}", flush=True)
    title = f"20 imports of {rows:,} rows each into one table, started together"
    run = {"contender": PRODUCT, "round": 0, **facts(cost), "correct": correct}
    bench.keep("twenty_at_once", title, 20 * rows, load_before, [run])


def twenty_handed_over(bench: Bench, rows: int) -> None:
    """The same where `ingest up` serves; the CPU is that of all its processes and of the commands."""
    load_before = os.getloadavg()[0]
    files = _twenty(bench, rows)
    with _served(bench, [], start="empty") as (up, environment):
        cpu = tree_cpu(up.process.pid)
        cost = _run_twenty(bench, files, environment)
        cpu = tree_cpu(up.process.pid) - cpu + cost.client_cpu
        correct = bench.added_up() == sum((truth(file) for file in files.values()), Truth())
    told = "" if correct else ", WRONG RESULT"
    print(f"  the same beside ingest up: {cost.wall:.1f} s, {cpu:.1f} s CPU{told}", flush=True)
    title = f"20 imports of {rows:,} rows each into one table, started together beside `ingest up`"
    run = {"contender": PRODUCT, "round": 0, **facts(cost), "client_cpu": cpu, "correct": correct}
    bench.keep("twenty_handed_over", title, 20 * rows, load_before, [run])


def _twenty(bench: Bench, rows: int) -> dict[str, File]:
    """A file for each of the twenty imports, written."""
    files = {name: File(rows, first=number * rows, changed_percent=100) for number, name in enumerate(product.TWENTY)}
    for file in files.values():
        bench.csv(file).touch()
    return files


def _run_twenty(bench: Bench, files: Mapping[str, File], environment: dict[str, str]) -> Cost:
    script = bench.work / "twenty.sh"
    lines = [
        f'{" ".join(product.command(name, bench.csv(file)))} > {bench.work / name}.log 2>&1 & pids="$pids $!"\n'
        for name, file in files.items()
    ]
    script.write_text("".join(lines) + 'for pid in $pids; do wait "$pid" || exit 1; done\n')
    bench.cluster.settle()
    return bench.run(["bash", str(script)], environment)
