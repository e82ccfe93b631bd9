"""The job of all assets is fetched when it is used; a code server that waited does not build it to know its id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import AssetKey, AssetsDefinition, DagsterInstance, Definitions, op
from dagster._api import snapshot_repository
from dagster._core.definitions.job_definition import JobDefinition
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.remote_representation.external_data import JobRefSnap
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._grpc.client import DagsterGrpcClient

from ingest_pipelines.orchestration.dagster_internals.asset_job import derive_id_of_asset_job, fetch_jobs_when_used
from ingest_pipelines_tests.orchestration.conftest import Shop

OURS, LOCATION, JOB = "ingest_pipelines.definitions", "ingest_pipelines", "__ASSET_JOB"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that this process has asked code servers for, whole."""
    jobs: list[str] = []
    ask: Any = DagsterGrpcClient.external_job

    def note(self: Any, repository: Any, job_name: str, **options: Any) -> Any:
        jobs.append(job_name)
        return ask(self, repository, job_name, **options)

    monkeypatch.setattr(DagsterGrpcClient, "external_job", note)
    return jobs


@pytest.fixture
def workspace(
    shop: Shop, kept_instance: DagsterInstance, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkspaceProcessContext]:
    monkeypatch.setenv("INGEST_HOME", str(shop.home))
    monkeypatch.setenv("INGEST_STATE", str(shop.state))
    for owner, name in (
        (snapshot_repository, "sync_get_external_repositories_data_grpc"),
        (GrpcServerCodeLocation, "_job_ref_to_snap"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # given back after the test
    fetch_jobs_when_used()
    target = ModuleTarget(OURS, attribute=None, working_directory=None, location_name=LOCATION)
    with WorkspaceProcessContext(kept_instance, target) as context:
        yield context


def test_the_job_of_all_assets_is_fetched_once_and_when_a_page_needs_it(
    workspace: WorkspaceProcessContext, asked: list[str]
) -> None:
    context = workspace.create_request_context()
    repository = context.get_code_location(LOCATION).get_repository("__repository__")
    part = JobSubsetSelector(LOCATION, "__repository__", JOB, None, {AssetKey(["customers", "points"])})
    job = context.get_code_location(LOCATION).get_job(part)
    assert "customers__points" in job.node_names
    assert context.asset_graph.has(AssetKey(["customers", "points"]))
    assert asked == []
    for _ in range(2):
        assert repository.get_full_job(JOB).get_node_def_snap("customers__points").name == "customers__points"
    assert asked == [JOB]


def test_a_job_that_the_code_server_cannot_build_says_why(workspace: WorkspaceProcessContext) -> None:
    location: Any = workspace.create_request_context().get_code_location(LOCATION)
    unknown = JobRefSnap(name="no_such_job", snapshot_id="none", active_presets=[], parent_snapshot_id=None)
    with pytest.raises(DagsterUserCodeProcessError, match="no_such_job"):
        location._job_ref_to_snap("__repository__", unknown)


def test_a_derived_id_is_that_of_the_job_of_all_assets_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobDefinition, "get_job_snapshot_id", JobDefinition.get_job_snapshot_id)  # given back
    whole = Definitions([AssetsDefinition.from_op(_first), AssetsDefinition.from_op(_second)]).get_repository_def()

    def part() -> JobDefinition:
        return whole.get_job(JOB).get_subset(asset_selection={AssetKey("_first")})

    hashed = whole.get_job(JOB).get_job_snapshot_id()
    derive_id_of_asset_job("a project")
    derived = whole.get_job(JOB).get_job_snapshot_id()
    assert derived != hashed
    assert part().get_job_snapshot_id() != derived
    lineage = part().get_job_snapshot().lineage_snapshot
    assert lineage is not None
    assert lineage.parent_snapshot_id == derived, "a run's job names the one that it is a part of"
    derive_id_of_asset_job("another project")
    assert whole.get_job(JOB).get_job_snapshot_id() != derived


@op
def _first() -> None:
    """An asset."""


@op
def _second() -> None:
    """Another one."""
