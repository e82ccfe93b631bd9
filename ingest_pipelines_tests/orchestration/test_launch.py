"""A run that a person starts with `ingest run`: they are told, and nothing is done behind their back."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus

from ingest_pipelines.errors import RejectsAboveLimit
from ingest_pipelines.orchestration.instance import HERE
from ingest_pipelines.orchestration.runs.launch import failed_items, run_import
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop


def test_a_failed_run_is_not_tried_again_by_the_daemon(shop: Shop) -> None:
    settings = yaml.safe_load((HERE / "dagster.yaml").read_text())
    file = shop.deliver("Points_1.csv", ONE_BAD)
    with DagsterInstance.local_temp(overrides={"run_retries": settings["run_retries"]}) as instance:
        outcome = run_import(shop.site(), instance, "points", file=file)
        run = instance.get_run_by_id(outcome.run_id)
    assert isinstance(outcome.error, RejectsAboveLimit)
    assert run is not None
    assert run.tags["dagster/will_retry"] == "false"


@pytest.mark.parametrize(
    ("statuses", "failed"),
    [(["FAILURE"], True), (["CANCELED", "FAILURE"], True), (["FAILURE", "STARTED"], False), ([], False)],
)
def test_what_died_without_a_load_is_among_what_failed(
    shop: Shop, instance: DagsterInstance, statuses: list[str], failed: bool
) -> None:
    shop.deliver("Points_1.csv", ONE_BAD, age=timedelta(hours=2))
    refused = shop.arrive(instance)
    shop.run(instance, refused)
    shop.deliver("Points_2.csv", GOOD)
    died = shop.arrive(instance)
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    for status in statuses:
        tags = {"dagster/partition": str(died.key), "ingest/import": "points"}
        instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus(status))
    found = failed_items(shop.site(), instance, "points")
    assert found == ([refused, died] if failed else [refused])


def test_what_failed_is_loaded_again_after_the_files_before_it_that_wait(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(source={"connection": "uploads", "file": "points/Points", "pick": "all", "settle": "1s"})
    shop.deliver("Points_1.csv", GOOD, age=timedelta(hours=4))
    older = shop.arrive(instance)
    shop.deliver("Points_2.csv", ONE_BAD, age=timedelta(hours=3))
    failed = shop.arrive(instance)
    shop.deliver("Points_3.csv", GOOD, age=timedelta(hours=2))
    newer = shop.arrive(instance)
    run_import(shop.site(), instance, "points", item_key=failed.key)
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    for item in (older, newer):
        tags = {"dagster/partition": str(item.key), "ingest/import": "points"}
        instance.create_run_for_job(job, tags=tags)
    assert failed_items(shop.site(), instance, "points") == [older, failed]
    tags = {"dagster/partition": str(older.key), "ingest/import": "points"}
    instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus.STARTED)
    assert failed_items(shop.site(), instance, "points") == [failed], "a run loads it"
