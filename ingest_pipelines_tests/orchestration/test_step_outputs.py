"""A step's output is read by the version that wrote it, or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from dagster import DagsterInstance, Definitions, Executor, ExecutorRequirement, InitExecutorContext, executor
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan

from ingest_pipelines import ingest_definitions
from ingest_pipelines.model import Item, ItemKey, Landing
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.io_managers.step_outputs import read_handle, write_handle
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop

LANDING = Landing(Item("loyalty", ItemKey("a.csv"), "file", uri="file:///a.csv"), Path("a.csv"), "csv", "00", 3)


def test_an_output_comes_back_as_it_was(tmp_path: Path) -> None:
    write_handle(tmp_path, "run-1", "land", LANDING)
    assert read_handle(tmp_path, "run-1", "land") == LANDING


@pytest.mark.parametrize("start", [b"", b"\0" * 8], ids=["before there were versions", "of other fields"])
def test_an_output_of_another_version_is_as_good_as_gone(tmp_path: Path, start: bytes) -> None:
    write_handle(tmp_path, "run-1", "land", LANDING)
    (tmp_path / "run-1" / "land.handle").write_bytes(start + pickle.dumps(LANDING))
    with pytest.raises(FileNotFoundError, match="another version"):
        read_handle(tmp_path, "run-1", "land")


def test_a_step_that_a_teams_executor_ran_elsewhere_says_what_it_needs(
    shop: Shop, kept_instance: DagsterInstance
) -> None:
    """The team's location has an executor with a pod per step, and the project no spill."""
    shop.deliver("Points.csv", GOOD)
    item = shop.arrive(kept_instance)

    @executor(name="k8s", requirements=[ExecutorRequirement.RECONSTRUCTABLE_JOB])
    def pods(context: InitExecutorContext) -> Executor:
        raise AssertionError("the step is executed as a step's pod does it")

    imports = ingest_definitions(shop.home, state=shop.state, target_url=shop.database_url)
    defs = Definitions.merge(imports, Definitions(executor=pods))
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={asset_key(shop.bound())})
    run = kept_instance.create_run_for_job(job, tags={"dagster/partition": str(item.key)})
    plan = create_execution_plan(job, step_keys_to_execute=["customers__points.validate"])
    words = "".join(
        str(event.step_failure_data.error)
        for event in execute_plan(plan, InMemoryJob(job), kept_instance, run)
        if event.is_step_failure
    )
    assert "the executor 'k8s' runs each step in a place of its own" in words
    assert "give the project a `spill`" in words
