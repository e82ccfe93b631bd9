"""What sensors launch, when, and what they never forget or do twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, SensorResult, SkipReason, build_sensor_context

from ingest_pipelines.errors import SourceDenied
from ingest_pipelines.ledger import set_import_status
from ingest_pipelines.orchestration.arrivals import SHARED_FOR, Listings
from ingest_pipelines.orchestration.launch import run_import
from ingest_pipelines.orchestration.sensors import LOST_AFTER, file_sensor, housekeeping_sensor
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop

MINUTE = timedelta(minutes=1)


def test_a_new_file_gets_a_ledger_row_a_partition_and_a_run(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1767225600.csv", GOOD)
    result = _tick(shop, instance)
    assert result.run_requests is not None
    [request] = result.run_requests
    assert request.run_key == request.partition_key
    assert request.tags["ingest/import"] == "points"
    assert request.tags["ingest/connection"] == "uploads"
    assert [add.partition_keys for add in result.dynamic_partitions_requests or ()] == [[request.partition_key]]
    assert shop.rows("SELECT key, status, serial FROM ingest.items") == [(request.partition_key, "new", 1767225600)]


def test_a_tick_that_died_before_dagster_heard_of_it_is_repeated_word_for_word(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    died = _tick(shop, instance)
    again = _tick(shop, instance)
    assert died.run_requests == again.run_requests
    assert again.run_requests


def test_a_file_that_is_being_loaded_is_not_requested_again(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    instance.create_run_for_job(
        shop.definitions().resolve_implicit_global_asset_job_def(),
        tags={"dagster/partition": str(item.key), "ingest/import": "points"},
    )
    assert "has its run already" in _why_nothing(_tick(shop, instance))


def test_a_loaded_file_is_left_alone_and_a_changed_one_is_new(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    shop.run(instance, shop.arrive(instance))
    assert "is known and committed" in _why_nothing(_tick(shop, instance))
    shop.now += SHARED_FOR
    shop.deliver("Points_1.csv", GOOD.replace("Gold", "Bronze"), age=MINUTE)
    assert _tick(shop, instance).run_requests


def test_a_failed_file_is_not_tried_again_by_itself_and_the_tick_says_how(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    shop.run(instance, item)
    why = _why_nothing(_tick(shop, instance))
    assert "failed" in why
    assert str(item.key) in why


def test_a_file_that_is_still_growing_is_waited_for_by_our_own_clock(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "settle": "30s"})
    shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=-1))  # the server's clock is ahead
    first = _tick(shop, instance)
    assert "hold still" in _why_nothing(first)
    shop.now += timedelta(seconds=31)
    second = _tick(shop, instance, cursor=first.cursor)
    assert second.run_requests
    assert second.cursor == "{}"


def test_a_source_that_is_down_fails_the_tick_and_nothing_is_forgotten(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    away = shop.files.rename(shop.files.with_name("away"))
    with pytest.raises(SourceDenied):
        _tick(shop, instance)
    away.rename(shop.files)
    assert _tick(shop, instance).run_requests


@pytest.mark.parametrize(
    ("status", "command"), [("paused", "ingest resume points"), ("draft", "ingest activate points")]
)
def test_a_paused_or_draft_import_is_not_even_looked_for(
    shop: Shop, instance: DagsterInstance, status: str, command: str
) -> None:
    shop.write_import(status=status)
    shop.deliver("Points_1.csv", GOOD)
    assert command in _why_nothing(_tick(shop, instance))
    assert shop.rows("SELECT * FROM ingest.items") == []


def test_the_ledgers_status_wins_over_the_yaml(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    with shop.site().target.connect() as connection:
        set_import_status(connection, "points", "customers", "paused", shop.now)
    assert "ingest resume points" in _why_nothing(_tick(shop, instance))


def test_a_draft_that_is_activated_runs_without_a_change_of_its_yaml(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(status="draft")
    shop.deliver("Points_1.csv", GOOD)
    with shop.site().target.connect() as connection:
        set_import_status(connection, "points", "customers", "active", shop.now)
    assert _tick(shop, instance).run_requests


def test_imports_of_one_folder_share_a_listing_for_a_moment_only(shop: Shop, instance: DagsterInstance) -> None:
    listings = Listings()
    shop.deliver("Points_1.csv", GOOD)
    assert _tick(shop, instance, listings=listings).run_requests
    shop.deliver("Points_2.csv", GOOD, age=MINUTE)
    shop.now += SHARED_FOR / 2
    [old] = _tick(shop, instance, listings=listings).run_requests or ()
    shop.now += SHARED_FOR
    [new] = _tick(shop, instance, listings=listings).run_requests or ()
    assert "Points_1" in str(old.partition_key)
    assert "Points_2" in str(new.partition_key)


def test_what_a_crash_left_without_a_run_is_launched_by_housekeeping(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    _tick(shop, instance)
    assert "none was forgotten" in _why_nothing(_keep_house(shop, instance))
    shop.now += LOST_AFTER + MINUTE
    [request] = _keep_house(shop, instance).run_requests or ()
    assert "Points_1" in str(request.partition_key)
    assert request.tags["ingest/by"] == "housekeeping"


def test_housekeeping_leaves_paused_imports_and_those_that_no_longer_exist_alone(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    _tick(shop, instance)
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


def _tick(
    shop: Shop, instance: DagsterInstance, *, cursor: str | None = None, listings: Listings | None = None
) -> SensorResult:
    site = shop.site()
    sensor = file_sensor(site, site.project.require("points"), listings or Listings())
    return _result(sensor(build_sensor_context(instance=instance, cursor=cursor)))


def _keep_house(shop: Shop, instance: DagsterInstance) -> SensorResult:
    site = shop.site()
    return _result(
        housekeeping_sensor(site, list(site.project.imports.values()))(build_sensor_context(instance=instance))
    )


def _result(answer: object) -> SensorResult:
    if isinstance(answer, SkipReason):
        return SensorResult(skip_reason=answer)
    assert isinstance(answer, SensorResult)
    return answer


def _why_nothing(result: SensorResult) -> str:
    assert not result.run_requests
    reason = result.skip_reason
    return str(reason.skip_message if isinstance(reason, SkipReason) else reason)
