"""Windows on the list of open items: due, dead before the ledger had them, held; at a bounded number of queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from ingest_pipelines import ledger
from ingest_pipelines.model import Item, ItemKey, ItemStatus
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.skip import skip_items
from ingest_pipelines_tests.orchestration.conftest import Shop

SHOP_DB = {
    "type": "postgresql", "host": "db.example.com", "database": "shop", "username": "reader",
    "password": {"env": "HOME"},
}  # fmt: skip
WINDOWS: dict[str, Any] = {
    "source": {
        "connection": "shop_db",
        "query": "SELECT * FROM points WHERE at >= {windowStart} AND at < {windowEnd}",
        "window": {"every": "day", "start": "2026-01-01"},
    },
    "schedule": {"every": "1h"},
}


@pytest.fixture
def windows(shop: Shop) -> Shop:
    """A shop whose import has a window per day; nothing answers at its source. It is 22 November, 09:15."""
    shop.add_vendor(shop_db=SHOP_DB)
    shop.write_import(**WINDOWS)
    return shop


def register(shop: Shop, statuses: dict[str, ItemStatus]) -> None:
    with shop.site().target.session() as connection:
        for key, status in statuses.items():
            start = datetime.fromisoformat(key).replace(tzinfo=UTC)
            item = Item(
                "points", ItemKey(key), "window", uri="postgresql://db.example.com/shop", fingerprint=key,
                window_start=start, window_end=start + timedelta(days=1),
            )  # fmt: skip
            ledger.register_items(connection, [item], shop.now - timedelta(days=1))
            ledger.set_item_status(connection, item, status)


def add_run(shop: Shop, instance: DagsterInstance, key: str, status: str) -> None:
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    tags = {"dagster/partition": key, "ingest/import": "points"}
    instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus(status))


def listed(shop: Shop, instance: DagsterInstance, **settings: Any) -> list[OpenItem]:
    site = shop.site(**settings)
    return open_items(site, instance, site.clock())


def states(shop: Shop, instance: DagsterInstance, **settings: Any) -> dict[str, str]:
    return {item.item: item.state for item in listed(shop, instance, **settings)}


def test_windows_that_ended_since_the_newest_are_due_and_failed_ones_stay(
    windows: Shop, instance: DagsterInstance
) -> None:
    assert states(windows, instance) == {}, "before its first load nothing says with which window an import begins"
    register(windows, {"2026-11-17": "failed", "2026-11-18": "committed"})
    due = {"2026-11-19": "due", "2026-11-20": "due", "2026-11-21": "due"}
    assert states(windows, instance) == {"2026-11-17": "failed"} | due
    assert states(windows, instance, automation=False) == {"2026-11-17": "failed"}

    with windows.site().target.session() as connection:
        ledger.set_import_status(connection, "points", "customers", "paused", windows.now)
    assert states(windows, instance) == {"2026-11-17": "failed"} | dict.fromkeys(due, "paused")

    windows.write_import(mod="add_only", **WINDOWS)
    assert states(windows, instance) == {"2026-11-17": "failed"} | dict.fromkeys(due, "held")
    assert {item.next_step for item in listed(windows, instance)} == {"ingest check points"}


def test_runs_that_died_before_the_ledger_had_their_window_are_on_the_list(
    windows: Shop, instance: DagsterInstance
) -> None:
    register(windows, {"2026-11-20": "committed", "2026-11-21": "committed", "2026-09-05": "committed"})
    ends = {"2026-09-01": "FAILURE", "2026-09-02": "CANCELED", "2026-09-03": "STARTED", "2026-09-04": "NOT_STARTED"}
    for key, status in {**ends, "2026-09-05": "FAILURE"}.items():
        add_run(windows, instance, key, status)
    assert _now(windows, instance) == {
        "2026-09-01": "dropped", "2026-09-02": "terminated", "2026-09-03": "running", "2026-09-04": "queued",
    }  # fmt: skip

    site = windows.site()
    found = open_items(site, instance, datetime.now(UTC))
    skip_items(site, "points", ["2026-09-01", "2026-09-02"], by="ann@desk", reason="", open_now=found)
    assert _now(windows, instance) == {"2026-09-03": "running", "2026-09-04": "queued"}


def _now(shop: Shop, instance: DagsterInstance) -> dict[str, str]:
    """The states, at the time that Dagster's runs have; without the windows that ended since the shop's day."""
    found = open_items(shop.site(), instance, datetime.now(UTC))
    return {item.item: item.state for item in found if item.item < "2026-10"}


def test_the_number_of_queries_does_not_grow_with_the_items(
    windows: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [f"2026-{month:02}-{day:02}" for month in (8, 9) for day in range(1, 31)]
    register(windows, dict.fromkeys(days[:1], "failed"))
    add_run(windows, instance, days[0], "FAILURE")
    with _counting(monkeypatch, instance) as few:
        assert states(windows, instance)[days[0]] == "dropped"
    register(windows, dict.fromkeys(days[1:], "failed"))
    for key in days[1:]:
        add_run(windows, instance, key, "FAILURE")
    with _counting(monkeypatch, instance) as many:
        assert list(states(windows, instance).values()).count("dropped") == 60
    assert many == few
    assert len(many) < 20


@contextmanager
def _counting(monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance) -> Iterator[list[str]]:
    queries: list[str] = []
    execute, get_run_records = psycopg.Cursor.execute, instance.get_run_records

    def counted(cursor: Any, query: Any, *rest: Any, **more: Any) -> Any:
        queries.append("ledger")
        return execute(cursor, query, *rest, **more)

    def counted_runs(filters: RunsFilter | None = None, *rest: Any, **more: Any) -> Any:
        queries.append("runs")
        return get_run_records(filters, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", counted)
        patch.setattr(instance, "get_run_records", counted_runs)
        yield queries
