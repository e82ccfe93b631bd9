"""Eight loads of one table at once, with the same keys in different orders: all commit, as if one after the other.

In the order of their loads' numbers: a load gets its number when it has the table. The oracle is a dictionary.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.merge.target import lock_table
from ingest_pipelines.model import LoadReport, Run, Validated
from ingest_pipelines_tests.guarantees.tills import Tills, tills_of
from ingest_pipelines_tests.guarantees.world import read_world
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.conftest import HEADER, IMPORT
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.orchestration.vendor import vendor_of
from ingest_pipelines_tests.servers.postgres import fresh_database
from ingest_pipelines_tests.servers.sftp import SftpServer
from ingest_pipelines_tests.waiting import until

LOADS = 8
KEYS = [f"c{number}" for number in range(400)]


def columns_of(number: int) -> Mapping[str, Any]:
    """Two fields that all imports fill, and in every second import one of its own, which the table lacks."""
    own = {"Own": {"field": f"own_{number}", "type": "string"}} if number % 2 else {}
    return {"CID": "customer_id", "Tier": "tier", "Points": "points", **own}


def rows_of(number: int) -> list[tuple[Any, ...]]:
    """All keys, in an order of this load's own."""
    keys = random.Random(number).sample(KEYS, len(KEYS))
    return [(key, f"tier {number}", number, *(["own"] if number % 2 else [])) for key in keys]


def load_at_once(folder: Path, target: Target, first: int, bounds: Sequence[BoundImport]) -> list[LoadReport]:
    """What the loads report: they begin together, a third of them while their rows are validated."""
    together = threading.Barrier(len(bounds), timeout=60)

    def load(number: int) -> LoadReport:
        bound, run = bounds[number], Run(f"run-{first + number}", by="sensor")
        validated = delivery(folder, bound, rows_of(number), of=item(first + number, name=bound.name), chunks=3)
        together.wait()
        target.migrate()
        early = _begun(validated, bound, target, run) if number % 3 == 0 else None
        return apply(validated, bound, target, run, NOW, early=early)

    with ThreadPoolExecutor(len(bounds)) as pool:
        return list(pool.map(load, range(len(bounds))))


def _begun(validated: Validated, bound: BoundImport, target: Target, run: Run) -> EarlyLoad:
    early = EarlyLoad(validated.landing, bound, Destination(target, run, NOW))
    for file in validated.accepted:
        early.add(file)
    return early


def test_loads_that_no_queue_holds_apart_all_commit_the_first_time(server_url: str, tmp_path: Path) -> None:
    """As from several installations, with no pool between them. The first eight make ledger, schema and table."""
    bounds = [bound_import(f"import_{number}", columns=columns_of(number)) for number in range(LOADS)]
    with fresh_database(server_url) as url:
        target = Target(url, lock_timeout_seconds=60)
        for first in (0, LOADS):
            reports = load_at_once(tmp_path, target, first, bounds)
            assert {report.status for report in reports} == {"committed"}
            [*_, last] = sorted(reports, key=lambda report: report.load_id or 0)
            number = reports.index(last)
            world = read_world(url)  # no stage and no lock is left
            assert world.profiles == dict.fromkeys(KEYS, (f"tier {number}", number))
            assert sum(report.counts.inserted for report in reports) == (len(KEYS) if first == 0 else 0)
        with psycopg.connect(url) as connection:
            own = " AND ".join(f"own_{number} = 'own'" for number in range(1, LOADS, 2))
            assert connection.execute(f"SELECT count(*) FROM crm.customers WHERE {own}".encode()).fetchone() == (400,)


def test_a_load_that_waits_for_its_turn_keeps_nobody_from_altering_the_table(target: Target, tmp_path: Path) -> None:
    """It looked at the table while it was another's turn. Were it to keep that lock, both would wait for each other."""
    bound, wider = bound_import(), bound_import("wider", columns=columns_of(1))
    apply(delivery(tmp_path, bound, rows_of(0)), bound, target, Run("first", by="sensor"), NOW)
    waiting = delivery(tmp_path, bound, rows_of(2), of=item(2))
    run = Run("waiting", by="sensor")
    with ThreadPoolExecutor(1) as pool, target.begin("a load of another import") as other:
        lock_table(other, "crm", "customers")
        early = _begun(waiting, bound, target, run)
        early.finish()
        assert early.state.early == "staged"
        load = pool.submit(apply, waiting, bound, target, run, NOW, early=early)
        until(lambda: _waits_for_the_table(target))
        other.execute("SET LOCAL lock_timeout = '5s'")
        other.execute("ALTER TABLE crm.customers ADD COLUMN own_1 text")
        other.commit()
        assert load.result(60).status == "committed"
    report = apply(delivery(tmp_path, wider, rows_of(1)), wider, target, Run("wider", by="sensor"), NOW)
    assert report.status == "committed"
    assert read_world(target.url).profiles == dict.fromkeys(KEYS, ("tier 1", 1))


def _waits_for_the_table(target: Target) -> bool:
    with psycopg.connect(target.url) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return connection.execute(waiting).fetchone() == (1,)


def test_ticks_at_once_register_the_same_new_items_in_any_order(target: Target) -> None:
    items = [item(number) for number in range(200)]
    together = threading.Barrier(LOADS, timeout=60)

    def register(number: int) -> None:
        with target.session() as connection:
            together.wait()
            ledger.register_items(connection, random.Random(number).sample(items, len(items)), NOW)

    with ThreadPoolExecutor(LOADS) as pool:
        list(pool.map(register, range(LOADS)))
    with psycopg.connect(target.url) as connection:
        assert connection.execute("SELECT count(*) FROM ingest.items").fetchone() == (len(items),)


@pytest.fixture
def tills(postgres_url: str, tmp_path: Path) -> Iterator[Tills]:
    """A shop with eight imports into one table."""
    names = [f"till{number}" for number in range(LOADS)]
    with (
        fresh_target(postgres_url) as target,
        fresh_storage(postgres_url) as runs,
        tills_of(tmp_path / "tills", target, runs, *names) as tills,
    ):
        yield tills


@pytest.mark.slow
def test_eight_commands_at_once_are_all_loaded_and_nobody_hears_of_a_deadlock(tills: Tills) -> None:
    delivered: dict[str, dict[str, int]] = {}
    for again in range(2):
        for number in range(LOADS):
            name, points = f"till{number}", 100 * again + number
            keys = random.Random(points).sample(KEYS, len(KEYS))
            tills.delivered += 1
            path = tills.shop.files / name / f"{name.capitalize()}_{tills.delivered}.csv"
            path.parent.mkdir(exist_ok=True)
            rows = [f"{key},Gold,{points},2024-05-01" for key in keys]
            path.write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
            delivered[name] = dict.fromkeys(keys, points)
        commands = [tills.runner.start("run", f"till{number}") for number in range(LOADS)]
        assert [command.wait() for command in commands] == [0] * LOADS, [command.text for command in commands]
        assert not any("deadlock" in command.text for command in commands)
        loads = tills.shop.rows("SELECT import FROM ingest.loads WHERE status = 'committed' ORDER BY id")
        assert len(loads) == 1 + LOADS * (again + 1)  # and the tills' own first one
        for (name,) in loads[-LOADS:]:
            tills.expected |= delivered[name]
        tills.is_at_rest()


@pytest.mark.slow
def test_a_daemons_runs_and_two_persons_at_once_are_all_loaded_whole(
    postgres_url: str, sftp_server: SftpServer, tmp_path: Path
) -> None:
    """Eight imports have a new file at the same moment, and two people load a file of another one meanwhile."""
    names = [f"till{number}" for number in range(LOADS + 2)]
    with vendor_of(tmp_path, sftp_server, postgres_url) as vendor:
        texts = {}
        for points, name in enumerate(names):
            source = {"connection": "vendor", "file": f"points/{name.capitalize()}", "settle": "1s"}
            vendor.write(name, {**IMPORT, "source": source, "sensor": {"every": "5s"}})
            keys = random.Random(points).sample(KEYS, len(KEYS))
            texts[name] = "\n".join([HEADER, *(f"{key},Gold,{points},2024-05-01" for key in keys), ""])
        with vendor.up() as served:
            for name in names[:LOADS]:
                vendor.deliver(f"{name.capitalize()}_1767225600.csv", texts[name])
            persons = []
            for name in names[LOADS:]:
                path = tmp_path / f"{name}.csv"
                path.write_text(texts[name], encoding="utf-8")
                command = [sys.executable, "-c", "from ingest_pipelines.cli import main; main()", "run", name]
                command += ["--file", str(path)]
                persons.append(subprocess.Popen(command, env={**os.environ, **vendor.environment}))
            assert [person.wait(300) for person in persons] == [0, 0]
            query = "SELECT run_id, import, status FROM ingest.loads ORDER BY id"
            loads = wait_for(
                lambda: found if len(found := vendor.rows(query)) == len(names) else None,
                "ten loads", lambda: str(vendor.rows(query)),
            )  # fmt: skip
            assert {served.wait_for_run(run)["status"] for run, _, _ in loads} == {"SUCCESS"}
        assert sorted(name for _, name, _ in loads) == sorted(names)
        last = names.index(loads[-1][1])
        expected = [(len(KEYS), last, last)]
        assert vendor.rows("SELECT count(*), min(points), max(points) FROM crm.customers") == expected
        assert vendor.rows(query) == [(run, name, "committed") for run, name, _ in loads]
