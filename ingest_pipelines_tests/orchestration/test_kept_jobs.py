"""What a code server was asked about an asset's runs is known until the project changes, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from ingest_pipelines.orchestration.dagster_internals import kept_jobs
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.conftest import Shop, new_shop

OURS, LOCATION = "ingest_pipelines.definitions", "ingest_pipelines"


@pytest.fixture(scope="module")
def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests, as its code server takes seconds to start."""
    with fresh_target(postgres_url) as url:
        yield new_shop(tmp_path_factory.mktemp("shop"), url)


@pytest.fixture(scope="module")
def workspace(shop: Shop) -> Iterator[WorkspaceProcessContext]:
    """Of a process that keeps jobs and plans, with the shop's code server."""
    with pytest.MonkeyPatch.context() as patch, DagsterInstance.local_temp() as instance:
        patch.setenv("INGEST_HOME", str(shop.home))
        patch.setenv("INGEST_STATE", str(shop.state))
        for method in (
            "get_job",
            "gen_subset_job",
            "get_execution_plan",
            "gen_execution_plan",
        ):  # given back afterwards
            patch.setattr(GrpcServerCodeLocation, method, getattr(GrpcServerCodeLocation, method))
        kept_jobs.keep_jobs()
        shop.write_import("loyalty")
        target = ModuleTarget(OURS, attribute=None, working_directory=None, location_name=LOCATION)
        with WorkspaceProcessContext(instance, target) as context:
            yield context


def _selector(name: str) -> JobSubsetSelector:
    return JobSubsetSelector(LOCATION, "__repository__", "__ASSET_JOB", None, {AssetKey(["customers", name])})


def _location(workspace: WorkspaceProcessContext) -> Any:
    return workspace.create_request_context().get_code_location(LOCATION)


def test_jobs_and_plans_are_kept_until_the_project_changes(workspace: WorkspaceProcessContext, shop: Shop) -> None:
    location = _location(workspace)
    job = location.get_job(_selector("points"))
    plan = location.get_execution_plan(job, {}, None, None)
    assert location.get_job(_selector("points")) is job
    assert location.get_job(_selector("loyalty")) is not job
    assert location.get_execution_plan(job, {}, None, None) is plan
    assert location.get_execution_plan(job, {"loggers": {}}, None, None) is not plan
    assert location.get_execution_plan(location.get_job(_selector("loyalty")), {}, None, None) is not plan
    shop.write_import("points", labels=["edited"])
    workspace.reload_code_location(LOCATION)
    changed = _location(workspace).get_job(_selector("points"))
    assert changed is not job
    assert _location(workspace).get_execution_plan(changed, {}, None, None) is not plan


def test_a_plan_that_begins_in_the_middle_is_asked_for_each_time(workspace: WorkspaceProcessContext) -> None:
    location = _location(workspace)
    job = location.get_job(_selector("points"))
    [*_, last] = location.get_execution_plan(job, {}, None, None).execution_plan_snapshot.step_keys_to_execute
    state = KnownExecutionState()
    first, second = (location.get_execution_plan(job, {}, [last], state) for _ in range(2))
    assert first is not second
    assert first.execution_plan_snapshot.step_keys_to_execute == [last]


def test_the_webserver_gets_what_the_daemon_gets_without_the_job_of_all_assets(
    workspace: WorkspaceProcessContext,
) -> None:
    context = workspace.create_request_context()
    job = _location(workspace).get_job(_selector("points"))
    assert asyncio.run(context.gen_job(_selector("points"))) is job
    assert job.parent_job_snapshot is None
    plan = _location(workspace).get_execution_plan(job, {}, None, None)
    assert asyncio.run(context.gen_execution_plan(job, {}, None, None)) is plan


def test_no_more_answers_are_kept_than_a_hundred() -> None:
    answers, asked = kept_jobs._Answers(), []

    def ask(number: int) -> int:
        return answers.get(number, lambda: asked.append(number) or number)  # type: ignore[func-returns-value]

    for number in [*range(kept_jobs.MOST), 0, kept_jobs.MOST, 0, 1]:
        assert ask(number) == number
    assert asked == [*range(kept_jobs.MOST), kept_jobs.MOST, 1]
