"""Whoever launches a run may write what they like into its tags; it counts where it is proven."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, SensorResult

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.runs.signed_tags import RunOrigin, signed_tags, verified_origin
from ingest_pipelines.orchestration.schedules.import_schedule import due_run_requests
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

LOADS = "SELECT item, by, forced, status FROM ingest.loads ORDER BY id"
AGAIN = {"run_id": "again", "parent_run_id": "first", "root_run_id": "first"}


def origin(shop: Shop, instance: DagsterInstance, item: Item, tags: dict[str, str], **run: Any) -> RunOrigin:
    """What is known of a run of the item with those tags."""
    made = DagsterRun(job_name="__ASSET_JOB", tags=tags, **{"run_id": "run", **run})
    return verified_origin(made, shop.bound(item.import_name), str(item.key), shop.site(), instance)


@pytest.fixture
def item(shop: Shop, instance: DagsterInstance) -> Item:
    shop.deliver("Points_1.csv", GOOD)
    return shop.arrive(instance)


@pytest.mark.parametrize("by", ["ceo@example.com", "sensor", "schedule", "housekeeping", "dagster", ""])
def test_a_run_with_anybodys_tags_is_a_persons_of_its_own_item(
    by: str, shop: Shop, instance: DagsterInstance, item: Item
) -> None:
    tags: dict[str, Any] = {"ingest/by": by, "ingest/forced": "true", "ingest/item": "other", "ingest/seal": "0" * 64}
    assert shop.run(instance, item, **tags).success
    assert shop.rows(LOADS) == [(item.key, "dagster", False, "committed")]


def test_a_forced_tag_of_a_persons_own_applies_no_stale_item(shop: Shop, instance: DagsterInstance) -> None:
    old = shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=3))
    older = shop.arrive(instance)
    with shop.site().target.session() as connection:
        ledger.set_item_status(connection, older, "refused")  # or the newer file would wait for it
    shop.deliver("Points_2.csv", GOOD.replace(",20,", ",21,"))
    assert shop.run(instance, shop.arrive(instance)).success
    tags: dict[str, Any] = {"ingest/forced": "true", "ingest/by": "ceo@example.com"}
    assert not shop.run(instance, older, **tags).success
    assert old.exists()
    assert shop.rows("SELECT points FROM crm.customers WHERE customer_id = 'C2'") == [(21,)]
    assert shop.rows("SELECT count(*) FROM ingest.audit WHERE what = 'forced'") == [(0,)]


def test_the_command_line_is_believed_in_its_own_process_and_what_it_wrote_into_tags_nowhere(
    shop: Shop, instance: DagsterInstance, item: Item
) -> None:
    outcome = run_import(shop.site(), instance, "points", item_key=str(item.key), forced=True, by="ann@laptop")
    assert shop.rows(LOADS) == [(item.key, "ann@laptop", True, "committed")]
    run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert run.tags.items() >= {"ingest/by": "ann@laptop", "ingest/forced": "true"}.items()
    for again in ({}, AGAIN, {"run_id": outcome.run_id}):
        found = origin(shop, instance, item, dict(run.tags), **again)
        assert (found.by, found.forced, found.item) == ("dagster", False, item.key)


def test_what_sensors_and_schedules_request_is_known_as_theirs(
    shop: Shop, instance: DagsterInstance, item: Item
) -> None:
    tick = sensor_tick(file_sensor(shop.site(), shop.bound(), Listings()), instance)
    assert isinstance(tick, SensorResult)
    [request] = tick.run_requests or []
    assert origin(shop, instance, item, dict(request.tags)) == RunOrigin("sensor", item.key)
    found = due_run_requests(shop.site(), shop.bound(), Listings(), instance, by="schedule", tick="now")
    assert isinstance(found, list)
    [due] = found
    assert origin(shop, instance, item, dict(due.tags)) == RunOrigin("schedule", item.key)
    assert shop.run(instance, item, **dict[str, Any](due.tags)).success
    assert shop.rows(LOADS) == [(item.key, "schedule", False, "committed")]


def test_a_seal_proves_nothing_else_and_nothing_elsewhere(shop: Shop, instance: DagsterInstance, item: Item) -> None:
    tags = signed_tags(shop.bound(), str(item.key), "sensor", instance)
    shop.write_import("others")
    assert origin(shop, instance, item, tags).by == "sensor"
    assert origin(shop, instance, item, {**tags, "ingest/forced": "true"}).forced is False
    assert origin(shop, instance, item, {**tags, "ingest/by": "schedule"}).by == "dagster"
    assert origin(shop, instance, replace(item, key=ItemKey("other")), tags).by == "dagster"
    assert origin(shop, instance, replace(item, import_name="others"), tags).by == "dagster"
    with DagsterInstance.ephemeral() as elsewhere:
        assert origin(shop, elsewhere, item, tags).by == "dagster"


def test_a_re_execution_is_a_persons_and_dagsters_own_retry_is_not(
    shop: Shop, instance: DagsterInstance, item: Item
) -> None:
    tags = signed_tags(shop.bound(), str(item.key), "sensor", instance)
    assert origin(shop, instance, item, tags, **AGAIN).by == "dagster"
    assert origin(shop, instance, item, {**tags, "dagster/retry_number": "1"}, **AGAIN).by == "sensor"


def test_what_a_re_execution_works_on_is_looked_up_in_the_ledger(
    shop: Shop, instance: DagsterInstance, item: Item
) -> None:
    assert shop.run(instance, item).success
    [(run_id,)] = shop.rows("SELECT run_id FROM ingest.loads")
    again = {"run_id": "again", "parent_run_id": run_id, "root_run_id": run_id}
    tags = {"ingest/item": str(item.key)}
    elsewhere = replace(item, key=ItemKey("2026-01-01"))
    assert origin(shop, instance, elsewhere, tags, **again).item == item.key
    for forged, parent in (({"ingest/item": "other"}, again), (tags, AGAIN)):
        with pytest.raises(UsageError, match="no load of that run has"):
            origin(shop, instance, elsewhere, forged, **parent)


def test_anybody_may_ask_for_a_plan(shop: Shop, instance: DagsterInstance, item: Item) -> None:
    tags: dict[str, Any] = {"ingest/dry_run": "true", "ingest/by": "ceo@example.com"}
    assert shop.run(instance, item, **tags).success
    assert shop.rows("SELECT count(*) FROM ingest.loads") == [(0,)]
