"""A run tagged `ingest/dry_run` shows what a load would do, and leaves everything as it was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from dagster import (
    AssetKey,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    ExecuteInProcessResult,
    SensorResult,
)
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets import step_errors
from ingest_pipelines.orchestration.assets.partitions import partitions_of
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.runs.live_status import running_imports
from ingest_pipelines.orchestration.runs.tags import is_dry_run
from ingest_pipelines.orchestration.schedules.import_schedule import overlap
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD, Shop, verdicts
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

KEY = AssetKey(["customers", "points"])
LEFT_ALONE = (
    "SELECT (SELECT count(*) FROM ingest.loads), (SELECT count(*) FROM ingest.rejects),"
    " (SELECT count(*) FROM ingest.imports), (SELECT count(*) FROM ingest.fields),"
    " (SELECT count(*) FROM ingest.events), (SELECT count(*) FROM ingest.cursors), to_regclass('crm.customers')"
)


def plan(shop: Shop, instance: DagsterInstance, item: Item, **settings: Any) -> ExecuteInProcessResult:
    return shop.run(instance, item, defs=shop.definitions(**settings), **{"ingest/dry_run": "true"})


def answer(instance: DagsterInstance, run_id: str) -> dict[str, Any]:
    """The one observation of the import's asset by the run, its metadata in plain values."""
    found = [
        record.dagster_event.asset_observation_data.asset_observation
        for record in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_OBSERVATION)
        if record.dagster_event is not None
    ]
    [observed] = [each for each in found if each.asset_key == KEY]
    assert isinstance(observed, AssetObservation)
    shown = {name: getattr(value, "records", None) or value.value for name, value in observed.metadata.items()}
    return {**shown, "partition": observed.partition, "said": observed.description}


def status(shop: Shop, instance: DagsterInstance, item: Item) -> AssetPartitionStatus | None:
    """What the UI's colour of the partition says."""
    known = instance.get_status_by_partition(KEY, [str(item.key)], partitions_of(shop.bound()))
    assert known is not None
    return known[str(item.key)]


def materializations(instance: DagsterInstance) -> list[int]:
    return [record.storage_id for record in instance.fetch_materializations(AssetRecordsFilter(KEY), limit=9).records]


def tag(instance: DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.tags["ingest/plan"]


def test_a_dry_run_shows_what_a_load_would_do_and_leaves_nothing(shop: Shop, instance: DagsterInstance) -> None:
    source = {"connection": "uploads", "file": "points/Points", "settle": "1s", "archive": "points/done"}
    shop.write_import(source=source, rejects={"max_rows": 1})
    file = shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    before = shop.rows(LEFT_ALONE)
    result = plan(shop, instance, item)
    assert result.success
    assert shop.stages == ["land", "validate", "merge"]
    shown = answer(instance, result.run_id)
    assert (shown["plan"], shown["partition"]) == ("would commit", str(item.key))
    assert "everything was rolled back" in shown["said"]
    assert [shown[name] for name in ("read", "inserted", "updated", "unchanged", "rejected")] == [2, 1, 0, 0, 1]
    assert 'CREATE TABLE "crm"."customers"' in shown["ddl"]
    assert shown["seconds/lock"] < 1
    [reject] = shown["rejects"]
    assert (reject.data["line"], reject.data["code"]) == (3, "bad_int")
    assert shown["next"] == f"`ingest run points --item {item.key}` applies it"
    assert not {"status", "load"} & set(shown)
    assert tag(instance, result.run_id) == "would commit"
    assert shop.rows(LEFT_ALONE) == before == [(0, 0, 0, 0, 0, 0, None)]
    assert shop.rows("SELECT status FROM ingest.items") == [("new",)]
    assert file.exists()
    assert not list((shop.state / "spool").glob("*/*"))
    assert {path.suffix for path in (shop.state / "spill").glob("*/*")} == {".handle"}
    assert materializations(instance) == []
    assert verdicts(instance, result.run_id) == {}
    assert status(shop, instance, item) is None


def test_a_loaded_partition_and_its_checks_stay_as_they_are_whatever_a_plan_finds(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.write_import(rejects={"max_rows": 1})
    file = shop.deliver("Points_1.csv", ONE_BAD)
    item = shop.arrive(instance)
    assert shop.run(instance, item).success
    was = (shop.rows("TABLE ingest.loads"), shop.rows("TABLE crm.customers"), materializations(instance))
    again = plan(shop, instance, item)
    assert answer(instance, again.run_id)["unchanged"] == 1
    file.unlink()
    gone = plan(shop, instance, item)
    assert gone.success
    shown = answer(instance, gone.run_id)
    assert (shown["plan"], tag(instance, gone.run_id)) == ("would be refused", "would be refused")
    assert "does not exist" in shown["reason"]
    assert verdicts(instance, again.run_id) == verdicts(instance, gone.run_id) == {}
    assert status(shop, instance, item) == AssetPartitionStatus.MATERIALIZED
    assert (shop.rows("TABLE ingest.loads"), shop.rows("TABLE crm.customers"), materializations(instance)) == was


@pytest.mark.parametrize(
    ("text", "said", "counted", "words"),
    [
        (ONE_BAD, "1 of 2 rows were rejected", (2, 1, 1), "would fail"),
        (f'{HEADER}\nC1,"Gold,10,2024-05-01\n', "line 2", (0, 0, 0), "would be refused"),
    ],
    ids=["above the limit", "unreadable"],
)
def test_a_plan_says_why_a_load_would_not_commit_and_the_run_is_green(
    shop: Shop, instance: DagsterInstance, text: str, said: str, counted: tuple[int, int, int], words: str
) -> None:
    shop.deliver("Points_1.csv", text)
    item = shop.arrive(instance)
    result = plan(shop, instance, item)
    assert result.success
    shown = answer(instance, result.run_id)
    assert said in shown["reason"]
    assert (shown["read"], shown["inserted"], shown["rejected"]) == counted
    assert "next" not in shown
    assert shown["plan"] == words
    assert status(shop, instance, item) is None
    assert shop.rows(LEFT_ALONE) == [(0, 0, 0, 0, 0, 0, None)]
    assert not list((shop.state / "spool").glob("*/*"))


def test_a_busy_target_is_tried_again_and_then_the_plan_names_the_holder(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_errors, "RETRIES", 1)
    shop.deliver("Points_1.csv", GOOD)
    shop.run(instance, shop.arrive(instance))
    shop.deliver("Points_2.csv", GOOD.replace("Gold", "Bronze"), age=timedelta(minutes=1))
    item = shop.arrive(instance)
    with psycopg.connect(shop.database_url, application_name="nightly report") as holder:
        holder.execute("LOCK TABLE crm.customers IN ACCESS EXCLUSIVE MODE")
        result = plan(shop, instance, item, lock_timeout_seconds=0.1)
    assert result.success
    shown = answer(instance, result.run_id)
    assert shown["plan"] == "would fail"
    assert "held by 'nightly report'" in shown["reason"]
    assert shop.stages[-2:] == ["merge", "merge"]
    assert shop.rows("SELECT status FROM ingest.loads") == [("committed",)]


def test_a_plan_from_the_command_line_is_a_run_that_does_not_count_as_the_items_own(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    outcome = run_import(shop.site(), instance, "points", dry_run=True, by="ann@laptop")
    assert outcome.report is not None
    assert (outcome.report.dry_run, outcome.report.status, outcome.report.load_id) == (True, "committed", None)
    run = instance.get_run_by_id(outcome.run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.SUCCESS
    assert {
        "ingest/dry_run": "true",
        "ingest/by": "ann@laptop",
        "ingest/plan": "would commit",
    }.items() <= run.tags.items()
    tick = sensor_tick(file_sensor(shop.site(), shop.bound(), Listings()), instance)
    assert isinstance(tick, SensorResult)
    assert [request.partition_key for request in tick.run_requests or ()] == [str(outcome.item.key)]


def test_a_plan_under_way_or_killed_holds_back_no_schedule_and_alarms_nobody(
    shop: Shop, instance: DagsterInstance
) -> None:
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    tags = {"ingest/import": "points", "ingest/dry_run": "true"}
    instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus.STARTED)
    instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus.FAILURE)
    assert running_imports(instance.get_runs()) == set()
    assert overlap(shop.bound(), instance) == ""
    assert open_items(shop.site(), instance, shop.now) == []


@pytest.mark.parametrize(
    ("value", "dry"), [("true", True), ("True", True), ("yes", True), ("", True), ("false", False), (None, False)]
)
def test_only_false_says_that_a_tagged_run_is_to_load(value: str | None, dry: bool) -> None:
    assert is_dry_run({} if value is None else {"ingest/dry_run": value}) is dry


def test_a_plan_of_an_unknown_item_is_a_mistake_of_the_command(shop: Shop, instance: DagsterInstance) -> None:
    with pytest.raises(UsageError, match="there is no item"):
        run_import(shop.site(), instance, "points", item_key="nothing", dry_run=True)
