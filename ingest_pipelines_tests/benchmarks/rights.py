"""What customers' rights cost an ordinary load: `python -m ingest_pipelines_tests.benchmarks.rights [--rows N]`.

The same file, landed, validated and merged in this process, without Dagster: asking for no list at all, as it was
before there were any; with empty lists of people who are kept out and of rows that wait; with 100,000 people kept out;
and with a history. All take turns, each from a copy of the same database. The ratio is taken within a round, of the
processor time of client and server together, which a busy machine blurs least.

A machine that is shared gives one and the same load a fifth more or less from one round to the next, and the price of
the lists is far below that. So it is also measured within the load: all that the lists do is done by `ADDED`, whose
seconds (of the processor in this process, of the clock where the server is asked) are set against the rest of the load.
"""

# ruff: noqa: T201  it prints its table

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import psycopg

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target
from ingest_pipelines.model import Run, Workspace
from ingest_pipelines.pipeline.steps import forget_files
from ingest_pipelines.rules.compile import Rules
from ingest_pipelines.sources import upload_item
from ingest_pipelines.suppression import NOBODY
from ingest_pipelines_tests.benchmarks import floor
from ingest_pipelines_tests.benchmarks.generate import COLUMNS, File, write_csv
from ingest_pipelines_tests.benchmarks.process import tree_cpu
from ingest_pipelines_tests.benchmarks.server import Cluster, running
from ingest_pipelines_tests.merge.deliveries import bound_import

DATABASE = "rights"
PEOPLE = 100_000
TYPES = {
    "age": "int", "points": "int", "balance": "decimal(12,2)", "lifetime_value": "decimal(14,4)",
    "birth_date": "date", "last_purchase_at": "datetime", "is_active": "bool",
}  # fmt: skip
LENGTHS = {"customer_id": 64, "full_name": 100, "email": 120, "address": 200}


ADDED = (
    (ledger, "newest_suppressed", time.perf_counter),
    (ledger, "find_suppressed", time.perf_counter),
    (import_module("ingest_pipelines.merge.load_transaction"), "find_waiting", time.perf_counter),
    (Rules, "suppressed", time.thread_time),
)
"""What a load does for the lists, and the clock that tells what it takes."""


@dataclass(frozen=True)
class Spent:
    """Seconds of one load: of the processor, client and server; of the clock; and what the lists took of them."""

    cpu: float
    wall: float
    lists: float


@dataclass(frozen=True)
class Contender:
    """One way to load the file; `against` is measured in the same rounds."""

    name: str
    against: str = ""
    asks: bool = True
    people: int = 0
    history: bool = False

    @property
    def mold(self) -> str:
        """The database that it starts from."""
        return f"rights_{self.people}_{'past' if self.history else 'plain'}"


BEFORE = Contender("asking for no list", asks=False)
EMPTY = Contender("empty lists", BEFORE.name)
CONTENDERS = (
    BEFORE, EMPTY, Contender("100,000 people kept out", EMPTY.name, people=PEOPLE),
    Contender("history: true", EMPTY.name, history=True),
)  # fmt: skip


def main() -> None:
    """Prints a line per contender: half of the rows change a customer, half are new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-rights-") as name, running(Path(name) / "cluster") as cluster:
        folder = Path(name)
        folder.chmod(0o755)  # the server has an account of its own
        file = folder / "customers.csv"
        write_csv(File(options.rows, changed_percent=100), file)
        for contender in CONTENDERS:
            _prepare(cluster, contender, folder, options.rows)
        spent: dict[str, list[Spent]] = {contender.name: [] for contender in CONTENDERS}
        for number in range(options.rounds):
            turn = number % len(CONTENDERS)
            for contender in CONTENDERS[turn:] + CONTENDERS[:turn]:
                cluster.create(DATABASE, contender.mold)
                cluster.settle()
                spent[contender.name].append(_load(cluster, contender, file, folder / "work", DATABASE))
                last = spent[contender.name][-1]
                print(
                    f"  round {number + 1}  {contender.name:<28}{last.cpu:8.2f} CPU s{last.wall:8.2f} s"
                    f"{1000 * last.lists:8.1f} ms", flush=True,
                )  # fmt: skip
        print(f"{options.rows:,} rows, Postgres {cluster.version()}; medians of {options.rounds} rounds")
        print(f"{'':<28}{'CPU s':>8}{'wall s':>8}{'lists':>8}  CPU ratio (least to most)")
        for contender in CONTENDERS:
            own = spent[contender.name]
            cpu, wall = median(each.cpu for each in own), median(each.wall for each in own)
            within = median(each.cpu / (each.cpu - each.lists) for each in own)
            line = f"{contender.name:<28}{cpu:8.2f}{wall:8.2f}{within:8.3f}"
            if contender.against:
                ratios = [each.cpu / base.cpu for each, base in zip(own, spent[contender.against], strict=True)]
                line += f"  {median(ratios):.3f} of {contender.against} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(line)


def _import(contender: Contender) -> BoundImport:
    fields = {
        name: {"type": TYPES.get(name, "string"), **({"max_length": LENGTHS[name]} if name in LENGTHS else {})}
        for name in COLUMNS
    }
    database = {"table": "crm.customers", "key": "customer_id", "fields": fields, "history": contender.history}
    return bound_import("customers", database, columns={name: name for name in COLUMNS}, shrink={"min_percent": 0})


def _prepare(cluster: Cluster, contender: Contender, folder: Path, rows: int) -> None:
    """The contender's mold: half of the customers, a ledger, and tables as a first load leaves them."""
    if cluster.exists(contender.mold):
        return
    cluster.create(contender.mold)
    ledger.migrate(cluster.url(contender.mold))
    with psycopg.connect(cluster.url(contender.mold), autocommit=True) as connection:
        connection.execute(floor.CREATE_TABLE)
        given = folder / "given.csv"
        if not given.exists():
            write_csv(File(rows, step=2, seed=2), given)
        columns = ", ".join(COLUMNS)
        statement = f"COPY crm.customers ({columns}) FROM STDIN (FORMAT csv, HEADER)"
        with connection.cursor().copy(statement.encode()) as copy, given.open("rb") as source:
            while block := source.read(1 << 20):
                copy.write(block)
        if contender.people:
            keys = (f"forgotten-{number}" for number in range(contender.people))
            entries = ledger.suppression_secret(connection).entries("crm.customers", "key", keys)
            ledger.add_suppressed(connection, "crm.customers", b"benchmark", entries, datetime.now(UTC))
    nobody = folder / "nobody.csv"
    write_csv(File(10, first=900_000_000), nobody)
    _load(cluster, contender, nobody, folder / "work", contender.mold)
    with psycopg.connect(cluster.url(contender.mold), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _load(cluster: Cluster, contender: Contender, file: Path, work: Path, database: str) -> Spent:
    """The file's load."""
    bound, target = _import(contender), Target(cluster.url(database))
    workspace = Workspace(work / "spool", work / "spill")
    for folder in (workspace.spool, workspace.spill):
        folder.mkdir(parents=True, exist_ok=True)
    file.touch()  # newer than whatever this import committed last
    now = datetime.now(UTC)
    cpu, wall = time.process_time() + tree_cpu(cluster.pid), time.perf_counter()
    with _asking_for_no_list() if not contender.asks else ExitStack(), _timed() as lists:
        landing = pipeline.land(upload_item(bound.name, file, None), bound, workspace)
        kept_out = pipeline.find_suppressed(target, bound) if contender.asks else NOBODY
        validated = pipeline.validate(landing, bound, workspace, suppressed=kept_out)
        report = pipeline.load(validated, bound, target, Run(f"run-{wall}", by="user"), now, workspace=workspace)
    assert report.counts.rejected == 0
    spent = Spent(time.process_time() + tree_cpu(cluster.pid) - cpu, time.perf_counter() - wall, sum(lists))
    forget_files(validated)
    return spent


@contextmanager
def _asking_for_no_list() -> Iterator[None]:
    """Loads do not ask who was forgotten, and which rows wait."""
    with (
        patch.object(ledger, "newest_suppressed", lambda *_: 0),
        patch.object(import_module("ingest_pipelines.merge.load_transaction"), "find_waiting", lambda *_: None),
    ):
        yield


@contextmanager
def _timed() -> Iterator[list[float]]:
    """The seconds of each call of ADDED."""
    seconds: list[float] = []

    def timed(function: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            start = clock()
            try:
                return function(*args, **words)
            finally:
                seconds.append(clock() - start)

        return call

    with ExitStack() as patches:
        for owner, name, clock in ADDED:
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name), clock)))
        yield seconds


if __name__ == "__main__":
    main()
