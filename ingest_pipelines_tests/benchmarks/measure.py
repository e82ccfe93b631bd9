"""Contenders take turns on the same files, from the same table, in one session: ratios survive a noisy machine.

A round runs everybody once, each from a byte-for-byte copy of the starting database, after a checkpoint. The order
turns by one from round to round. After every run the table is added up; a wrong sum is reported, not averaged.
"""

# ruff: noqa: T201  it tells the terminal how far it is

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ingest_pipelines import ledger
from ingest_pipelines.merge import Target
from ingest_pipelines_tests.benchmarks import floor, peers, product
from ingest_pipelines_tests.benchmarks.generate import COLUMNS, File, Truth, truth, write_csv, write_parquet
from ingest_pipelines_tests.benchmarks.process import Cost, measure
from ingest_pipelines_tests.benchmarks.scenarios import SCENARIOS, Scenario, Start, Task, starting_file
from ingest_pipelines_tests.benchmarks.server import Cluster

FLOOR, PRODUCT = "floor (psql)", "ingest run"
WITHOUT_HISTORY, WITHOUT_LISTS = "ingest run, without a history", "ingest run, asking for no list"
DATABASE = "bench"


class Failed(Exception):
    """A measured command did not end well; its last words are the message."""


@dataclass(frozen=True)
class Contender:
    """Somebody who loads a file.

    Attributes:
        template: the starting database.
        command: builds what to run; called before the clock starts.
        expected: what the table adds up to afterwards.
    """

    name: str
    template: str
    command: Callable[[], tuple[list[str], dict[str, str]]]
    rounds: int
    expected: Truth


class Bench:
    """The benchmark's folder: files, cluster, environments and projects. Everything in it may be deleted."""

    def __init__(self, folder: Path, cluster: Cluster, *, with_product: bool = True) -> None:
        self.cluster, self.with_product = cluster, with_product
        self.data, self.work, self.results = folder / "data", folder / "work", folder / "results"
        self.home, self.state, self.peers = folder / "home", folder / "state", folder / "peers"
        for path in (self.data, self.work, self.results, self.state, self.peers):
            path.mkdir(parents=True, exist_ok=True)
        self.home_with_history = folder / "home_with_history"
        product.write_project(self.home, self.data)
        product.write_project(self.home_with_history, self.data, history=True)
        if not cluster.exists("dagster"):
            cluster.create("dagster")

    def csv(self, file: File) -> Path:
        """The generated file; kept, since it is the same every time."""
        path = self.data / ("_".join(str(value) for value in asdict(file).values()) + ".csv")
        if not path.exists():
            write_csv(file, path)
        return path

    def parquet(self, file: File) -> Path:
        """The same rows as Parquet."""
        csv = self.csv(file)
        path = csv.with_suffix(".parquet")
        if not path.exists():
            write_parquet(csv, path)
        return path

    def ingest(
        self, import_name: str, file: Path, database: str = DATABASE, *, history: bool = False, lists: bool = True
    ) -> tuple[list[str], dict[str, str]]:
        """Our command, with nothing left over from earlier runs in the spool."""
        home = self.home_with_history if history else self.home
        for leftover in ("spool", "spill"):
            shutil.rmtree(self.state / leftover, ignore_errors=True)
        file.touch()  # newer than whatever this import committed last
        command = product.command(import_name, file, lists=lists)
        return command, product.environment(home, self.state, self.cluster, database)

    def run(self, argv: Sequence[str], environment: dict[str, str]) -> Cost:
        """The measured command.

        Raises:
            Failed: it ended with an error.
        """
        cost = measure(argv, environment, self.work, self.cluster.pid)
        if cost.exit_code != 0:
            raise Failed(f"exit code {cost.exit_code} of {' '.join(argv)}\n{cost.output[-4000:]}")
        return cost

    def table(self, start: Start, rows: int, *, history: bool = False) -> str:
        """The starting database with the table given to all: name of the template."""
        name = f"given_{start}_{rows}{'_history' if history else ''}"
        self.cluster.create(name)
        with psycopg.connect(self.cluster.url(name), autocommit=True) as connection:
            connection.execute(floor.CREATE_TABLE)
            file = starting_file(start, rows)
            if file is not None:
                columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
                statement = sql.SQL("COPY crm.customers ({}) FROM STDIN (FORMAT csv, HEADER)").format(columns)
                with connection.cursor().copy(statement) as copy, self.csv(file).open("rb") as source:
                    while block := source.read(1 << 20):
                        copy.write(block)
        if self.with_product:
            # The ledger's tables are there, as on every day but the first; no row of this file matches.
            nobody = self.csv(File(10, first=900_000_000))
            self.run(*self.ingest("customers_update_only", nobody, name, history=history))
        self._execute(name, "VACUUM (ANALYZE)")
        return name

    def table_of(self, peer: peers.Peer, python: Path, start: Start, rows: int) -> str:
        """The starting database of a peer that makes its own table, or fills it itself."""
        name = f"{peer.name.replace(', ', '_')}_{start}_{rows}"
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.cluster.create(name)
        if not peer.own_table:
            self._execute(name, floor.CREATE_TABLE)
        file = starting_file(start, rows)
        if file is not None:
            source = self.parquet(file) if peer.takes == "parquet" else self.csv(file)
            self.run(peers.command(peer, python, source, self.cluster.url(name), folder), dict(os.environ))
        self._execute(name, "VACUUM (ANALYZE)")
        return name

    def floors_table(self, start: Start, rows: int) -> str:
        """The starting database whose table the floor's own statement filled."""
        name, script = f"floor_{start}_{rows}", self.work / "floor_first.sql"
        self.cluster.create(name)
        self._execute(name, floor.CREATE_TABLE)
        file = starting_file(start, rows)
        if file is not None:
            floor.write_script("add_and_update", self.csv(file), script)
            self.run(floor.command(self.cluster.binaries / "psql", self.cluster.url(name), script), dict(os.environ))
        self._execute(name, "VACUUM (ANALYZE)")
        return name

    def our_table(self, start: Start, rows: int) -> str:
        """The starting database whose table our own first load made; without a table if that is what is measured."""
        name, file = f"ours_{start}_{rows}", starting_file(start, rows)
        self.cluster.create(name)
        if file is None:
            Target(self.cluster.url(name)).migrate()  # the ledger is there, as on every day but the first
        else:
            self.run(*self.ingest("customers", self.csv(file), name))
        self._execute(name, "VACUUM (ANALYZE)")
        return name

    def _execute(self, database: str, statement: LiteralString) -> None:
        with psycopg.connect(self.cluster.url(database), autocommit=True) as connection:
            connection.execute(statement)

    def suppress(self, people: int) -> None:
        """So many people are kept out of the table of the next run."""
        with psycopg.connect(self.cluster.url(DATABASE)) as connection:
            keys = (f"forgotten-{number}" for number in range(people))
            entries = ledger.suppression_secret(connection).entries("crm.customers", "key", keys)
            ledger.add_suppressed(connection, "crm.customers", b"benchmark", entries, datetime.now(UTC))

    def added_up(self) -> Truth:
        """What the table of the last run adds up to."""
        with psycopg.connect(self.cluster.url(DATABASE)) as connection:
            row = connection.execute(
                "SELECT count(*), coalesce(sum(points), 0), coalesce(sum(balance) * 100, 0), count(email)"
                " FROM crm.customers"
            ).fetchone()
        assert row is not None
        return Truth(*(int(value) for value in row))

    def keep(self, scenario: str, title: str, rows: int, load_before: float, runs: list[dict[str, Any]]) -> None:
        """The result as a file; the report reads all of them."""
        result = {
            "scenario": scenario,
            "title": title,
            "rows": rows,
            "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
            "postgres": self.cluster.version(),
            "load_before": load_before,
            "runs": runs,
        }
        (self.results / f"{scenario}_{rows}.json").write_text(json.dumps(result, indent=1))


def contenders(bench: Bench, task: Task, scenario: Scenario, uv: Path, only: Iterable[str]) -> list[Contender]:
    """Who takes part: the floor, ourselves, and every peer that installs here."""
    wanted = tuple(only)
    file = bench.csv(scenario.file(task.rows))
    given = bench.table(scenario.start, task.rows)
    expected = scenario.expected(task.rows)
    taking_part = []
    if scenario.floor:
        script = bench.work / "floor.sql"
        mode = "update_only" if scenario.import_name == "customers_update_only" else "add_and_update"

        def run_floor() -> tuple[list[str], dict[str, str]]:
            floor.write_script(mode, file, script)
            psql = bench.cluster.binaries / "psql"
            return floor.command(psql, bench.cluster.url(DATABASE), script), dict(os.environ)

        floors = bench.floors_table(scenario.start, task.rows) if scenario.own_tables else given
        taking_part.append(Contender(FLOOR, floors, run_floor, task.rounds, expected))
    elif scenario.history:
        without = partial(bench.ingest, scenario.import_name, file)
        taking_part.append(Contender(WITHOUT_HISTORY, given, without, task.rounds, expected))
        given = bench.table(scenario.start, task.rows, history=True)
    elif scenario.lists:
        without = partial(bench.ingest, scenario.import_name, file, lists=False)
        taking_part.append(Contender(WITHOUT_LISTS, given, without, task.rounds, expected))
    else:
        clean = File(task.rows, changed_percent=100)
        command = partial(bench.ingest, "customers", bench.csv(clean))
        taking_part.append(Contender("ingest run, clean file", given, command, task.rounds, truth(clean)))
    ours = partial(bench.ingest, scenario.import_name, file, history=scenario.history)
    started = bench.our_table(scenario.start, task.rows) if scenario.own_tables else given
    taking_part.append(Contender(PRODUCT, started, ours, task.rounds, expected))
    if task.peers and scenario.peers:
        chosen = [peer for peer in peers.PEERS.values() if _is_wanted(peer.name, wanted)]
        taking_part += _peers(bench, task, scenario, uv, given, expected, chosen)
    return [contender for contender in taking_part if _is_wanted(contender.name, wanted)]


def _is_wanted(name: str, words: Sequence[str]) -> bool:
    return not words or any(word in name for word in words)


def _peers(
    bench: Bench, task: Task, scenario: Scenario, uv: Path, given: str, expected: Truth, chosen: Iterable[peers.Peer]
) -> Iterable[Contender]:
    for peer in chosen:
        if (peer.slow and task.rows > 1_000_000) or (scenario.start == "empty" and not peer.fills):
            continue
        try:
            python = peers.install(peer, bench.peers, uv)
            own = peer.own_table or (scenario.own_tables and peer.fills)
            template = bench.table_of(peer, python, scenario.start, task.rows) if own else given
        except (subprocess.CalledProcessError, Failed) as failure:
            print(f"{peer.name} does not work here and is left out: {failure}", file=sys.stderr)
            continue
        data = bench.parquet if peer.takes == "parquet" else bench.csv
        source = data(scenario.file(task.rows))

        def run_peer(
            peer: peers.Peer = peer, python: Path = python, template: str = template, source: Path = source
        ) -> tuple[list[str], dict[str, str]]:
            folder = bench.work / "peer"
            shutil.rmtree(folder, ignore_errors=True)
            if peer.own_table:
                shutil.copytree(bench.work / template, folder)
            else:
                folder.mkdir()
            return peers.command(peer, python, source, bench.cluster.url(DATABASE), folder), dict(os.environ)

        rounds = 1 if peer.slow else min(2, task.rounds) if peer.far_behind else task.rounds
        yield Contender(peer.name, template, run_peer, rounds, expected)


def compete(bench: Bench, task: Task, uv: Path, only: Iterable[str] = ()) -> None:
    """One task, measured; the result is a file in the results folder, there after every round."""
    scenario = SCENARIOS[task.scenario]
    taking_part = contenders(bench, task, scenario, uv, only)
    load_before = os.getloadavg()[0]
    runs: list[dict[str, Any]] = []
    for number in range(task.rounds):
        turn = number % len(taking_part)
        for contender in taking_part[turn:] + taking_part[:turn]:
            if number >= contender.rounds:
                continue
            bench.cluster.create(DATABASE, contender.template)
            if scenario.suppressed and contender.name == PRODUCT:
                bench.suppress(scenario.suppressed)
            argv, environment = contender.command()
            bench.cluster.settle()
            cost = bench.run(argv, environment)
            correct = bench.added_up() == contender.expected
            runs.append({"contender": contender.name, "round": number, **facts(cost), "correct": correct})
            print(
                f"  {task.scenario} {task.rows:>10,} round {number + 1}  {contender.name:<24}{cost.wall:8.2f} s"
                f"{cost.client_cpu:8.1f} client {cost.server_cpu:6.1f} server {cost.peak_mb:7.0f} MB"
                f"{'' if correct else '  WRONG RESULT'}",
                flush=True,
            )
        bench.keep(task.scenario, scenario.title, task.rows, load_before, runs)
    bench.cluster.drop(DATABASE)
    for template in {contender.template for contender in taking_part}:
        bench.cluster.drop(template)


def facts(cost: Cost) -> dict[str, float]:
    """What is kept of a run."""
    return {
        "wall": cost.wall,
        "client_cpu": cost.client_cpu,
        "server_cpu": cost.server_cpu,
        "peak_mb": cost.peak_mb,
        "peak_private_mb": cost.peak_private_mb,
    }
