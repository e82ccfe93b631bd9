"""What sensors launch, when, and what they never forget or do twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dagster import DagsterInstance, SensorResult, SkipReason
from dagster._core.remote_origin import RegisteredCodeLocationOrigin
from dagster._core.remote_representation.external_data import SensorExecutionErrorSnap
from dagster._grpc.impl import get_external_sensor_execution

from ingest_pipelines.config.connections import Connection
from ingest_pipelines.ledger import set_import_status
from ingest_pipelines.orchestration.dagster_internals.expected_errors import ExpectedTickFailure
from ingest_pipelines.orchestration.sensors import listings as looks
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.listings import SHARED_FOR, Listings
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, FileSource
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, SFTP, Shop, why_nothing
from ingest_pipelines_tests.orchestration.ticks import sensor_tick
from ingest_pipelines_tests.waiting import until

MINUTE = timedelta(minutes=1)


def test_a_new_file_gets_a_ledger_row_a_partition_and_a_run(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1767225600.csv", GOOD)
    result = _tick(shop, instance)
    assert result.run_requests is not None
    [request] = result.run_requests
    assert request.run_key == f"points/{request.partition_key}"
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
    assert "already has a run" in why_nothing(_tick(shop, instance))


def test_a_loaded_file_is_left_alone_and_a_changed_one_is_new(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    shop.run(instance, shop.arrive(instance))
    assert "is committed" in why_nothing(_tick(shop, instance))
    shop.now += SHARED_FOR
    shop.deliver("Points_1.csv", GOOD.replace("Gold", "Bronze"), age=MINUTE)
    assert _tick(shop, instance).run_requests


def test_a_failed_file_is_not_tried_again_by_itself_and_the_tick_says_how(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    shop.run(instance, item)
    why = why_nothing(_tick(shop, instance))
    assert "failed" in why
    assert str(item.key) in why


def test_a_file_that_is_still_growing_is_waited_for_by_our_own_clock(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "settle": "30s"})
    shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=-1))  # the server's clock is ahead
    first = _tick(shop, instance)
    assert "still changing" in why_nothing(first)
    shop.now += timedelta(seconds=31)
    second = _tick(shop, instance, cursor=first.cursor)
    assert second.run_requests
    assert second.cursor == "{}"


def test_a_source_that_is_down_fails_the_tick_and_nothing_is_forgotten(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    away = shop.files.rename(shop.files.with_name("away"))
    with pytest.raises(
        ExpectedTickFailure, match=r"connection uploads, which fails since 2026-11-22 09:15:00 UTC, at the step"
    ):
        _tick(shop, instance)
    away.rename(shop.files)
    assert _tick(shop, instance).run_requests


def test_the_page_of_a_failed_tick_has_our_sentence_and_no_stack(shop: Shop, kept_instance: DagsterInstance) -> None:
    shop.add_vendor(vendor={**SFTP, "host": "127.0.0.1", "port": 1, "retries": 0})
    shop.write_import(source={"connection": "vendor", "file": "points/Points"})
    repository = shop.definitions().get_repository_def()
    [name] = [each.name for each in repository.sensor_defs if each.name.endswith("__files")]
    origin = RegisteredCodeLocationOrigin("ingest_pipelines")
    answer: object = None

    def has_failed() -> bool:
        """On a busy machine a tick may end before its look at the source does, as a skipped one."""
        nonlocal answer
        answer = get_external_sensor_execution(
            repository, origin, kept_instance.get_ref(), name, None, None, None, None, None
        )
        return isinstance(answer, SensorExecutionErrorSnap)

    until(has_failed)
    assert isinstance(answer, SensorExecutionErrorSnap)
    assert answer.error is not None
    assert answer.error.message.startswith("connection vendor, which fails since")
    assert (answer.error.stack, answer.error.cause, answer.error.context) == ([], None, None)


@pytest.mark.parametrize(
    ("status", "command"), [("paused", "ingest resume points"), ("draft", "ingest activate points")]
)
def test_a_paused_or_draft_import_is_not_even_looked_for(
    shop: Shop, instance: DagsterInstance, status: str, command: str
) -> None:
    shop.write_import(status=status)
    shop.deliver("Points_1.csv", GOOD)
    assert command in why_nothing(_tick(shop, instance))
    assert shop.rows("SELECT * FROM ingest.items") == []


def test_the_ledgers_status_wins_over_the_yaml(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    with shop.site().target.connect() as connection:
        set_import_status(connection, "points", "customers", "paused", shop.now)
    assert "ingest resume points" in why_nothing(_tick(shop, instance))


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


def test_imports_of_one_connection_share_a_login_and_each_sees_its_own_folder(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins: list[str] = []

    def counted(connection: Connection, client: Client | None = None) -> FileSource:
        logins.append("login")
        return open_files(connection, client)

    monkeypatch.setattr(looks, "open_files", counted)
    shop.write_import("tills", source={"connection": "uploads", "file": "tills/Tills"})
    shop.deliver("Points_1.csv", GOOD)
    listings = Listings()
    assert _tick(shop, instance, listings=listings).run_requests
    for _ in range(2):  # its folder is missing: that is told to it alone, and asked once
        with pytest.raises(ExpectedTickFailure, match="tills"):
            _tick(shop, instance, name="tills", listings=listings)
    (shop.files / "tills").mkdir()
    (shop.files / "tills" / "Tills_1.csv").write_text(GOOD)
    shop.now += SHARED_FOR
    assert _tick(shop, instance, listings=listings).run_requests
    assert "still changing" in why_nothing(_tick(shop, instance, name="tills", listings=listings))
    assert len(logins) == 3


def _tick(
    shop: Shop,
    instance: DagsterInstance,
    *,
    name: str = "points",
    cursor: str | None = None,
    listings: Listings | None = None,
) -> SensorResult:
    site = shop.site()
    sensor = file_sensor(site, site.project.require(name), listings or Listings())
    return _result(sensor_tick(sensor, instance, cursor))


def _result(answer: object) -> SensorResult:
    if isinstance(answer, SkipReason):
        return SensorResult(skip_reason=answer)
    assert isinstance(answer, SensorResult)
    return answer
