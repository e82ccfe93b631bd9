"""`ingest run` killed at any moment, without a daemon: the next one clears up after it and goes on within seconds.

So it does when its sessions are ended, or the database server is killed: the table holds all of the file or none of it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines import embedded
from ingest_pipelines.merge.faults import EARLY_FAULT_POINTS, FAULT_POINTS
from ingest_pipelines_tests.guarantees.killable_commands import BEFORE_THE_RUN, POINTS
from ingest_pipelines_tests.guarantees.tills import POOL, Tills, tills_of
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.agreement import disagreements
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.waiting import until


@pytest.fixture(scope="module")
def tills(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tills]:
    """One shop for all tests: each leaves it at rest."""
    with (
        fresh_target(postgres_url) as target,
        fresh_storage(postgres_url) as runs,
        tills_of(tmp_path_factory.mktemp("tills"), target, runs, "refunds") as tills,
    ):
        yield tills


FAST_POINTS = ("stored", "merged", "committed")
"""A fair sample: before the run begins, in the transaction, after it."""

EVERY_POINT = [
    point if point in FAST_POINTS else pytest.param(point, marks=pytest.mark.slow)
    for point in (*POINTS, *FAULT_POINTS, *EARLY_FAULT_POINTS)
]


def test_every_point_has_a_name_of_its_own() -> None:
    """Of two points with one name, only the load's would be tried."""
    names = [*POINTS, *FAULT_POINTS, *EARLY_FAULT_POINTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("point", EVERY_POINT)
def test_a_run_killed_at_any_point_stops_nobody(tills: Tills, point: str) -> None:
    tills.deliver()
    code, text = tills.runner.run("run", "points", dies_at=point)
    assert code == -signal.SIGKILL, f"{point}: {text}"
    killed = tills.last_run()
    tills.deliver("refunds")
    tills.run("refunds")  # another import of the same table is not stopped, either
    _says_what_became_of(tills, killed, point)
    tills.run("points")
    tills.is_at_rest()


def _says_what_became_of(tills: Tills, killed: str, point: str) -> None:
    """The ledger says that the run failed, or what it did before it was killed; status and partition say the same."""
    assert disagreements(tills.shop.site(), tills.instance, tills.shop.now) == []
    if point in BEFORE_THE_RUN:
        return
    [(status, error)] = tills.shop.rows(f"SELECT status, error FROM ingest.loads WHERE run_id = '{killed}'")
    done = point in {"committed", "ended"}
    assert status == ("committed" if done else "failed")
    assert done or ("is dead" in error and "ingest run points --item" in error)
    _, text = tills.runner.run("status")
    assert ("is dead" in text) == (not done), text


POINTS_OF_A_SESSION = [
    point if point in {"merged", "committed"} else pytest.param(point, marks=pytest.mark.slow)
    for point in ("started", "reading", "validated", *FAULT_POINTS, *EARLY_FAULT_POINTS, "ended")
]


@pytest.mark.parametrize("point", POINTS_OF_A_SESSION)
def test_a_run_whose_sessions_are_ended_at_any_point_loads_all_or_nothing(tills: Tills, point: str) -> None:
    """The target's, and those of Dagster's storage."""

    def end_sessions() -> None:
        tills.shop.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() AND datname IN (current_database(), "
            f"'{os.environ['INGEST_DAGSTER_URL'].rpartition('/')[2]}')"
        )

    _loads_all_or_nothing(tills, point, end_sessions)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS_OF_A_SESSION)
def test_a_database_server_killed_at_any_point_has_all_or_nothing(crashing: tuple[Tills, Path], point: str) -> None:
    tills, folder = crashing

    def crash() -> None:
        server = embedded.start(folder, durable=False)
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: embedded.start(folder, durable=False).pid != server.pid)

    _loads_all_or_nothing(tills, point, crash)


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tills, Path]]:
    """A shop whose target and whose Dagster are in a server of its own, and the server's folder.

    What the server says is committed survives the death of its processes.
    """
    folder = tmp_path_factory.mktemp("crashing")
    with embedded.running(folder / "server", durable=False) as server:
        target, runs = (server.ensure_database(name) for name in ("target", "dagster"))
        with psycopg.connect(target, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_commit = 'local'")
            admin.execute("SELECT pg_reload_conf()")
        with tills_of(folder / "tills", target, runs, "refunds") as tills:
            yield tills, folder / "server"


def _loads_all_or_nothing(tills: Tills, point: str, strike: Callable[[], None]) -> None:
    old = tills.profiles()
    tills.deliver()
    running = tills.runner.start("run", "points", stops_at=point)
    running.wait_until_stopped()
    strike()
    running.signal(signal.SIGCONT)
    code = running.wait()
    assert code in {0, 3}, running.text
    assert "Traceback" not in running.text
    assert tills.profiles() in ([tills.expected] if code == 0 else [old, tills.expected])
    tills.failed |= {tills.last_run()} if code else set()
    tills.deliver("refunds")
    tills.run("refunds")
    tills.run("points")
    tills.is_at_rest()


ANY_COMMAND = (("run", "points"), ("run", "points"), ("plan", "points"), ("status",))


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_command_killed_at_any_time_stops_nobody(tills: Tills, kills: int) -> None:
    chance = random.Random(tills.seed)
    began = time.monotonic()
    tills.deliver()
    tills.run("points")
    seconds = time.monotonic() - began
    for _ in range(kills):
        tills.deliver()
        running = tills.runner.start(*chance.choice(ANY_COMMAND))
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
