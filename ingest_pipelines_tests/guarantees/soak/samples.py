"""What is measured every few seconds: memory, descriptors, connections, folders, and rows that the product keeps."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from ingest_pipelines_tests.guarantees.on_call.platform import ROLES
from ingest_pipelines_tests.guarantees.soak.flatness import Verdict, judge
from ingest_pipelines_tests.guarantees.soak.plot import Panel
from ingest_pipelines_tests.guarantees.soak.world import World
from ingest_pipelines_tests.processes import words_of

LONG_LIVED = ("up", "daemon", "webserver", "code server", "run server", "watcher")

ALLOWANCES: dict[str, float] = {
    **{f"memory of {role}, MB": 16.0 for role in LONG_LIVED},
    **{f"descriptors of {role}": 8.0 for role in LONG_LIVED},
    "memory of a run, MB": 16.0,
    "connections to Postgres": 8.0,
    "landed and spilled rows, MB": 2.0,
    "landed and spilled rows, files": 40.0,
    "waiting deliveries": 30.0,
    "ledger rows a delivery": 0.5,
    "partitions a delivery": 0.1,
    "runs a delivery": 0.1,
    "events of Dagster a delivery": 2.0,
    "step records a delivery": 0.3,
    "local files a delivery, kB": 2.0,
}
"""What is judged, and by how much it may grow in an hour: a tenth of its median, or this if that is more."""

Sample = dict[str, float | None]


def take(world: World, at: float, waiting: int) -> Sample:
    """One line of the table. None: nothing to measure, or the server did not answer."""
    made = max(1, len(world.deliveries.made))
    sample: Sample = {"second": round(at, 1), "deliveries": made, "waiting deliveries": waiting}
    sample |= _processes(world)
    rows, records, all_files = _local_files(world.state)
    sample |= {
        "landed and spilled rows, MB": sum(rows) / 1e6, "landed and spilled rows, files": len(rows),
        "step records a delivery": len(records) / made, "local files a delivery, kB": sum(all_files) / 1e3 / made,
    }  # fmt: skip
    counted = _rows(world)
    sample |= counted
    for name in ("ledger rows", "partitions", "runs", "events of Dagster"):
        count = counted.get(name)
        sample[f"{name} a delivery"] = None if count is None else count / made
    return sample


def _processes(world: World) -> Sample:
    """Memory and descriptors by role; where there are several processes of one, their sum; of runs, the largest."""
    patterns = {role: re.compile(pattern) for role, pattern in ROLES.items()} | {"up": re.compile(r"ingest up$")}
    found: dict[str, list[tuple[float, int]]] = {role: [] for role in patterns}
    for process in world.platform.processes():
        try:
            words = words_of(process)
            role = next((role for role in ("daemon", "webserver", "code server", "run", "run server", "watcher", "up")
                         if patterns[role].search(words)), None)  # fmt: skip
            if role is not None:
                found[role].append((process.memory_info().rss / 1e6, process.num_fds()))
        except psutil.Error:
            continue
    sample: Sample = {}
    for role in LONG_LIVED:
        of = found[role]
        sample[f"memory of {role}, MB"] = round(sum(memory for memory, _ in of), 1) if of else None
        sample[f"descriptors of {role}"] = sum(count for _, count in of) if of else None
    runs = [memory for memory, _ in found["run"]]
    sample["memory of a run, MB"] = round(max(runs), 1) if runs else None
    sample["running runs"] = len(runs)
    return sample


def _local_files(state: Path) -> tuple[list[int], list[int], list[int]]:
    """Sizes of files with customers' rows, of what a run's steps hand to each other, and of all files.

    The second are kept for seven days: a kilobyte for each step of a run.
    """
    rows: list[int] = []
    records: list[int] = []
    every: list[int] = []
    for folder, _, names in os.walk(state):
        between_steps = bool({"spool", "spill"} & set(Path(folder).relative_to(state).parts))
        for name in names:
            path = Path(folder) / name
            try:
                size = path.stat().st_size
            except OSError:
                continue
            every.append(size)
            if between_steps:
                (records if path.suffix == ".handle" else rows).append(size)
    return rows, records, every


def _rows(world: World) -> Sample:
    """Connections, and rows of the ledger and of Dagster's storage; nothing while the server is away."""
    try:
        with psycopg.connect(world.target.dagster_url, connect_timeout=5, autocommit=True) as dagster:
            sample: Sample = {
                "connections to Postgres": _number(
                    dagster, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid()"
                ),
            }  # fmt: skip
            for name, table in (
                ("partitions", "dynamic_partitions"),
                ("runs", "runs"),
                ("events of Dagster", "event_logs"),
            ):
                sample[name] = _count(dagster, "public", table)
        with psycopg.connect(world.target.url, connect_timeout=5, autocommit=True) as target:
            tables = target.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('ingest') AND relkind = 'r'"
            ).fetchall()
            sample["ledger rows"] = sum(_count(target, "ingest", table) or 0 for (table,) in tables) or None
    except psycopg.Error:
        return {}
    return sample


def _number(connection: psycopg.Connection, query: str) -> float:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return float(row[0])


def _count(connection: psycopg.Connection, schema: str, table: str) -> float | None:
    name = sql.Identifier(schema, table)
    if connection.execute("SELECT to_regclass(%s)", [f"{schema}.{table}"]).fetchone() == (None,):
        return None
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    assert row is not None
    return float(row[0])


def write(path: Path, samples: Sequence[Sample]) -> None:
    """The table as CSV."""
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(samples)


def verdicts(samples: Sequence[Sample], warm_up: float) -> list[Verdict]:
    """What the rule says of each measurement that has enough samples."""
    times = [float(sample["second"] or 0) for sample in samples]
    judged = (
        judge(name, times, [sample.get(name) for sample in samples], warm_up=warm_up, allowance=allowance)
        for name, allowance in ALLOWANCES.items()
    )
    return [verdict for verdict in judged if verdict is not None]


def panels(samples: Sequence[Sample], warm_up: float) -> list[Panel]:
    """The table as charts."""
    wanted: Mapping[str, dict[str, str]] = {
        "memory of each role, MB": {role: f"memory of {role}, MB" for role in LONG_LIVED}
        | {"largest run": "memory of a run, MB"},
        "file descriptors of each role": {role: f"descriptors of {role}" for role in LONG_LIVED},
        "Postgres connections; running runs": {"connections": "connections to Postgres", "runs": "running runs"},
        "deliveries that are not loaded yet": {"waiting": "waiting deliveries"},
        "landed and spilled rows": {
            "files": "landed and spilled rows, files", "MB": "landed and spilled rows, MB",
        },
        "rows kept for each delivery": {
            "ledger": "ledger rows a delivery", "partitions": "partitions a delivery", "runs": "runs a delivery",
            "step records": "step records a delivery",
        },
    }  # fmt: skip
    return [
        Panel(
            title,
            {name: [(float(s["second"] or 0), s.get(column)) for s in samples] for name, column in series.items()},
            warm_up,
        )
        for title, series in wanted.items()
    ]
