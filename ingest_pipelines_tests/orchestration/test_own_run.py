"""A run of a project of many imports defines its own import only, and loads as ever."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.queues import Queue

import pytest
from dagster import AssetSelection, AutomationConditionSensorDefinition, DagsterInstance, DagsterRun, Definitions
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._grpc.types import ExecuteExternalJobArgs, ExecuteRunArgs
from dagster._serdes import serialize_value

from ingest_pipelines import ingest_definitions
from ingest_pipelines.orchestration import definitions
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.dagster_internals.in_process_run import create_run, execute_run, new_run_id
from ingest_pipelines.orchestration.dagster_internals.own_run import assets_of_own_run
from ingest_pipelines.orchestration.definitions import MANY
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop

JOB = "__ASSET_JOB"
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ingest_pipelines"), "__repository__"), JOB
)
HERE = JobPythonOrigin(
    JOB, RepositoryPythonOrigin(sys.executable, ModuleCodePointer("ingest_pipelines.definitions", "defs", None))
)


@pytest.fixture
def many(shop: Shop, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> DagsterRun:
    """A run of one of many imports, not started yet, and the environment of its process."""
    for number in range(MANY):
        shop.write_import(f"import_{number}")
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(kept_instance)
    monkeypatch.setenv("INGEST_HOME", str(shop.home))
    monkeypatch.setenv("INGEST_STATE", str(shop.state))
    monkeypatch.setenv("INGEST_DATABASE_URL", shop.database_url)
    job = shop.definitions().resolve_implicit_global_asset_job_def()
    tags = {"dagster/partition": str(item.key)}
    return create_run(kept_instance, job, asset_key(shop.bound()), new_run_id(), tags, "ingest_pipelines")


def test_a_runs_process_defines_the_runs_import_and_loads_it(
    shop: Shop, kept_instance: DagsterInstance, many: DagsterRun
) -> None:
    assert _in_process_of(kept_instance, many.run_id) == [["customers", "points"]]
    run = kept_instance.get_run_by_id(many.run_id)
    assert run is not None
    assert run.is_success
    assert shop.rows("SELECT status, inserted FROM ingest.loads") == [("committed", 2)]


def test_every_other_process_defines_all(kept_instance: DagsterInstance, many: DagsterRun) -> None:
    assert len(_in_process_of(kept_instance, "no run")) == MANY + 1


def test_a_run_beside_a_teams_definitions_defines_all_imports_since_the_team_may_select_any(
    shop: Shop, many: DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "assets_of_own_run", lambda: many.asset_selection)
    other = AssetSelection.assets(["customers", "import_7"]).downstream()
    sensor = AutomationConditionSensorDefinition("eager_marts", target=other)
    team = Definitions.merge(ingest_definitions(shop.home), Definitions(sensors=[sensor]))
    graph = team.get_repository_def().asset_graph
    assert len(graph.materializable_asset_keys) == MANY + 1
    assert len(ingest_definitions(shop.home, alone=True).resolve_asset_graph().materializable_asset_keys) == 1


def test_a_run_is_known_however_its_launcher_names_it(
    kept_instance: DagsterInstance, many: DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = serialize_value(ExecuteRunArgs(HERE, many.run_id, kept_instance.get_ref()))
    assert assets_of_own_run() is None
    with monkeypatch.context() as environment:
        environment.setattr(sys, "argv", ["dagster", "api", "execute_run", packed])
        assert assets_of_own_run() == many.asset_selection
    monkeypatch.setattr(sys, "argv", ["dagster", "api", "execute_run", "of another version"])
    assert assets_of_own_run() is None


def _in_process_of(instance: DagsterInstance, run_id: str) -> list[list[str]]:
    """The assets that can be materialized in a process as a code server starts one for a run."""
    arguments = serialize_value(
        ExecuteExternalJobArgs(job_origin=ORIGIN, run_id=run_id, instance_ref=instance.get_ref())
    )
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    process = spawn.Process(target=_run, args=[arguments, told, instance.get_ref(), run_id])
    process.start()
    found: list[list[str]] = told.get(timeout=120)
    process.join(60)
    return found


def _run(_arguments: str, told: Queue[list[list[str]]], reference: InstanceRef, run_id: str) -> None:
    from ingest_pipelines.definitions import defs

    keys = defs.resolve_asset_graph().materializable_asset_keys
    with DagsterInstance.from_ref(reference) as instance:
        if run := instance.get_run_by_id(run_id):
            job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=run.asset_selection)
            execute_run(instance, job, run)
    told.put(sorted(list(key.path) for key in keys))
