"""`renamed_from`: an import that got another name keeps its history, and loads nothing again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance, SensorResult

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop
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
