"""A run that a person starts with `ingest run`: they are told, and nothing is done behind their back."""

from __future__ import annotations

import yaml
from dagster import DagsterInstance

from ingest_pipelines.errors import RejectsAboveLimit
from ingest_pipelines.orchestration.instance import HERE
from ingest_pipelines.orchestration.launch import run_import
from ingest_pipelines_tests.orchestration.conftest import ONE_BAD, Shop


def test_a_failed_run_is_not_tried_again_by_the_daemon(shop: Shop) -> None:
    settings = yaml.safe_load((HERE / "dagster.yaml").read_text())
    file = shop.deliver("Points_1.csv", ONE_BAD)
    with DagsterInstance.local_temp(overrides={"run_retries": settings["run_retries"]}) as instance:
        outcome = run_import(shop.site(), instance, "points", file=file)
        run = instance.get_run_by_id(outcome.run_id)
    assert isinstance(outcome.error, RejectsAboveLimit)
    assert run is not None
    assert run.tags["dagster/will_retry"] == "false"
