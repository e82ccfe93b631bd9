"""A file that is replaced under its name is another item, whatever it has in common with the one before.

And what becomes of the item that it was: loaded, failed, waiting, or being read.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult

from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.runs.signed_tags import signed_tags
from ingest_pipelines.orchestration.runs.tags import DRY_RUN_TAG
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD, Shop, instance, shop

__all__ = ["instance", "shop"]

MENDED = f"{HEADER}\nC1,Gold,11,2024-05-01\nC2,Silver,22,2024-06-01\n"
POINTS = AssetKey(["customers", "points"])


CONTENTS = ("Gold,10", "Iron,10", "Gold,10", "Gold,100")
"""Of one size and of another; one comes back."""


@pytest.mark.parametrize("waiting", [False, True])
def test_every_content_under_one_name_is_loaded_in_its_turn(
    shop: Shop, instance: DagsterInstance, waiting: bool
) -> None:
    """`waiting`: each is replaced again while its run waits; the last one counts."""
    for number, cells in enumerate(CONTENTS):
        age = timedelta(hours=2) - timedelta(minutes=10 * number)
        shop.deliver("Points.csv", f"{HEADER}\nC1,{cells},2024-05-01\n", age=age)
        item = shop.arrive(instance)
        tier, points = cells.split(",")
        if waiting:
            tier, points = "Late", str(1_000 + number)
            late = age - timedelta(minutes=5)
            shop.deliver("Points.csv", f"{HEADER}\nC1,{tier},{points},2024-05-01\n", age=late)
            _run_by_the_sensor(shop, instance, item)
            item = shop.arrive(instance)
        assert _run_by_the_sensor(shop, instance, item)
        assert shop.rows("SELECT tier, points FROM crm.customers") == [(tier, int(points))]
    loads = [status for status, _ in _loads(shop)]
    assert loads.count("committed") == len(CONTENTS)


@pytest.fixture
def failed(shop: Shop, instance: DagsterInstance) -> Item:
    """The item of a bad file that was delivered two hours ago."""
    shop.deliver("Points.csv", ONE_BAD, age=timedelta(hours=2))
    item = shop.arrive(instance)
    assert not _run_by_the_sensor(shop, instance, item)
    return item


def test_a_failed_partition_run_again_after_its_replacement_was_loaded_says_so_and_is_green(
    shop: Shop, instance: DagsterInstance, failed: Item
) -> None:
    shop.deliver("Points.csv", MENDED)
    mended = shop.arrive(instance)
    assert shop.run(instance, mended).success
    result = shop.run(instance, failed)
    assert result.success
    assert _loads(shop) == [("failed", failed.key), ("committed", mended.key), ("skipped", failed.key)]
    [(reason,)] = shop.rows("SELECT error FROM ingest.loads ORDER BY id DESC LIMIT 1")
    assert reason == f"replaced by {mended.key}, which load 2 settled"
    assert _shown(result)["reason"] == reason
    assert instance.get_materialized_partitions(POINTS) == {str(failed.key), str(mended.key)}
    assert shop.rows("SELECT status FROM ingest.items ORDER BY created_at, modified_at") == [
        ("skipped",), ("committed",)
    ]  # fmt: skip


def test_a_replacement_never_overtakes_older_files_that_wait(
    shop: Shop, instance: DagsterInstance, failed: Item
) -> None:
    """They would be stale for ever. It is loaded in its turn; then the old partition turns green as well."""
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "settle": "1s", "pick": "all"})
    shop.deliver("Points_5.csv", GOOD, age=timedelta(minutes=90))
    waiting = shop.arrive(instance)
    shop.deliver("Points.csv", MENDED, age=timedelta(minutes=80))
    mended = shop.arrive(instance)
    assert not shop.run(instance, failed).success
    assert not _run_by_the_sensor(shop, instance, failed)
    assert {status for status, _ in _loads(shop)} == {"failed", "refused"}
    for item in (waiting, mended, failed):
        assert shop.run(instance, item).success
    assert _loads(shop)[-3:] == [("committed", waiting.key), ("committed", mended.key), ("skipped", failed.key)]


def test_the_replacement_is_known_after_it_was_archived_too(shop: Shop, instance: DagsterInstance) -> None:
    source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "archive": "done"}
    shop.write_import(source=source)
    shop.deliver("Points.csv", ONE_BAD, age=timedelta(hours=2))
    failed = shop.arrive(instance)
    assert not shop.run(instance, failed).success
    shop.deliver("Points.csv", MENDED)
    assert shop.run(instance, shop.arrive(instance)).success
    assert not (shop.files / "points" / "Points.csv").exists()
    assert shop.run(instance, failed).success


def test_a_replacement_that_the_old_items_run_loads_is_archived(shop: Shop, instance: DagsterInstance) -> None:
    source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "archive": "done"}
    shop.write_import(source=source)
    shop.deliver("Points.csv", ONE_BAD, age=timedelta(hours=2))
    failed = shop.arrive(instance)
    assert not shop.run(instance, failed).success
    shop.deliver("Points.csv", MENDED)
    assert shop.run(instance, failed).success
    assert (shop.files / "done" / "Points.csv").read_text() == MENDED


def test_a_replacement_that_is_bad_as_well_fails_under_its_own_name(
    shop: Shop, instance: DagsterInstance, failed: Item
) -> None:
    shop.deliver("Points.csv", ONE_BAD.replace("many", "few"))
    assert not shop.run(instance, failed).success
    [(_, first), (status, second)] = _loads(shop)
    assert (first, status) == (failed.key, "failed")
    assert second != failed.key
    shop.deliver("Points.csv", MENDED, age=timedelta(minutes=5))
    assert shop.run(instance, failed).success
    assert [status for status, _ in _loads(shop)] == ["failed", "failed", "committed", "skipped"]


def test_a_replacement_that_is_older_than_what_is_loaded_is_stale_as_ever(
    shop: Shop, instance: DagsterInstance, failed: Item
) -> None:
    shop.deliver("Points_2.csv", GOOD, age=timedelta(minutes=1))
    assert shop.run(instance, shop.arrive(instance)).success
    shop.deliver("Points.csv", MENDED, age=timedelta(hours=1))
    assert not shop.run(instance, failed).success
    assert shop.rows("SELECT points FROM crm.customers ORDER BY 1") == [(10,), (20,)]
    assert _loads(shop)[-1][0] == "refused"


def test_a_run_that_nobody_asked_for_leaves_a_replacement_that_may_still_grow_to_the_sensor(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "settle": "1h"})
    shop.deliver("Points.csv", GOOD, age=timedelta(hours=2))
    item = shop.arrive(instance)
    shop.deliver("Points.csv", MENDED, age=timedelta(minutes=1))
    assert not _run_by_the_sensor(shop, instance, item)
    assert _loads(shop) == [("refused", item.key)]
    assert shop.run(instance, item).success
    assert [status for status, _ in _loads(shop)] == ["refused", "committed", "skipped"]


def test_a_file_that_is_just_gone_is_refused(shop: Shop, instance: DagsterInstance, failed: Item) -> None:
    _only_file(shop).unlink()
    assert not shop.run(instance, failed).success
    assert _loads(shop)[-1] == ("refused", failed.key)


def test_a_plan_of_a_replaced_item_registers_and_loads_nothing(
    shop: Shop, instance: DagsterInstance, failed: Item
) -> None:
    shop.deliver("Points.csv", MENDED)
    assert _run_tagged(shop, instance, failed, DRY_RUN_TAG, "true")
    assert _loads(shop) == [("failed", failed.key)]
    assert shop.rows("SELECT key FROM ingest.items") == [(failed.key,)]
    assert instance.get_dynamic_partitions("customers/points") == [str(failed.key)]


def test_the_command_line_runs_the_old_item_the_same_way(shop: Shop, instance: DagsterInstance, failed: Item) -> None:
    shop.deliver("Points.csv", MENDED)
    outcome = run_import(shop.site(), instance, "points", item_key=str(failed.key))
    assert outcome.error is None
    assert outcome.report is not None
    assert outcome.report.status == "committed"
    assert outcome.report.reason == f"{failed.key} was replaced by it"
    again = run_import(shop.site(), instance, "points", item_key=str(failed.key))
    assert again.report is not None
    assert again.report.status == "skipped"


def _loads(shop: Shop) -> list[tuple[str, str]]:
    return [(status, item) for status, item in shop.rows("SELECT status, item FROM ingest.loads ORDER BY id")]


def _only_file(shop: Shop) -> Path:
    [path] = (shop.files / "points").iterdir()
    return path


def _shown(result: ExecuteInProcessResult) -> dict[str, object]:
    """The metadata of the import's own materialization."""
    [event] = [event for event in result.get_asset_materialization_events() if event.asset_key == POINTS]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def _run_by_the_sensor(shop: Shop, instance: DagsterInstance, item: Item) -> bool:
    tags: dict[str, Any] = signed_tags(shop.bound(), str(item.key), "sensor", instance)
    return shop.run(instance, item, **tags).success


def _run_tagged(shop: Shop, instance: DagsterInstance, item: Item, tag: str, value: str) -> bool:
    tags: dict[str, Any] = {tag: value}
    return shop.run(instance, item, **tags).success
