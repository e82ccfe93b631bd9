"""A person decides that an item is never loaded: it leaves the list, nothing loads it, and it can come back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance

from ingest_pipelines import ledger
from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.skip import skip_items
from ingest_pipelines.orchestration.runs.launch import failed_items
from ingest_pipelines.orchestration.runs.lost_items import LOST_AFTER, lost_items
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop


def skip(shop: Shop, instance: DagsterInstance, *keys: str) -> None:
    site = shop.site()
    found = open_items(site, instance, site.clock())
    skip_items(site, "points", keys, by="ann@desk", reason="the vendor sent it twice", open_now=found)


def rows_on_disk(shop: Shop) -> list[Path]:
    """Files with rows that runs have left."""
    folders = (shop.site().settings.spool, shop.site().settings.spill)
    return [path for folder in folders for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".handle"]


def statuses(shop: Shop) -> dict[str, str]:
    return dict(shop.rows("SELECT key, status FROM ingest.items"))


def test_an_item_that_a_person_skips_leaves_the_list_and_comes_back_by_a_run(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "pick": "all", "settle": "1s"})
    shop.deliver("Points_1.csv", ONE_BAD, age=timedelta(hours=3))
    failed = shop.arrive(instance)
    shop.run(instance, failed)
    shop.deliver("Points_2.csv", GOOD, age=timedelta(hours=2))
    waits = shop.arrive(instance)
    assert [item.key for item in failed_items(shop.site(), instance, "points")] == [failed.key]

    assert rows_on_disk(shop), "for a re-execution"
    skip(shop, instance, failed.key, waits.key)
    assert rows_on_disk(shop) == []
    assert open_items(shop.site(), instance, shop.now) == []
    assert failed_items(shop.site(), instance, "points") == []
    site = shop.site()
    assert find_file_items(site, site.project.require("points"), Listings()).waiting == ()
    assert lost_items(site, instance, shop.now + 2 * LOST_AFTER) == []
    with site.target.session() as connection:
        actions = ledger.list_audit(connection, import_name="points")
    assert [(action.who, action.what, action.item) for action in actions] == [
        ("ann@desk", "skipped", waits.key),
        ("ann@desk", "skipped", failed.key),
    ]
    assert actions[0].detail == {"reason": "the vendor sent it twice", "status": "new"}

    shop.run(instance, waits)
    assert statuses(shop) == {failed.key: "skipped", waits.key: "committed"}


def test_what_is_in_the_table_or_under_way_or_unknown_cannot_be_skipped(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=3))
    committed = shop.arrive(instance)
    shop.run(instance, committed)
    shop.deliver("Points_2.csv", GOOD, age=timedelta(hours=2))
    running = shop.arrive(instance)
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job, tags={"dagster/partition": str(running.key), "ingest/import": "points"})
    before = statuses(shop)
    for key, words in [
        (str(committed.key), "is in the table"),
        (str(running.key), "is queued"),
        ("Points_9", "no item"),
    ]:
        with pytest.raises(UsageError, match=words):
            skip(shop, instance, key)
    assert statuses(shop) == before
    assert shop.rows("SELECT * FROM ingest.audit") == []
