"""`renamed_from`: an import that got another name keeps its history, and loads nothing again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance, DagsterRunStatus, RunRequest, SensorResult, job
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.assets.partitions import partitions_name, window_item
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.skip import skip_items
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop, write_windows
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

OF_AN_IMPORT = """
    SELECT table_name FROM information_schema.columns
    WHERE table_schema = 'ingest' AND column_name = 'import' AND table_name NOT IN ('audit', 'events', 'metrics')
"""


def test_history_moves_once_and_nothing_is_loaded_again(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    good = shop.arrive(instance)
    assert shop.run(instance, good).success
    shop.deliver("Points_2.csv", ONE_BAD)
    bad = shop.arrive(instance)
    assert not shop.run(instance, bad).success
    with _ledger(shop) as connection:
        ledger.set_import_status(connection, "points", "customers", "active", shop.now)
        ledger.set_cursor(connection, "points", "7", shop.now)
        ledger.record_success(connection, "points", "uploads", shop.now)
        before = {load.id for load in ledger.recent_loads(connection, "points")}
    _rename(shop)
    tick = _tick(shop, instance)
    assert not tick.run_requests
    with _ledger(shop) as connection:
        assert {load.id for load in ledger.recent_loads(connection, "tills")} == before
        assert ledger.find_cursor(connection, "tills").value == "7"  # type: ignore[union-attr]
        assert ledger.find_import(connection, "tills").mapping is not None  # type: ignore[union-attr]
        assert ledger.list_rejects(connection, "tills")
        [entry] = ledger.list_audit(connection, import_name="tills")
        assert (entry.what, entry.who, entry.detail) == ("renamed", "sensor", {"from": "points"})
        for (table,) in connection.execute(OF_AN_IMPORT.encode()).fetchall():
            left = connection.execute(f"SELECT count(*) FROM ingest.{table} WHERE import = 'points'".encode())
            assert left.fetchone() == (0,), table
    bound = shop.bound("tills")
    assert set(instance.get_dynamic_partitions(partitions_name(bound))) == {str(good.key), str(bad.key)}
    assert instance.get_materialized_partitions(AssetKey(["customers", "tills"])) == {str(good.key)}
    _tick(shop, instance)
    with _ledger(shop) as connection:
        assert len(ledger.list_audit(connection, import_name="tills")) == 1


def test_what_a_load_of_the_old_name_committed_meanwhile_is_moved_by_the_next_tick(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    _rename(shop)
    assert take_over_history(shop.site(), shop.bound("tills"), instance, "sensor")
    (shop.home / "imports" / "tills.yaml").unlink()
    shop.write_import()
    with _ledger(shop) as connection:
        ledger.register_items(connection, [item], shop.now)
    assert shop.run(instance, item).success
    _rename(shop)
    assert not _tick(shop, instance).run_requests
    with _ledger(shop) as connection:
        assert [load.status for load in ledger.recent_loads(connection, "tills")] == ["committed"]
        assert not ledger.has_history(connection, "points")


def test_a_process_that_knows_an_older_project_does_not_take_a_rename_back(
    shop: Shop, instance: DagsterInstance
) -> None:
    """A code server learns of a new YAML file some time after the person who wrote it has run the import."""
    shop.deliver("Points_1.csv", GOOD)
    assert shop.run(instance, shop.arrive(instance)).success
    _rename(shop)
    stale, bound = shop.site(), shop.bound("tills")
    assert take_over_history(stale, bound, instance, "ann@desk")
    shop.now += timedelta(seconds=30)
    (shop.home / "imports" / "tills.yaml").unlink()
    shop.write_import(renamed_from="tills")
    assert take_over_history(shop.site(), shop.bound("points"), instance, "ann@desk")
    shop.now += timedelta(seconds=30)
    assert not take_over_history(stale, bound, instance, "sensor")
    with _ledger(shop) as connection:
        assert ledger.recent_loads(connection, "points")
        assert not ledger.has_history(connection, "tills")
    _rename(shop)  # and once more, by a person
    assert take_over_history(shop.site(), shop.bound("tills"), instance, "ann@desk")


def test_two_histories_do_not_become_one(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    shop.write_import("tills")
    for name in ("points", "tills"):
        shop.run(instance, shop.arrive(instance, name))
    _rename(shop)
    with pytest.raises(UsageError, match="two histories cannot become one"):
        take_over_history(shop.site(), shop.bound("tills"), instance, "sensor")
    with _ledger(shop) as connection:
        assert ledger.has_history(connection, "points")


@pytest.mark.parametrize("end", ["FAILURE", "CANCELED", "NOT_STARTED"])
def test_windows_of_a_backfill_are_on_the_list_and_asked_for_whatever_name_the_import_gets(
    shop: Shop, instance: DagsterInstance, end: str
) -> None:
    """Only their runs know of them: the ledger has one other window of the import."""
    shop.now = datetime.now(UTC)
    write_windows(shop)
    keys = [f"{shop.now - timedelta(days=days):%Y-%m-%d}" for days in (9, 8, 7)]
    bound = shop.bound()
    with shop.site().target.session() as connection:
        ledger.set_import_status(connection, "points", "customers", "active", shop.now)
        first = window_item(bound, ItemKey(keys[0]), "", shop.now)
        ledger.register_items(connection, [first], shop.now)
        ledger.skip_item(connection, first)
    failed = PartitionBackfill("b", BulkActionStatus.FAILED, from_failure=False, tags={}, backfill_timestamp=0.0)
    instance.add_backfill(failed)
    for key in keys[1:]:
        tags = {"dagster/partition": key, "ingest/import": "points", "dagster/backfill": "b"}
        instance.create_run_for_job(_points, tags=tags, status=DagsterRunStatus(end))
    shop.now += timedelta(minutes=10)

    def listed() -> set[tuple[str, str, str]]:
        site = shop.site()
        return {(item.import_name, item.item, item.state) for item in open_items(site, instance, site.clock())}

    (shop.home / "imports" / "points.yaml").write_text("database: [customers\n", encoding="utf-8")
    assert {(name, key) for name, key, _ in listed()} == {("points", key) for key in keys[1:]}, "not YAML"
    (shop.home / "imports" / "points.yaml").unlink()
    assert listed() == {("points", key, "held") for key in keys[1:]}, "removed"
    write_windows(shop, "tills", renamed_from="points")
    assert {(name, key) for name, key, _ in listed()} == {("tills", key) for key in keys[1:]}, "renamed"
    assert "terminated" not in {state for *_, state in listed()}, "no person ended them"
    if end != "NOT_STARTED":
        _keep_house(shop, instance)
        shop.now += timedelta(minutes=10)
        requests = _keep_house(shop, instance)
        assert sorted(str(request.partition_key) for request in requests) == keys[1:]
        assert {(name, key) for name, key, _ in listed()} == {("tills", key) for key in keys[1:]}


def test_a_window_of_a_removed_import_that_only_its_run_knew_can_be_skipped(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.now = datetime.now(UTC)
    write_windows(shop)
    keys = [f"{shop.now - timedelta(days=days):%Y-%m-%d}" for days in (9, 8)]
    with shop.site().target.session() as connection:
        ledger.set_import_status(connection, "points", "customers", "active", shop.now)
        first = window_item(shop.bound(), ItemKey(keys[0]), "", shop.now)
        ledger.register_items(connection, [first], shop.now)
        ledger.skip_item(connection, first)
    tags = {"dagster/partition": keys[1], "ingest/import": "points", "dagster/backfill": "b"}
    instance.create_run_for_job(_points, tags=tags, status=DagsterRunStatus.FAILURE)
    (shop.home / "imports" / "points.yaml").unlink()
    site = shop.site()
    [found] = open_items(site, instance, site.clock())
    assert (found.item, found.state) == (keys[1], "held")
    assert f"ingest skip points --item {keys[1]}" in found.next_step
    skip_items(site, "points", [keys[1]], by="ann", reason="", open_now=[found])
    assert open_items(site, instance, site.clock()) == []


def test_a_rename_that_cannot_be_meant_is_a_mistake_of_the_yaml(shop: Shop) -> None:
    shop.write_import("tills", renamed_from="points")
    assert "imports/points.yaml is still there" in str(shop.site().project.broken["tills"])
    assert "points" in shop.site().project.imports
    shop.write_import("tills", renamed_from="tills")
    assert "that is its name now" in str(shop.site().project.broken["tills"])
    shop.write_import("tills", renamed_from="members")
    shop.write_import("shops", renamed_from="members")
    assert "imports/shops.yaml was 'members' before, too" in str(shop.site().project.broken["tills"])
    assert "shops" in shop.site().project.imports


@job
def _points() -> None:
    """A job without a step: only its runs' records count here."""


def _keep_house(shop: Shop, instance: DagsterInstance) -> list[RunRequest]:
    site = shop.site()
    result = sensor_tick(housekeeping_sensor(site, list(site.project.imports.values()), Listings()), instance)
    assert isinstance(result, SensorResult)
    return list(result.run_requests or ())


def _rename(shop: Shop) -> None:
    (shop.home / "imports" / "points.yaml").unlink()
    shop.write_import("tills", renamed_from="points")


def _tick(shop: Shop, instance: DagsterInstance) -> SensorResult:
    result = sensor_tick(file_sensor(shop.site(), shop.bound("tills"), Listings()), instance)
    assert isinstance(result, SensorResult)
    return result


@contextmanager
def _ledger(shop: Shop) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shop.database_url) as connection:
        yield connection
