"""`ingest status`, /metrics, `ingest.metrics` and the alerts' list count the same, on one world with every state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from dagster import DagsterInstance
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from ingest_pipelines import ledger
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines.orchestration.monitoring.endpoint import serve
from ingest_pipelines.orchestration.monitoring.open_item import OpenState
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.watcher import Watcher
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD, Shop, new_shop
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.orchestration.test_open_items import SOURCE, add_run
from ingest_pipelines_tests.servers.sftp import SftpServer
from ingest_pipelines_tests.waiting import until

TWO_OF_THREE = f"{HEADER}\nC1,Gold,10,2024-05-01\nC2,Silver,many,2024-06-01\nC3,Iron,3,2024-07-01\n"
REFUSED = "CID\nC1\n"

LOADS = ("committed", "skipped", "refused", "failed")
ROWS = ("read", "inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")


@pytest.fixture
def shop(
    tmp_path: Path, database_url: str, sftp_server: SftpServer, sftp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """A shop whose files come by SFTP, now."""
    monkeypatch.setenv("VENDOR_KEY", sftp_server.private_key)
    shop = new_shop(tmp_path, database_url)
    shop.now = datetime.now(UTC)
    shop.files = sftp_folder
    vendor = {
        "type": "sftp", "host": sftp_server.host, "port": sftp_server.port, "username": sftp_server.username,
        "private_key": {"env": "VENDOR_KEY"}, "host_key": sftp_server.host_key, "root": str(sftp_folder),
    }  # fmt: skip
    shop.add_vendor(vendor=vendor)
    shop.write_import(source=SOURCE, rejects={"max_percent": 40})
    return shop


@pytest.fixture
def storage_url(postgres_url: str) -> Iterator[str]:
    """Of Dagster."""
    with fresh_storage(postgres_url) as url:
        yield url


@pytest.fixture
def instance(shop: Shop, storage_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("INGEST_DAGSTER_URL", storage_url)
    with open_instance(shop.site().settings) as instance:
        yield instance


def test_every_view_of_the_open_items_says_the_same(shop: Shop, instance: DagsterInstance, storage_url: str) -> None:
    expected = _make_every_state(shop, instance)
    assert {state for state, _ in expected.values()} == set(get_args(OpenState))
    counts = Counter((name, state) for state, name in expected.values())

    site = shop.site()
    listed = open_items(site, instance, site.clock())
    assert {item.item: (item.state, item.import_name) for item in listed} == expected

    with _watched(shop, instance) as samples:
        for state in get_args(OpenState):
            for name in ("points", "till", "gone", "rest"):
                assert samples.pop(("ingest_open_items", name, state), 0) == counts[name, state], (name, state)
        assert not [key for key in samples if key[0] == "ingest_open_items"], "a state that nobody asked for"

        view = _view(shop)
        assert set(view) == {"points", "till", "gone", "rest"}
        for name, row in view.items():
            own = [item for item in listed if item.import_name == name]
            assert row["items_open"] == len(own), name
            assert row["oldest_item_at"] == min((item.since for item in own), default=None), name
            for status in LOADS:
                assert samples["ingest_loads_total", name, status] == row[f"loads_{status}"], (name, status)
            for outcome in ROWS:
                assert samples["ingest_rows_total", name, outcome] == row[f"rows_{outcome}"], (name, outcome)
            assert samples["ingest_loads_running", name] == row["loads_running"]
            assert samples["ingest_rejects_open", name] == row["rejects_open"]
            assert bool(samples["ingest_source_up", name]) is row["source_up"]
            committed = row["last_committed_at"]
            assert samples.get(("ingest_last_committed_timestamp_seconds", name)) == (
                committed.timestamp() if committed else None
            )
            age = (shop.now - row["oldest_item_at"]).total_seconds() if own else 0.0
            assert samples["ingest_oldest_open_item_seconds", name] == pytest.approx(age, abs=0.001)

    oldest_of: dict[tuple[str, str], datetime] = {}
    for item in listed:
        place = (item.import_name, item.state)
        oldest_of[place] = min(oldest_of.get(place, item.since), item.since)
    with psycopg.connect(shop.database_url) as connection:
        kept = connection.execute("SELECT import, state, items, oldest_at FROM ingest.open_item_counts").fetchall()
    assert {(name, state): (items, oldest) for name, state, items, oldest in kept} == {
        place: (counts[place], oldest_of[place]) for place in oldest_of
    }

    points = view["points"]  # what the test itself loaded
    assert [points[f"loads_{status}"] for status in LOADS] == [2, 0, 1, 1]
    assert [points[f"rows_{outcome}"] for outcome in ROWS] == [5, 3, 0, 1, 0, 0, 1]
    assert (points["rejects_open"], points["source_up"], view["rest"]["source_up"]) == (2, True, False)

    environment = {
        "INGEST_HOME": str(shop.home), "INGEST_STATE": str(shop.state), "INGEST_DATABASE_URL": shop.database_url,
        "INGEST_DAGSTER_URL": storage_url,
    }  # fmt: skip
    lines = Terminal(shop.home, environment).ingest("status", "--json").json
    assert {line["import"] for line in lines} == set(view)
    for line in lines:
        name = line["import"]
        assert line["open_counts"] == {state: number for (of, state), number in counts.items() if of == name}, name
        assert {entry["item"]: entry["state"] for entry in line["open"]} == {
            item: state for item, (state, of) in expected.items() if of == name
        }
        oldest = min((datetime.fromisoformat(entry["since"]) for entry in line["open"]), default=None)
        assert oldest == view[name]["oldest_item_at"], name
        committed = view[name]["last_committed_at"]
        assert (datetime.fromisoformat(line["committed_at"]) if line["committed_at"] else None) == committed


def _make_every_state(shop: Shop, instance: DagsterInstance) -> dict[str, tuple[str, str]]:
    """Per open item its state and its import."""
    contents = [GOOD, TWO_OF_THREE, ONE_BAD, REFUSED, *[GOOD] * 6]
    for number, content in enumerate(contents):
        shop.deliver(f"Points_{number}.csv", content, age=timedelta(minutes=90 - number))
        if number == len(contents) - 2:
            find_file_items(shop.site(), shop.bound(), Listings())
            shop.now += timedelta(minutes=1)
    items = find_file_items(shop.site(), shop.bound(), Listings()).items
    for item in items[:4]:
        instance.add_dynamic_partitions("customers/points", [str(item.key)])
        shop.run(instance, item)
    runs = {
        "dropped": ["FAILURE"], "terminated": ["CANCELED"], "queued": ["NOT_STARTED"], "running": ["STARTED"],
        "due": [],
    }  # fmt: skip
    expected = {str(items[2].key): ("failed", "points"), str(items[3].key): ("refused", "points")}
    for item, (state, statuses) in zip(items[4:], runs.items(), strict=False):
        expected[str(item.key)] = (state, "points")
        for status in statuses:
            add_run(shop, instance, item, status)
    expected[str(items[9].key)] = ("due", "points")
    for run in instance.get_runs():
        if run.status.value == "STARTED":
            run_locks.hold(shop.state, run.run_id)
    with shop.site().target.session() as connection:
        ledger.record_success(
            connection, "points", "vendor", shop.now,
            settling={"points/Points_99.csv": (shop.now - timedelta(seconds=5)).isoformat()},
        )  # fmt: skip
    expected["points/Points_99.csv"] = ("settling", "points")
    for name, state in (("rest", "paused"), ("till", "held"), ("gone", "held")):
        source = {**SOURCE, "file": f"points/{name.title()}"}
        shop.write_import(name, source=source)
        shop.deliver(f"{name.title()}_1.csv", GOOD)
        [item] = find_file_items(shop.site(), shop.bound(name), Listings()).items
        expected[str(item.key)] = (state, name)
    with shop.site().target.session() as connection:
        ledger.set_import_status(connection, "rest", "customers", "paused", shop.now)
        for name in ("till", "gone"):
            ledger.set_import_status(connection, name, "customers", "active", shop.now)
        ledger.record_trouble(
            connection, "rest", "vendor", shop.now, "unreachable", step="connect", error="it does not answer"
        )
    shop.write_import("till", mod="add_only", source={**SOURCE, "file": "points/Till"})
    (shop.home / "imports" / "gone.yaml").unlink()
    return expected


@contextmanager
def _watched(shop: Shop, instance: DagsterInstance) -> Iterator[dict[tuple[str, ...], float]]:
    """What Prometheus reads from the watcher: value by metric, import and the other label."""
    site = shop.site()
    watcher = Watcher(site.settings, site.project, clock=site.clock, connect=lambda _: instance)
    until(lambda: watcher.look().counted_at is not None, seconds=120)
    server = serve("127.0.0.1", 0, set(), lambda: watcher.snapshot, site.clock)
    try:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("GET", "/metrics", headers={"Host": "localhost"})
        text = connection.getresponse().read().decode()
        connection.close()
        yield {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    finally:
        server.shutdown()
        server.server_close()


def _view(shop: Shop) -> dict[str, dict[str, Any]]:
    with psycopg.connect(shop.database_url, row_factory=dict_row) as connection:
        return {row["import"]: row for row in connection.execute("SELECT * FROM ingest.metrics")}
