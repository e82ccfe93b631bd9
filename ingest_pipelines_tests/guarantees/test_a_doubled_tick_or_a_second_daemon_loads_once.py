"""A tick that is killed, repeated or made by two daemons at once launches one run per file; each is loaded once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dagster import DagsterInstance, SensorResult

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines.orchestration.runs.signed_tags import signed_tags
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop, instance, kept_instance, shop
from ingest_pipelines_tests.orchestration.ticks import sensor_tick
from ingest_pipelines_tests.orchestration.vendor import Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer

__all__ = ["instance", "kept_instance", "shop"]

SENSOR = "customers__points__files"
POINTS = ("TICK_CREATED", "TICK_HELD", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED")
"""Of a tick, in the order in which Dagster comes by."""


def test_ticks_at_once_ask_for_the_same_runs_and_register_each_file_once(
    shop: Shop, kept_instance: DagsterInstance
) -> None:
    """Dagster has one run per run key."""
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "settle": "1s", "pick": "all"})
    for number in range(1, 6):
        shop.deliver(f"Points_{number}.csv", GOOD)

    def tick(_: int) -> SensorResult:
        result = sensor_tick(file_sensor(shop.site(), shop.bound(), Listings()), kept_instance)
        assert isinstance(result, SensorResult)
        return result

    with ThreadPoolExecutor(4) as pool:
        ticks = list(pool.map(tick, range(4)))
    asked = [[request.run_key for request in result.run_requests or ()] for result in ticks]
    assert len(set(asked[0])) == 5
    assert all(keys == asked[0] for keys in asked)
    assert len(shop.rows("SELECT key FROM ingest.items")) == 5


def test_runs_of_one_file_that_were_launched_twice_are_one_load(shop: Shop, instance: DagsterInstance) -> None:
    """As two daemons may, that look at the same moment whether there is a run."""
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    tags: dict[str, Any] = signed_tags(shop.bound(), str(item.key), "sensor", instance)
    assert all(shop.run(instance, item, **tags).success for _ in range(3))
    assert shop.rows("SELECT count(*) FROM ingest.loads WHERE status = 'committed'") == [(1,)]
    assert shop.rows("SELECT status FROM ingest.items") == [("committed",)]
    assert shop.rows("SELECT count(*), count(DISTINCT key) FROM ingest.events") == [(2, 2)]


@pytest.mark.parametrize("by", ["sensor", "housekeeping"])
def test_a_run_that_was_asked_for_twice_does_not_undo_what_came_after_the_first(
    shop: Shop, instance: DagsterInstance, by: str
) -> None:
    """The import's sensor and housekeeping have run keys of their own: both may ask for an item that waited long."""
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    tags: dict[str, Any] = signed_tags(shop.bound(), str(item.key), "sensor", instance)
    assert shop.run(instance, item, **tags).success
    shop.rows("UPDATE crm.customers SET points = 7 RETURNING 1")
    again: dict[str, Any] = signed_tags(shop.bound(), str(item.key), by, instance)
    assert shop.run(instance, item, **again).success
    assert shop.rows("SELECT DISTINCT points FROM crm.customers") == [(7,)]
    assert shop.rows("SELECT status FROM ingest.loads") == [("committed",)]
    assert shop.run(instance, item).success, "a person's run loads it again"
    assert shop.rows("SELECT count(*) FROM crm.customers WHERE points = 7") == [(0,)]


@pytest.fixture
def vendor(tmp_path_factory: pytest.TempPathFactory, sftp_server: SftpServer, postgres_url: str) -> Iterator[Vendor]:
    with vendor_of(tmp_path_factory.mktemp("killed"), sftp_server, postgres_url) as vendor:
        source = {"connection": "vendor", "file": "points/Points", "settle": "1s", "pick": "all"}
        vendor.write_import(source=source, sensor={"every": "1s"})
        yield vendor


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_tick_killed_anywhere_launches_one_run_per_file(
    vendor: Vendor, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        vendor.deliver(f"Points_176722560{number}.csv", GOOD)
    assert _tick(vendor, point).wait() == -signal.SIGKILL
    assert _tick(vendor).wait() == 0
    _has_one_run_per_file(vendor, 2, monkeypatch)


@pytest.mark.slow
def test_two_daemons_at_once_launch_one_run_per_file(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        vendor.deliver(f"Points_176722560{number}.csv", GOOD)
    daemons = [_tick(vendor), _tick(vendor)]
    assert [daemon.wait() for daemon in daemons] == [0, 0]
    _has_one_run_per_file(vendor, 8, monkeypatch)


def _has_one_run_per_file(vendor: Vendor, files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in vendor.environment.items():
        monkeypatch.setenv(name, value)
    with open_instance(read_settings()) as instance:
        runs = [run for run in instance.get_runs() if run.tags.get("ingest/import") == "points"]
    items = [key for (key,) in vendor.rows("SELECT key FROM ingest.items WHERE import = 'points' ORDER BY key")]
    assert len(items) == files
    assert [run.tags["dagster/partition"] for run in reversed(runs)] == items


def _tick(vendor: Vendor, *point: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "ingest_pipelines_tests.guarantees.dying_daemon", SENSOR, *point]
    with (vendor.folder / "daemon.log").open("a") as log:
        return subprocess.Popen(words, env={**os.environ, **vendor.environment}, stdout=log, stderr=log)
