"""The list of open items: each item that should be in the table and is not, found in ledger, Dagster and project."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus

from ingest_pipelines import ledger
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.agreement import disagreements
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop
from ingest_pipelines_tests.servers.sftp import SftpServer

SOURCE = {"connection": "vendor", "file": "points/Points", "pick": "all", "settle": "1s"}


def listed(shop: Shop, instance: DagsterInstance, **settings: Any) -> list[OpenItem]:
    site = shop.site(**settings)
    return open_items(site, instance, site.clock())


def states(shop: Shop, instance: DagsterInstance) -> dict[str, str]:
    return {item.item: item.state for item in listed(shop, instance)}


def add_run(shop: Shop, instance: DagsterInstance, item: Item, status: str, **tags: str) -> None:
    tags = {"dagster/partition": str(item.key), "ingest/import": item.import_name, **tags}
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus(status))


@pytest.fixture
def watched(shop: Shop, sftp_server: SftpServer, sftp_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose import has a sensor: its files come by SFTP."""
    monkeypatch.setenv("VENDOR_KEY", sftp_server.private_key)
    shop.files = sftp_folder
    vendor = sftp_server.connection(root=str(sftp_folder))
    shop.add_vendor(vendor=vendor)
    shop.write_import(source=SOURCE)
    return shop


def test_an_import_without_a_ledger_has_no_open_item(shop: Shop, instance: DagsterInstance) -> None:
    assert listed(shop, instance) == []


def test_a_failed_item_stays_on_the_list_until_it_is_loaded_or_replaced(
    watched: Shop, instance: DagsterInstance
) -> None:
    watched.deliver("Points_1.csv", ONE_BAD, age=timedelta(hours=2))
    first = watched.arrive(instance)
    watched.run(instance, first)
    [found] = listed(watched, instance)
    assert (found.item, found.state, found.next_step) == (first.key, "failed", f"ingest run points --item {first.key}")
    assert "rows were rejected" in found.reason
    assert found.run_id

    watched.deliver("Points_2.csv", GOOD, age=timedelta(hours=1))
    second = watched.arrive(instance)
    watched.run(instance, second)
    assert states(watched, instance) == {first.key: "failed"}, "a later good item settles no other item"

    watched.deliver("Points_1.csv", GOOD, age=timedelta(minutes=30))
    replacement = watched.arrive(instance)
    assert states(watched, instance) == {replacement.key: "due"}
    watched.run(instance, replacement)
    assert states(watched, instance) == {}


def test_an_item_whose_runs_left_no_load_is_in_the_state_of_the_last(watched: Shop, instance: DagsterInstance) -> None:
    expected = {}
    histories = [
        ([], "due"),
        (["NOT_STARTED"], "queued"),
        (["STARTED"], "running"),
        (["CANCELING"], "running"),
        (["CANCELED"], "terminated"),
        (["FAILURE"], "dropped"),
        (["CANCELED", "FAILURE"], "dropped"),
        (["FAILURE", "CANCELED"], "terminated"),
        (["FAILURE", "STARTED"], "running"),
        (["STARTED", "NOT_STARTED"], "running"),
    ]
    for number, _ in enumerate(histories):
        watched.deliver(f"Points_{number}.csv", GOOD, age=timedelta(minutes=90 - number))
    site = watched.site()
    items = find_file_items(site, site.project.require("points"), Listings()).items
    for item, (statuses, state) in zip(items, histories, strict=True):
        expected[item.key] = state
        for status in statuses:
            add_run(watched, instance, item, status)
        add_run(watched, instance, item, "FAILURE", **{"ingest/dry_run": "true"})
    assert states(watched, instance) == expected


def test_items_of_an_import_that_is_paused_broken_or_gone_wait_for_a_person(
    watched: Shop, instance: DagsterInstance
) -> None:
    watched.deliver("Points_1.csv", GOOD)
    item = watched.arrive(instance)
    with watched.site().target.session() as connection:
        ledger.set_import_status(connection, "points", "customers", "paused", watched.now)
    [paused] = listed(watched, instance)
    assert (paused.item, paused.state, paused.next_step) == (item.key, "paused", "ingest resume points")

    with watched.site().target.session() as connection:
        ledger.set_import_status(connection, "points", "customers", "active", watched.now)
    watched.write_import(mod="add_only", source=SOURCE)
    [held] = listed(watched, instance)
    assert (held.state, held.next_step) == ("held", "ingest check points")
    assert "mod: unknown key" in held.reason

    (watched.home / "imports" / "points.yaml").unlink()
    [gone] = listed(watched, instance)
    assert (gone.state, gone.reason) == ("held", "the project has no import points")
    assert (
        gone.next_step
        == f"`renamed_from: points` in the YAML of its new name, or: ingest skip points --item {item.key}"
    )


def test_nothing_is_due_by_itself_where_automation_is_off(watched: Shop, instance: DagsterInstance) -> None:
    watched.deliver("Points_1.csv", GOOD)
    site = watched.site(automation=False)
    find_file_items(site, site.project.require("points"), Listings())
    assert listed(watched, instance, automation=False) == []


def test_an_item_of_several_files_says_what_it_waits_for(watched: Shop, instance: DagsterInstance) -> None:
    seen = f"{watched.now.isoformat()} waits for part 3 of 5"
    with watched.site().target.session() as connection:
        ledger.record_success(connection, "points", "vendor", watched.now, settling={"points/Points_9_part1.csv": seen})
    [found] = listed(watched, instance)
    assert (found.state, found.reason) == ("settling", "waits for part 3 of 5")
    assert found.since == watched.now


def test_a_file_that_may_still_change_is_settling(watched: Shop, instance: DagsterInstance) -> None:
    seen = watched.now - timedelta(seconds=5)
    with watched.site().target.session() as connection:
        ledger.record_success(
            connection, "points", "vendor", watched.now, settling={"points/Points_9.csv": seen.isoformat()}
        )
    [found] = listed(watched, instance)
    assert (found.item, found.state, found.since) == ("points/Points_9.csv", "settling", seen)


def test_dagster_s_partitions_agree_with_the_list(watched: Shop, instance: DagsterInstance) -> None:
    contents = [GOOD, ONE_BAD, "CID\n", GOOD.replace("Gold", "Iron"), GOOD.replace("Gold", "Zinc")]
    for number, content in enumerate(contents):
        watched.deliver(f"Points_{number}.csv", content, age=timedelta(minutes=90 - number))
    site = watched.site()
    items = find_file_items(site, site.project.require("points"), Listings()).items
    instance.add_dynamic_partitions("customers/points", [str(item.key) for item in items])
    for item in items[:4]:
        watched.run(instance, item)
    assert [found.state for found in listed(watched, instance)] == ["failed", "refused", "due"]
    assert disagreements(site, instance, site.clock()) == []

    with site.target.session() as connection:  # a ledger that contradicts Dagster is found
        connection.execute("UPDATE ingest.items SET status = 'new' WHERE key = %s", (items[0].key,))
        connection.execute("UPDATE ingest.items SET status = 'committed' WHERE key = %s", (items[1].key,))
    assert len(disagreements(site, instance, site.clock())) == 2
