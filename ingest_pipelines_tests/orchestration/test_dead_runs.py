"""`ingest run` killed at any moment, without a daemon: the next one clears up after it and goes on within seconds."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from dagster import DagsterInstance

from ingest_pipelines.config import read_settings
from ingest_pipelines.merge.faults import EARLY_FAULT_POINTS, FAULT_POINTS
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines_tests.guarantees.killable_commands import BEFORE_THE_RUN, POINTS, Runner
from ingest_pipelines_tests.orchestration.agreement import disagreements
from ingest_pipelines_tests.orchestration.conftest import HEADER, Shop, new_shop
from ingest_pipelines_tests.servers.postgres import fresh_database
from ingest_pipelines_tests.waiting import until

POOL = "target_crm_customers"
NEXT_RUN_SECONDS = 20.0
"""What a run may take longer than five times the first one: the machine may be busy."""


@dataclass
class Tills:
    """A shop whose tills deliver points, and what its table must hold: a model of one line."""

    shop: Shop
    runner: Runner
    instance: DagsterInstance
    expected: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    usual: float = 0.0
    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(10**9))

    def deliver(self, name: str = "points", rows: int = 3) -> None:
        """A new file, newer than every other."""
        self.delivered += 1
        values = {f"{name}-{self.delivered}-{row}": self.delivered for row in range(rows)}
        text = "\n".join([HEADER, *(f"{key},Gold,{points},2024-05-01" for key, points in values.items()), ""])
        folder = {"points": "points", "refunds": "refunds"}[name]
        path = self.shop.files / folder / f"{name.capitalize()}_{self.delivered}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        when = (self.shop.now - timedelta(days=1) + timedelta(seconds=self.delivered)).timestamp()
        os.utime(path, (when, when))
        self.expected |= values

    def run(self, name: str) -> str:
        """The import loads within seconds; what the command says."""
        began = time.monotonic()
        code, text = self.runner.run("run", name)
        seconds = time.monotonic() - began
        assert code == 0, f"{text}\nseed {self.seed}"
        self.usual = self.usual or seconds
        assert seconds < self.longest, text
        return text

    @property
    def longest(self) -> float:
        """Seconds that a run may take."""
        return 5 * self.usual + NEXT_RUN_SECONDS

    def is_at_rest(self) -> None:
        """The table is right, and nobody left anything anywhere."""
        assert dict(self.shop.rows("SELECT customer_id, points FROM crm.customers")) == self.expected
        assert [run.run_id for run in self.instance.get_runs() if not run.is_finished] == []
        pool = self.instance.event_log_storage.get_concurrency_info(POOL)
        assert (pool.claimed_slots, pool.pending_steps) == ([], [])
        assert disagreements(self.shop.site(), self.instance, self.shop.now) == []
        left = [path for folder in ("spool", "spill", "runs") for path in (self.shop.state / folder).rglob("*")]
        files = [path for path in left if path.is_file() and path.suffix != ".handle"]
        # the lock of a run that was killed before Dagster had it is kept for a day
        assert [path for path in files if path.suffix != ".lock" or self.instance.has_run(path.stem)] == []


@pytest.fixture(scope="module")
def tills(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tills]:
    """One shop for all tests: each leaves it at rest."""
    folder = tmp_path_factory.mktemp("tills")
    with (
        fresh_database(postgres_url) as target,
        fresh_database(postgres_url) as runs,
        pytest.MonkeyPatch.context() as environment,
    ):
        shop = new_shop(folder, target)
        shop.write_import("refunds", source={"connection": "uploads", "file": "refunds/Refunds", "settle": "1s"})
        settings = {
            "INGEST_HOME": str(shop.home), "INGEST_STATE": str(shop.state),
            "INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": runs,
        }  # fmt: skip
        for name, value in settings.items():
            environment.setenv(name, value)
        environment.delenv("DAGSTER_HOME", raising=False)
        with (
            open_instance(read_settings()) as instance,
            Runner(tmp_path_factory.mktemp("outputs"), settings) as runner,
        ):
            tills = Tills(shop, runner, instance)
            tills.deliver()
            tills.run("points")
            yield tills


FAST_POINTS = ("created", "validated", "merged", "committed")
"""A fair sample: before the run begins, with the pool, in the transaction, after it."""

EVERY_POINT = [
    point if point in FAST_POINTS else pytest.param(point, marks=pytest.mark.slow)
    for point in (*POINTS, *FAULT_POINTS, *EARLY_FAULT_POINTS)
]


@pytest.mark.parametrize("point", EVERY_POINT)
def test_a_run_killed_at_any_point_stops_nobody(tills: Tills, point: str) -> None:
    tills.deliver()
    code, text = tills.runner.run("run", "points", dies_at=point)
    assert code == -signal.SIGKILL, f"{point}: {text}"
    [killed] = [run.run_id for run in tills.instance.get_runs(limit=1)]
    tills.deliver("refunds")
    tills.run("refunds")  # another import of the same table is not stopped, either
    _says_what_became_of(tills, killed, point)
    tills.run("points")
    tills.is_at_rest()


def _says_what_became_of(tills: Tills, killed: str, point: str) -> None:
    """The ledger says that the run failed, or what it did before it was killed; `ingest status` says the same."""
    if point in BEFORE_THE_RUN:
        return
    [(status, error)] = tills.shop.rows(f"SELECT status, error FROM ingest.loads WHERE run_id = '{killed}'")
    done = point in {"committed", "ended"}
    assert status == ("committed" if done else "failed")
    assert done or ("is dead" in error and "ingest run points --item" in error)
    _, text = tills.runner.run("status")
    assert ("is dead" in text) == (not done), text


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_time_stops_nobody(tills: Tills, kills: int) -> None:
    chance = random.Random(tills.seed)
    began = time.monotonic()
    tills.deliver()
    tills.run("points")
    seconds = time.monotonic() - began
    for _ in range(kills):
        tills.deliver()
        running = tills.runner.start("run", "points")
        time.sleep(chance.uniform(0, seconds))
        running.signal(signal.SIGKILL)
        running.wait()
    tills.run("points")
    _load_what_was_passed_over(tills)
    tills.is_at_rest()


def _load_what_was_passed_over(tills: Tills) -> None:
    """Files that came between two kills are older than the last one: `ingest run` takes the newest."""
    loaded = dict(tills.shop.rows("SELECT customer_id, points FROM crm.customers"))
    tills.expected = {key: points for key, points in tills.expected.items() if key in loaded} | {
        key: points for key, points in tills.expected.items() if points == tills.delivered
    }


def test_a_run_that_waits_says_for_whom_and_goes_on_when_that_one_is_killed(tills: Tills) -> None:
    tills.deliver()
    tills.deliver("refunds")
    holder = tills.runner.start("run", "points", stops_at="validated")
    holder.wait_until_stopped()
    waiting = tills.runner.start("run", "refunds")
    until(lambda: "waiting for pool" in waiting.text)
    assert "of import points" in waiting.text
    assert f"it is alive, as process {holder.pid} of" in waiting.text
    [held] = tills.instance.event_log_storage.get_concurrency_info(POOL).claimed_slots
    [own] = [run for run in tills.instance.get_runs() if not run.is_finished and run.run_id != held.run_id]
    logged = [record.message for record in tills.instance.all_logs(own.run_id)]
    assert any(held.run_id[:8] in message for message in logged if message.startswith("Waiting for pool"))

    holder.signal(signal.SIGKILL)
    killed = time.monotonic()
    assert waiting.wait() == 0, waiting.text
    assert time.monotonic() - killed < tills.longest
    assert holder.wait() == -signal.SIGKILL
    tills.run("points")
    tills.is_at_rest()


def test_the_place_of_a_live_run_is_never_given_away(tills: Tills) -> None:
    tills.deliver()
    tills.deliver("refunds")
    holder = tills.runner.start("run", "points", stops_at="validated")
    holder.wait_until_stopped()
    [held] = tills.instance.event_log_storage.get_concurrency_info(POOL).claimed_slots
    files = sorted(
        path for folder in ("spool", "spill") for path in (tills.shop.state / folder / held.run_id).rglob("*")
    )
    waiting = tills.runner.start("run", "refunds")
    until(lambda: "waiting for pool" in waiting.text)
    waiting.signal(signal.SIGKILL)
    waiting.wait()
    again = tills.runner.start("run", "refunds")
    until(lambda: "waiting for pool" in again.text)
    assert tills.instance.event_log_storage.get_concurrency_info(POOL).claimed_slots == [held]
    assert all(path.exists() for path in files)
    holder.signal(signal.SIGCONT)
    assert holder.wait() == 0, holder.text
    assert again.wait() == 0, again.text
    tills.is_at_rest()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_ends_when_it_is_asked_to(tills: Tills, number: signal.Signals) -> None:
    tills.deliver()
    tills.deliver("refunds")
    holder = tills.runner.start("run", "points", stops_at="validated")
    holder.wait_until_stopped()
    waiting = tills.runner.start("run", "refunds")
    until(lambda: len(tills.instance.event_log_storage.get_concurrency_info(POOL).pending_steps) > 1)
    asked = time.monotonic()
    waiting.signal(number)
    assert waiting.wait() == 130, waiting.text
    assert time.monotonic() - asked < 10
    assert "Traceback" not in waiting.text
    holder.signal(signal.SIGCONT)
    assert holder.wait() == 0, holder.text
    tills.run("refunds")
    tills.is_at_rest()
