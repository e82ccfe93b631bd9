"""Runs that ended without an event of their partition: its pages then show what the ledger has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from sqlalchemy import text

from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets.partitions import partitions_of
from ingest_pipelines.orchestration.io_managers.target import TargetIOManager
from ingest_pipelines.orchestration.monitoring import partition_events
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.partition_events import report_ended_runs
from ingest_pipelines.orchestration.runs.fail_dead_run import fail_dead_run
from ingest_pipelines.pipeline import steps
from ingest_pipelines_tests.orchestration.agreement import disagreements
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop

KEY = AssetKey(["customers", "points"])
OURS: dict[str, Any] = {"ingest/import": "points"}
ENDS = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def add_run(shop: Shop, instance: DagsterInstance, key: str, status: DagsterRunStatus, **tags: str) -> str:
    tags = {"dagster/partition": key, "ingest/import": "points", **tags}
    job = shop.definitions().resolve_implicit_global_asset_job_def().get_subset(asset_selection={KEY})
    return str(instance.create_run_for_job(job, tags=tags, status=status, asset_selection={KEY}).run_id)


def observations(instance: DagsterInstance, key: str) -> list[dict[str, object]]:
    records = instance.fetch_observations(AssetRecordsFilter(KEY, asset_partitions=[key]), limit=20).records
    return [
        {name: value.value for name, value in record.asset_observation.metadata.items()}
        for record in records
        if record.asset_observation is not None
    ]


def arrive(shop: Shop, instance: DagsterInstance, number: int, content: str = GOOD) -> Item:
    shop.deliver(f"Points_{number}.csv", content, age=timedelta(minutes=90 - number))
    return shop.arrive(instance)


def dies(*_: object, **__: object) -> None:
    raise RuntimeError("the process is gone")


@pytest.mark.parametrize("rejects", [0, 1])
def test_a_run_that_committed_and_died_leaves_no_red_partition(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, rejects: int
) -> None:
    shop.write_import(rejects={"max_rows": 1})
    item = arrive(shop, instance, 1, ONE_BAD if rejects else GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(TargetIOManager, "_archive", dies)
        assert not shop.run(instance, item, **OURS).success
    site = shop.site()
    assert len(disagreements(site, instance, shop.now)) == 1
    reported, after = report_ended_runs(site, instance)
    assert (reported, disagreements(site, instance, shop.now)) == (1, [])
    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    shown = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (shown["status"], shown["read"], shown["rejected"]) == ("committed", 2, rejects)
    assert report_ended_runs(site, instance, after=after)[0] == 0


def test_a_run_that_died_before_its_commit_says_so_on_its_partition(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody expected: no step reports it, and the ledger has no load."""
    item = arrive(shop, instance, 1)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "apply", dies)
        assert not shop.run(instance, item, **OURS).success
    site = shop.site()
    report_ended_runs(site, instance)
    [shown] = observations(instance, str(item.key))
    [listed] = open_items(site, instance, shop.now)
    assert (shown["status"], shown["reason"], shown["next"]) == (listed.state, listed.reason, listed.next_step)
    assert disagreements(site, instance, shop.now) == []


@pytest.mark.parametrize(("status", "state"), list(zip(ENDS, ("dropped", "terminated"), strict=True)))
def test_a_run_that_never_began_or_was_ended_by_a_person_says_so_once(
    shop: Shop, instance: DagsterInstance, status: DagsterRunStatus, state: str
) -> None:
    item = arrive(shop, instance, 1)
    run_id = add_run(shop, instance, str(item.key), status)
    site = shop.site()
    reported, after = report_ended_runs(site, instance)
    assert reported == 1
    [shown] = observations(instance, str(item.key))
    assert (shown["status"], shown["run"]) == (state, run_id)
    assert "ingest run points --item" in str(shown["next"])
    assert report_ended_runs(site, instance, after=after)[0] == 0
    assert report_ended_runs(site, instance)[0] == 0  # also a tick whose cursor was lost


def store_run(shop: Shop, instance: DagsterInstance, key: str) -> DagsterRun:
    """A run whose creator was killed: Dagster knows it, and not yet which partition it was to materialize."""
    job = shop.definitions().resolve_implicit_global_asset_job_def().name
    tags = {"dagster/partition": key, "ingest/import": "points"}
    return instance.run_storage.add_run(
        DagsterRun(job, str(uuid4()), tags=tags, status=DagsterRunStatus.NOT_STARTED, asset_selection=frozenset({KEY}))
    )


def test_a_failed_runs_partition_is_red_though_the_runs_creator_was_killed_at_once(
    shop: Shop, instance: DagsterInstance
) -> None:
    key = str(arrive(shop, instance, 1).key)
    run = store_run(shop, instance, key)
    instance.report_run_failed(run)
    site = shop.site()
    assert "Dagster shows MISSING; the list: dropped" in disagreements(site, instance, shop.now)[0]
    assert report_ended_runs(site, instance)[0] == 1
    assert disagreements(site, instance, shop.now) == []
    planned = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    assert report_ended_runs(site, instance)[0] == 0
    assert len(instance.all_logs(run.run_id, of_type=planned)) == 1


def test_a_run_that_died_at_once_leaves_a_partition_green_that_another_one_loaded(
    shop: Shop, instance: DagsterInstance
) -> None:
    item = arrive(shop, instance, 1)
    run = store_run(shop, instance, str(item.key))
    assert shop.run(instance, item).success
    fail_dead_run(instance, run.run_id)
    assert disagreements(shop.site(), instance, shop.now) == []


@pytest.mark.parametrize(
    "tags", [{"ingest/dry_run": "true"}, {"dagster/will_retry": "true"}, {"ingest/import": "gone"}], ids=str
)
def test_plans_retried_runs_and_runs_of_nobody_report_nothing(
    shop: Shop, instance: DagsterInstance, tags: dict[str, str]
) -> None:
    item = arrive(shop, instance, 1)
    add_run(shop, instance, str(item.key), DagsterRunStatus.FAILURE, **tags)
    assert report_ended_runs(shop.site(), instance)[0] == 0


def test_a_run_whose_step_said_why_is_not_reported_again(shop: Shop, instance: DagsterInstance) -> None:
    item = arrive(shop, instance, 1, ONE_BAD)
    assert not shop.run(instance, item).success
    assert report_ended_runs(shop.site(), instance)[0] == 0
    assert len(observations(instance, str(item.key))) == 1


def test_an_item_that_a_later_run_loaded_is_green_whatever_became_of_the_others(
    shop: Shop, instance: DagsterInstance
) -> None:
    item = arrive(shop, instance, 1)
    add_run(shop, instance, str(item.key), DagsterRunStatus.CANCELED)
    assert shop.run(instance, item).success
    add_run(shop, instance, str(item.key), DagsterRunStatus.FAILURE)  # a re-run that was dropped
    site = shop.site()
    report_ended_runs(site, instance)
    statuses = instance.get_status_by_partition(KEY, [str(item.key)], partitions_of(shop.bound()))
    assert statuses is not None
    assert str(statuses[str(item.key)]) == "AssetPartitionStatus.MATERIALIZED"


def test_a_tick_looks_at_few_runs_and_the_next_ones_at_the_rest(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_events, "RUNS_PER_TICK", 2)
    keys = [str(arrive(shop, instance, number, GOOD.replace("10", str(number))).key) for number in range(5)]
    for number, key in enumerate(keys):
        run_id = add_run(shop, instance, key, DagsterRunStatus.FAILURE)
        with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]  # SQLite has whole seconds
            ended = (shop.now + timedelta(seconds=number)).replace(tzinfo=None)
            connection.execute(
                text("UPDATE runs SET update_timestamp = :ended WHERE run_id = :run"), {"ended": ended, "run": run_id}
            )
    shop.now += timedelta(seconds=5)
    site, after, reported = shop.site(), "", []
    for _ in range(4):
        count, after = report_ended_runs(site, instance, after=after)
        reported.append(count)
    assert reported == [2, 2, 1, 0]


@pytest.mark.parametrize("ahead", [timedelta(seconds=40), timedelta(days=3)])
def test_runs_that_end_after_the_clock_was_set_back_are_reported(
    shop: Shop, instance: DagsterInstance, ahead: timedelta
) -> None:
    shop.now = datetime.now(UTC)
    item = arrive(shop, instance, 1, GOOD)
    site = shop.site()
    _, after = report_ended_runs(replace(site, clock=lambda: shop.now + ahead), instance)
    after = max(after, (shop.now + ahead).isoformat())
    add_run(shop, instance, str(item.key), DagsterRunStatus.FAILURE)
    assert report_ended_runs(site, instance, after=after)[0] == 1
