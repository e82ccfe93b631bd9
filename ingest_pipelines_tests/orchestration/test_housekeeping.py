"""What housekeeping launches, and what it removes: never what the ledger has not settled."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from dagster import DagsterInstance, DagsterRun, RunRequest, SensorResult

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.orchestration.assets.partitions import partitions_name, window_item
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.skip import skip_items
from ingest_pipelines.orchestration.runs import prune, run_locks
from ingest_pipelines.orchestration.runs.dead_runs import clear_up_dead_runs
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.runs.lost_items import LOST_AFTER, first_runs, imports_without_items
from ingest_pipelines.orchestration.runs.prune import KEPT_RUNS, prune_runs
from ingest_pipelines.orchestration.sensors import housekeeping
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.sources import open_query
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop, why_nothing, write_windows
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

MINUTE = timedelta(minutes=1)
TAGS = {"ingest/import": "points"}


def test_what_a_crash_left_without_a_run_is_launched_by_housekeeping(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    _find(shop)
    assert "no item waits for a run" in why_nothing(_keep_house(shop, instance))
    shop.now += LOST_AFTER + MINUTE
    [request] = _keep_house(shop, instance).run_requests or ()
    assert "Points_1" in str(request.partition_key)
    assert request.tags["ingest/by"] == "housekeeping"


def test_windows_of_one_day_of_two_imports_are_two_runs(shop: Shop, instance: DagsterInstance) -> None:
    """Dagster launches one run per run key and sensor: two imports with the same day need different ones."""
    names = ("points", "tills")
    for name in names:
        write_windows(shop, name, schedule={"every": "6h"})
    site = shop.site()
    with site.target.session() as connection:
        for name in names:
            bound = site.project.require(name)
            uri = open_query(bound.connection).uri()
            ledger.register_items(connection, [window_item(bound, "2026-11-19", uri, shop.now)], shop.now)
    shop.now += LOST_AFTER + MINUTE
    requests = _keep_house(shop, instance).run_requests or ()
    assert sorted(request.tags["ingest/import"] for request in requests) == sorted(names)
    assert len({request.run_key for request in requests}) == len(names)


def test_housekeeping_leaves_paused_imports_and_those_that_no_longer_exist_alone(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    _find(shop)
    shop.now += LOST_AFTER + MINUTE
    shop.write_import(status="paused")
    assert not _keep_house(shop, instance).run_requests
    (shop.home / "imports" / "points.yaml").rename(shop.home / "imports" / "tills.yaml")
    assert not _keep_house(shop, instance).run_requests


def test_files_of_old_runs_are_purged_by_housekeeping(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    failed = shop.run(instance, shop.arrive(instance))
    waiting = shop.state / "spill" / failed.run_id
    _keep_house(shop, instance)
    assert waiting.exists()
    with _later(shop, timedelta(days=400)):
        _keep_house(shop, instance)
    assert not waiting.exists()


def test_what_a_killed_run_had_landed_of_its_file_is_swept_once_the_run_is_known_to_be_dead(
    shop: Shop, instance: DagsterInstance
) -> None:
    killed, alive = (_run_that_lands(shop, instance) for _ in range(2))
    [part] = _parts(shop, killed)
    assert part.stat().st_size > 0
    _keep_house(shop, instance)
    assert part.exists()
    instance.report_run_failed(instance.get_run_by_id(killed))  # type: ignore[arg-type]  # it is there
    _keep_house(shop, instance)
    assert not (shop.state / "spool" / killed).exists()
    assert _parts(shop, alive)


def test_a_killed_run_that_no_daemon_declared_dead_is_swept_by_the_next_run_after_a_week(
    shop: Shop, instance: DagsterInstance
) -> None:
    killed = _run_that_lands(shop, instance)
    folder = shop.state / "spool" / killed
    for path in (*folder.iterdir(), folder):
        os.utime(path, (shop.now.timestamp(), shop.now.timestamp()))
    shop.deliver("Points_1.csv", GOOD)
    with _later(shop, timedelta(days=6)):
        run_import(shop.site(), instance, "points")
    assert _parts(shop, killed)
    with _later(shop, timedelta(days=8)):
        run_import(shop.site(), instance, "points")
    assert not folder.exists()


@pytest.mark.parametrize("end", ["repaired", "loaded", "skipped"])
def test_what_a_failed_run_had_landed_goes_once_no_run_will_go_on_with_it(
    shop: Shop, instance: DagsterInstance, end: str
) -> None:
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "pick": "all", "settle": "1s"})
    shop.deliver("Points_1.csv", ONE_BAD, age=timedelta(hours=3))
    item = shop.arrive(instance)
    tags: dict[str, Any] = {**TAGS}
    failed = [shop.run(instance, item, **tags) for _ in range(2)]
    folders = [shop.state / "spool" / run.run_id for run in failed]
    _keep_house(shop, instance)
    assert all(folder.exists() for folder in folders)
    if end == "repaired":
        shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=2))
        assert shop.arrive(instance) != item
    elif end == "loaded":
        shop.write_import(
            source={"connection": "uploads", "file": "points/Points", "pick": "all", "settle": "1s"},
            rejects={"unlimited": True},
        )
        assert shop.run(instance, item).success
    else:
        site = shop.site()
        skip_items(site, "points", [item.key], by="ann", reason="", open_now=open_items(site, instance, shop.now))
    _keep_house(shop, instance)
    assert not any(folder.exists() for folder in folders)
    rows = [path for run in failed for path in (shop.state / "spill" / run.run_id).glob("*/*")]
    assert rows == []


def test_what_a_failed_run_had_landed_waits_for_its_re_execution(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    failed = shop.run(instance, shop.arrive(instance))
    [landed] = (shop.state / "spool" / failed.run_id).iterdir()
    part = landed.with_name(".landing-of-a-dead-attempt")
    part.touch()
    _keep_house(shop, instance)
    assert landed.exists()
    assert not part.exists()


def test_files_of_no_known_run_are_left_alone_for_a_day(shop: Shop, instance: DagsterInstance) -> None:
    planned = shop.state / "spool" / "run-of-a-plan"
    planned.mkdir(parents=True)
    os.utime(planned, (shop.now.timestamp(), shop.now.timestamp()))
    shop.now += timedelta(hours=23)
    _keep_house(shop, instance)
    assert planned.exists()
    shop.now += timedelta(hours=2)
    _keep_house(shop, instance)
    assert not planned.exists()


def test_the_lock_of_a_run_that_dagster_never_had_is_kept_for_a_day(shop: Shop, instance: DagsterInstance) -> None:
    holder = run_locks.Holder(os.getpid(), socket.gethostname(), "", shop.now.isoformat())
    lock = shop.state / "runs" / f"{uuid4()}.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps(asdict(holder)), encoding="utf-8")
    shop.now += timedelta(hours=23)
    assert clear_up_dead_runs(shop.site(), instance) == []
    shop.now += timedelta(hours=2)
    assert clear_up_dead_runs(shop.site(), instance) == [lock.stem]
    assert not lock.exists()


def _run_that_lands(shop: Shop, instance: DagsterInstance) -> str:
    """A run that Dagster takes for started, whose process was killed while it landed its file."""
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, tags={"ingest/import": "points"})
    folder = shop.state / "spool" / run.run_id
    process = subprocess.Popen([sys.executable, "-c", _LANDS, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.kill()
    process.communicate()
    return str(run.run_id)


_LANDS = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.landing import land_file
from ingest_pipelines.model import Item, SourceFile

class Slow:
    def stat(self, path, version=""):
        return SourceFile(path, 1 << 30, datetime(2026, 1, 1, tzinfo=UTC))
    def read(self, path, offset=0, version=""):
        yield b"x" * 100_000
        print("under way", flush=True)
        time.sleep(600)

land_file(Item("points", "k", "file", "u", "Points.csv"), Slow(), Path(sys.argv[1]), Limits())
"""


def _parts(shop: Shop, run_id: str) -> list[Path]:
    return list((shop.state / "spool" / run_id).glob(".landing-*"))


@contextmanager
def _later(shop: Shop, much: timedelta) -> Iterator[None]:
    shop.now += much
    yield
    shop.now -= much


def test_an_import_with_run_now_runs_once_when_it_is_new(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    [request] = _first_runs(shop, instance)
    assert "Points_1" in str(request.partition_key)
    assert request.run_key == f"points/{request.partition_key}"
    assert _first_runs(shop, instance) == []


def test_a_draft_with_run_now_waits_for_its_activation(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(status="draft")
    shop.deliver("Points_1.csv", GOOD)
    assert _first_runs(shop, instance) == []
    with shop.site().target.connect() as connection:
        ledger.set_import_status(connection, "points", "customers", "active", shop.now)
    assert len(_first_runs(shop, instance)) == 1


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_a_first_run_waits_for_its_source(shop: Shop, instance: DagsterInstance, gone: str) -> None:
    if gone == "folder":
        shop.files.rmdir()
    assert _first_runs(shop, instance) == []
    shop.files.mkdir(exist_ok=True)
    shop.deliver("Points_1.csv", GOOD)
    assert len(_first_runs(shop, instance)) == 1


def test_a_tick_asks_few_sources_and_the_next_tick_the_others(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        housekeeping, "imports_without_items", lambda site, imports: [_scheduled(bound) for bound in imports]
    )
    monkeypatch.setattr(housekeeping, "first_runs", lambda site, bound, instance, listings: _noted(asked, bound))
    monkeypatch.setattr(housekeeping, "SOURCES_PER_TICK", 1)
    shop.write_import("tills")
    cursor = _keep_house(shop, instance).cursor
    cursor = _keep_house(shop, instance, cursor).cursor
    _keep_house(shop, instance, cursor)
    assert asked == ["points", "tills", "points"]


def test_partitions_beyond_the_kept_ones_go_once_they_are_settled(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "KEPT_PARTITIONS", 1)
    for number, text in enumerate((ONE_BAD, GOOD, GOOD.replace("Gold", "Bronze"))):
        shop.deliver(f"Points_{number}.csv", text, age=timedelta(hours=1) - number * MINUTE)
        shop.run(instance, shop.arrive(instance))
    _keep_house(shop, instance)
    kept = instance.get_dynamic_partitions(partitions_name(shop.bound()))
    assert [key.split("_")[2] for key in kept] == ["0.csv", "2.csv"]  # the first one failed, the last one is kept


def test_a_key_that_may_not_go_does_not_keep_those_after_it(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "KEPT_PARTITIONS", 0)
    monkeypatch.setattr(prune, "REMOVED_PER_TICK", 1)
    for number, text in enumerate((ONE_BAD, GOOD)):
        shop.deliver(f"Points_{number}.csv", text, age=timedelta(hours=1) - number * MINUTE)
        shop.run(instance, shop.arrive(instance))
    _keep_house(shop, instance)
    assert len(instance.get_dynamic_partitions(partitions_name(shop.bound()))) == 1


def test_old_failed_runs_go_only_where_another_run_settled_their_item(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    failed = shop.run(instance, item, defs=None, **TAGS)
    assert _prune_later(shop, instance) == (0, failed.run_id)
    shop.write_import(rejects={"unlimited": True})
    repaired = shop.run(instance, item, defs=None, **TAGS)
    assert prune_runs(shop.site(), instance, shop.now) == (0, "")
    assert _prune_later(shop, instance) == (1, repaired.run_id)
    assert [_is_there(instance, run.run_id) for run in (failed, repaired)] == [False, True]


def test_old_good_runs_go_once_their_partition_is_gone(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    loaded = shop.run(instance, item, defs=None, **TAGS)
    assert _prune_later(shop, instance)[0] == 0
    instance.delete_dynamic_partition(partitions_name(shop.bound()), str(item.key))
    assert _prune_later(shop, instance)[0] == 1
    assert not _is_there(instance, loaded.run_id)
    assert [status for (status,) in shop.rows("SELECT status FROM ingest.loads")] == ["committed"]


def test_a_run_that_is_kept_does_not_hide_those_after_it(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "REMOVED_PER_TICK", 1)
    shop.deliver("Points_1.csv", ONE_BAD)
    kept = shop.run(instance, shop.arrive(instance), defs=None, **TAGS)
    gone, after = _prune_later(shop, instance)
    assert (gone, after) == (0, kept.run_id)
    assert _prune_later(shop, instance, after) == (0, "")


def _prune_later(shop: Shop, instance: DagsterInstance, after: str = "") -> tuple[int, str]:
    with _later(shop, KEPT_RUNS * 2):
        return prune_runs(shop.site(), instance, shop.now, after=after)


def _noted(asked: list[str], bound: BoundImport) -> Iterator[RunRequest]:
    asked.append(bound.name)
    return iter(())


def _scheduled(bound: BoundImport) -> BoundImport:
    """With a schedule that has run_now: uploads cannot have one in YAML."""
    schedule = Schedule.model_validate({"every": "24h", "run_now": True})
    return replace(bound, spec=bound.spec.model_copy(update={"schedule": schedule}))


def _first_runs(shop: Shop, instance: DagsterInstance) -> list[RunRequest]:
    site = shop.site()
    return [
        request
        for bound in imports_without_items(site, [_scheduled(shop.bound())])
        for request in first_runs(site, bound, instance, Listings())
    ]


def _is_there(instance: DagsterInstance, run_id: str) -> bool:
    return isinstance(instance.get_run_by_id(run_id), DagsterRun)


def _find(shop: Shop) -> None:
    """A sensor's tick that dies after it wrote to the ledger."""
    find_file_items(shop.site(), shop.bound(), Listings())


def _keep_house(shop: Shop, instance: DagsterInstance, cursor: str | None = None) -> SensorResult:
    site = shop.site()
    sensor = housekeeping_sensor(site, list(site.project.imports.values()), Listings())
    result = sensor_tick(sensor, instance, cursor)
    assert isinstance(result, SensorResult)
    return result
