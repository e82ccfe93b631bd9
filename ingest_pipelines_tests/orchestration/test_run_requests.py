"""An item that no load has settled is asked for until one has, or until a person ended its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import get_args

import pytest
from dagster import (
    AssetKey,
    DagsterEvent,
    DagsterInstance,
    DagsterRunStatus,
    SensorDefinition,
    SensorResult,
    job,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines import ledger
from ingest_pipelines.config.placement import ALONE
from ingest_pipelines.errors import SourceUnavailable
from ingest_pipelines.ledger import ItemState
from ingest_pipelines.merge import record_failure
from ingest_pipelines.model import ItemKey, ItemKind, ItemStatus, Run
from ingest_pipelines.orchestration.assets.partitions import window_item
from ingest_pipelines.orchestration.definitions import build_definitions
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.runs.item_runs import RETRIED_WITHIN, UNSENT_FOR, ItemRuns, RunEnd, runs_of_items
from ingest_pipelines.orchestration.runs.run_requests import LONGEST_PAUSE, next_request, pause
from ingest_pipelines.orchestration.runs.tags import run_tags
from ingest_pipelines.orchestration.sensors.file_sensor import file_sensor
from ingest_pipelines.orchestration.sensors.housekeeping import housekeeping_sensor
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_query
from ingest_pipelines_tests.orchestration.conftest import GOOD, NOW, Shop, why_nothing, write_windows
from ingest_pipelines_tests.orchestration.ticks import sensor_tick

MINUTE = timedelta(minutes=1)
KEY = ItemKey("key")


@job
def _points() -> None:
    """A job without a step: only its runs' records count here."""


def _runs(end: RunEnd | None, ended: int = 1) -> ItemRuns:
    return ItemRuns("0123456789", DagsterRunStatus.FAILURE, NOW, end, NOW, ended)


@pytest.mark.parametrize("kind", get_args(ItemKind))
@pytest.mark.parametrize("status", get_args(ItemStatus))
def test_every_unsettled_item_has_a_next_request_or_a_person_who_knows_why_not(
    kind: ItemKind, status: ItemStatus
) -> None:
    for retryable, ends in product((False, True), (None, *get_args(RunEnd), "in progress")):
        runs = None if ends is None else _runs(None if ends == "in progress" else ends)
        request = next_request(ItemState(KEY, status, NOW, retryable), kind, runs)
        by_itself, by_tick = (request.is_due(NOW + LONGEST_PAUSE, tick=tick) for tick in (False, True))
        settled = status in {"committed", "skipped"}
        may_load_as_it_is = status == "new" or retryable
        has_a_file_elsewhere = kind in {"upload", "replay"}
        asked = not settled and ends != "in progress" and not has_a_file_elsewhere
        assert by_itself == (asked and may_load_as_it_is and ends != "terminated"), (retryable, ends)
        if kind in {"query", "cursor"}:
            assert by_tick == asked, (retryable, ends)
        elif kind == "window":
            assert by_tick == (asked and ends != "terminated"), (retryable, ends)
        else:
            assert by_tick == by_itself, (retryable, ends)


@given(st.integers(1, 10_000))
def test_pauses_grow_from_a_minute_to_half_an_hour(ended: int) -> None:
    assert MINUTE <= pause(ended) <= pause(ended + 1) <= LONGEST_PAUSE
    assert pause(ended) == min(LONGEST_PAUSE, MINUTE * 2 ** min(ended - 1, 20))


def test_a_request_has_the_run_key_of_no_other() -> None:
    state = ItemState(KEY, "new", NOW)
    keys = [next_request(state, "file", runs).run_key for runs in (None, _runs("failed"))]
    later = ItemRuns("abcdef9876", DagsterRunStatus.SUCCESS, NOW, "succeeded", NOW, 1)
    assert len({*keys, next_request(state, "file", later).run_key}) == 3


Ending = Callable[[DagsterInstance, str], None]


def _reported(report: str) -> Ending:
    def end(instance: DagsterInstance, run_id: str) -> None:
        getattr(instance, report)(instance.get_run_by_id(run_id))

    return end


def _succeed(instance: DagsterInstance, run_id: str) -> None:
    instance.report_dagster_event(DagsterEvent("PIPELINE_SUCCESS", "_points"), run_id)


def _start(instance: DagsterInstance, run_id: str) -> None:
    instance.report_dagster_event(DagsterEvent("PIPELINE_STARTING", "_points"), run_id)
    instance.report_dagster_event(DagsterEvent("PIPELINE_START", "_points"), run_id)


def _die_and_be_retried(instance: DagsterInstance, run_id: str) -> None:
    _reported("report_run_failed")(instance, run_id)
    instance.add_run_tags(run_id, {"dagster/will_retry": "true"})


@pytest.mark.parametrize(
    ("how", "at_once", "much_later"),
    [
        (lambda instance, run_id: None, None, "failed"),  # created, and never queued: the daemon died in between
        (lambda instance, run_id: instance.add_run_tags(run_id, {"ingest/dry_run": "true"}), "no run", "no run"),
        (_start, None, None),
        (_reported("report_run_failed"), "failed", "failed"),  # dropped from the queue, or its process died
        (_die_and_be_retried, None, "failed"),
        (_succeed, "succeeded", "succeeded"),  # and the ledger was restored from a backup
        (_reported("report_run_canceling"), None, None),
        (_reported("report_run_canceled"), "terminated", "terminated"),
    ],
)
def test_how_a_run_ended_is_read_from_dagster(
    instance: DagsterInstance, how: Ending, at_once: str | None, much_later: str | None
) -> None:
    run = instance.create_run_for_job(_points, tags={"dagster/partition": "key", "ingest/import": "points"})
    how(instance, run.run_id)
    for later, end in ((timedelta(0), at_once), (max(UNSENT_FOR, RETRIED_WITHIN) + MINUTE, much_later)):
        found = runs_of_items([("points", KEY), ("tills", KEY)], ALONE, instance, datetime.now(UTC) + later)
        assert {item: runs.end for item, runs in found.items()} == ({} if end == "no run" else {("points", KEY): end})


@pytest.mark.parametrize("status", list(BulkActionStatus))
def test_a_run_that_dagster_cancelled_with_its_backfill_is_none_that_a_person_ended(
    instance: DagsterInstance, status: BulkActionStatus
) -> None:
    backfill = PartitionBackfill("b", status, from_failure=False, tags={}, backfill_timestamp=0.0)
    instance.add_backfill(backfill)
    tags = {"dagster/partition": "key", "ingest/import": "points", "dagster/backfill": "b"}
    run = instance.create_run_for_job(_points, tags=tags)
    instance.report_run_canceled(run)
    [runs] = runs_of_items([("points", KEY)], ALONE, instance, datetime.now(UTC)).values()
    by_dagster = status in {BulkActionStatus.FAILED, BulkActionStatus.FAILING}
    assert runs.end == ("failed" if by_dagster else "terminated")


def test_a_file_whose_run_was_dropped_is_requested_again_by_its_sensor_after_a_pause(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.now = datetime.now(UTC)
    shop.deliver("Points_1.csv", GOOD)
    [first] = _tick(shop, instance).run_requests or ()
    pauses = []
    for _ in range(3):
        run = instance.create_run_for_job(_points, tags={**first.tags, "dagster/partition": str(first.partition_key)})
        assert "already has a run" in why_nothing(_tick(shop, instance))
        instance.report_run_failed(run)
        shop.now = datetime.now(UTC)
        assert "requested again at" in why_nothing(_tick(shop, instance))
        pauses.append(next(n for n in range(60) if _tick(shop, instance, later=n * MINUTE + MINUTE / 2).run_requests))
        assert not _keep_house(shop, instance).run_requests
    assert pauses == [1, 2, 4]
    [again] = _tick(shop, instance, later=5 * MINUTE).run_requests or ()
    assert again.partition_key == first.partition_key
    assert again.run_key != first.run_key
    run = instance.create_run_for_job(_points, tags={**first.tags, "dagster/partition": str(first.partition_key)})
    instance.report_run_canceled(run)
    ticks = [_tick(shop, instance, later=timedelta(days=1)), _keep_house(shop, instance, later=timedelta(days=1))]
    assert not any(tick.run_requests for tick in ticks)
    assert f"ingest run points --item {first.partition_key}" in why_nothing(ticks[0])


def test_a_window_whose_run_ended_before_the_ledger_had_it_is_requested_again_by_housekeeping(
    shop: Shop, instance: DagsterInstance
) -> None:
    """A backfill's windows are no tick's: only their runs know of them."""
    shop.now = datetime.now(UTC)
    write_windows(shop)
    day = f"{shop.now - timedelta(days=3):%Y-%m-%d}"
    for key in (day, "no-window"):
        run = instance.create_run_for_job(_points, tags={"dagster/partition": key, "ingest/import": "points"})
        instance.report_run_failed(run)
    assert not _keep_house(shop, instance).run_requests
    [request] = _keep_house(shop, instance, later=2 * MINUTE).run_requests or ()
    assert request.partition_key == day


def test_an_item_that_failed_for_a_reason_that_may_go_away_is_requested_again(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item, site = shop.arrive(instance), shop.site()
    bound, run = site.project.require("points"), Run("run", by="sensor")
    record_failure(SourceUnavailable("uploads: no answer"), item, item, bound, site.target, run, shop.now)
    [request] = _tick(shop, instance).run_requests or ()
    assert request.partition_key == item.key
    later = 10 * MINUTE
    [request] = _keep_house(shop, instance, later=later).run_requests or ()
    assert request.partition_key == item.key


def _tick(shop: Shop, instance: DagsterInstance, later: timedelta = timedelta(0)) -> SensorResult:
    site = shop.site()
    return _evaluate(file_sensor(_at(shop, later), site.project.require("points"), Listings()), instance)


def _keep_house(shop: Shop, instance: DagsterInstance, later: timedelta = timedelta(0)) -> SensorResult:
    site = shop.site()
    return _evaluate(housekeeping_sensor(_at(shop, later), [site.project.require("points")], Listings()), instance)


def _at(shop: Shop, later: timedelta) -> Site:
    now = shop.now + later
    return replace(shop.site(), clock=lambda: now)


def _evaluate(sensor: SensorDefinition, instance: DagsterInstance) -> SensorResult:
    result = sensor_tick(sensor, instance)
    assert isinstance(result, SensorResult)
    return result


def test_a_run_of_a_broken_import_fails_with_the_yamls_mistake_and_the_ledger_has_no_word_of_it(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    path = shop.home / "imports" / "points.yaml"
    whole = path.read_text()
    for mistake in ("modus: add_only\n", "columns: [\n"):
        path.write_text(whole + mistake)
        result = shop.run(instance, item)
        assert not result.success
        [failure] = [event for event in result.all_events if event.is_step_failure]
        said = str(failure.step_failure_data.user_failure_data)
        assert "imports/points.yaml:" in said
        assert "ingest check points" in said
    path.write_text(whole)
    assert shop.rows("SELECT status, (SELECT count(*) FROM ingest.loads) FROM ingest.items") == [("new", 0)]
    shop.now = datetime.now(UTC) + 3 * MINUTE
    [request] = _tick(shop, instance).run_requests or ()
    assert request.partition_key == item.key


def test_a_run_of_two_imports_says_what_to_launch(shop: Shop, instance: DagsterInstance) -> None:
    shop.now = datetime.now(UTC)
    write_windows(shop)
    (shop.home / "imports" / "tills.yaml").write_bytes((shop.home / "imports" / "points.yaml").read_bytes())
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[AssetKey(["customers", name]) for name in ("points", "tills")],
        partition_key=f"{shop.now - timedelta(days=3):%Y-%m-%d}",
        instance=instance,
        raise_on_error=False,
    )
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failures
    words = "this run has 2 imports: points, tills"
    assert all(words in str(failure.user_failure_data) for failure in failures if failure.user_failure_data)


@pytest.mark.parametrize("tagged", [True, False], ids=["by our queue", "on a stock instance"])
def test_a_run_of_two_imports_is_listed_for_both_with_its_own_reason(
    shop: Shop, instance: DagsterInstance, tagged: bool
) -> None:
    shop.now = datetime.now(UTC)
    for name in ("points", "tills"):
        write_windows(shop, name)
    key = f"{shop.now - timedelta(days=3):%Y-%m-%d}"
    site = shop.site()
    with site.target.session() as connection:
        for name in ("points", "tills"):
            uri = open_query(site.project.require(name).connection).uri()
            ledger.register_items(connection, [window_item(site.project.require(name), key, uri, shop.now)], shop.now)
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        asset_selection=[AssetKey(["customers", name]) for name in ("points", "tills")],
        partition_key=key, instance=instance, raise_on_error=False,
        tags=run_tags(site.project.require("points")) if tagged else {},
    )  # fmt: skip
    listed = {item.import_name: item for item in open_items(site, instance, shop.now) if item.item == key}
    assert set(listed) == {"points", "tills"}
    for item in listed.values():
        assert item.state == "failed"
        assert "this run has 2 imports: points, tills; a run loads one item of one import" in item.reason
        assert "launch a run for each of them" in item.reason


def test_a_force_terminated_run_whose_process_lives_on_commits_nothing(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)

    def force_terminate(at: str, stage: str) -> None:
        if stage == at:
            [run] = instance.get_runs()
            instance.report_run_canceled(run)

    for stage in ("land", "validate", "merge"):
        shop.run(instance, item, defs=build_definitions(shop.site(watch=partial(force_terminate, stage))))
        assert shop.rows("SELECT status, (SELECT count(*) FROM ingest.loads) FROM ingest.items") == [("new", 0)]
        instance.delete_run(instance.get_runs()[0].run_id)
