"""Two loads of one table at once: both are applied whole, one after the other; who cannot wait is told who holds it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines.errors import TargetBusy
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge import target as targets
from ingest_pipelines.merge.session import LOADS
from ingest_pipelines.merge.target import lock_table
from ingest_pipelines.model import Run
from ingest_pipelines_tests.guarantees.world import World, read_world
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import, delivery, item
from ingest_pipelines_tests.waiting import until

FIRST = Run(id="run-1", by="sensor")
SECOND = Run(id="run-2", by="sensor")


def test_loads_of_one_table_at_once_are_both_applied_whole(target: Target, tmp_path: Path) -> None:
    tiers = bound_import("tiers", columns={"CID": "customer_id", "Tier": "tier"})
    points = bound_import("points", columns={"CID": "customer_id", "Points": "points"})
    customers = [f"c{number}" for number in range(2_000)]
    both = threading.Barrier(2, timeout=30)

    def meet(point: str) -> None:
        if point == "staged":  # both have copied their rows; now both want the table
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        loads = [
            pool.submit(apply, validated, bound, target, run, NOW, fault=meet)
            for validated, bound, run in (
                (delivery(tmp_path, tiers, [(c, "Gold") for c in customers]), tiers, FIRST),
                (delivery(tmp_path, points, [(c, 7) for c in reversed(customers)]), points, SECOND),
            )
        ]
        reports = [load.result(timeout=60) for load in loads]
    assert sorted((r.counts.inserted, r.counts.updated) for r in reports) == [(0, 2_000), (2_000, 0)]
    assert read_world(target.url).profiles == dict.fromkeys(customers, ("Gold", 7))


def test_a_load_that_cannot_wait_names_who_holds_the_table(target: Target, tmp_path: Path) -> None:
    bound = bound_import()
    impatient = Target(target.url, lock_timeout_seconds=0.2)
    with ThreadPoolExecutor(1) as pool:
        locked, go_on = threading.Event(), threading.Event()

        def hold(point: str) -> None:
            if point == "locked":
                locked.set()
                assert go_on.wait(30)

        first = pool.submit(
            apply, delivery(tmp_path, bound, [("a", "Gold", 1)], of=item(1)), bound, target, FIRST, NOW, fault=hold
        )
        assert locked.wait(30)
        second = delivery(tmp_path, bound, [("b", "Gold", 2)], of=item(2))
        with pytest.raises(TargetBusy) as busy:
            apply(second, bound, impatient, SECOND, NOW)
        go_on.set()
        assert first.result(timeout=30).status == "committed"
    assert busy.value.retryable
    assert "loyalty" in str(busy.value)
    assert apply(second, bound, impatient, SECOND, NOW).status == "committed"
    assert read_world(target.url).profiles == {"a": ("Gold", 1), "b": ("Gold", 2)}


def test_a_deadlock_victim_is_retryable_and_changes_nothing(target: Target, tmp_path: Path) -> None:
    bound = bound_import(columns={"CID": "customer_id", "Tier": "tier"})
    apply(delivery(tmp_path, bound, [("a", "Gold"), ("b", "Gold")], of=item(1)), bound, target, FIRST, NOW)
    before = read_world(target.url)
    validated = delivery(tmp_path, bound, [("a", "Silver"), ("b", "Silver")], of=item(2))
    with psycopg.connect(target.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(
            "SET deadlock_timeout = '1h'"
        )  # the other session never finds the deadlock: the load is its victim
        other.execute("UPDATE crm.customers SET points = 1 WHERE customer_id = 'b'")

        def close_the_circle(point: str) -> None:
            assert point != "merged", "the merge was not blocked"
            if point == "matched":
                pool.submit(ask_for_what_the_load_holds)

        def ask_for_what_the_load_holds() -> None:
            with psycopg.connect(target.url, autocommit=True) as watcher:
                while watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                    watcher.execute("SELECT pg_sleep(0.005)")
            other.execute("UPDATE crm.customers SET points = 1 WHERE customer_id = 'a'")

        with pytest.raises(TargetBusy, match="deadlock"):
            apply(validated, bound, target, SECOND, NOW, fault=close_the_circle)
        pool.shutdown()
        other.rollback()
    assert read_world(target.url) == before
    assert apply(validated, bound, target, SECOND, NOW).status == "committed"
    assert read_world(target.url) == World(
        {"a": ("Silver", None), "b": ("Silver", None)}, before.consents,
        (*before.loads, ("loyalty-2", "committed", 2, 0, 2, 0, 0, 0, 0)), before.rejects,
        before.events | {("loyalty-2", "a", ("tier",)), ("loyalty-2", "b", ("tier",))},
    )  # fmt: skip


def test_a_load_that_waits_for_long_says_for_whom(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(targets, "WARN_AFTER_SECONDS", 0.05)
    bound = bound_import()
    with target.begin("the first one", LOADS) as first, ThreadPoolExecutor(1) as pool:
        lock_table(first, *bound.database.schema_and_table)
        rows = delivery(tmp_path, bound, [("a", "Gold", 1)])
        load = pool.submit(apply, rows, bound, target, SECOND, NOW)
        until(lambda: caplog.messages)
        first.rollback()
        assert load.result(timeout=60).counts.inserted == 1
    [told] = caplog.messages
    assert told.startswith("waiting for table crm.customers: held by 'ingest_pipelines: the first one' (pid ")
