"""A run as a pod executes it: nothing but its environment, an image that it cannot write, another working folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance, Definitions, EnvVar
from dagster._core.code_pointer import FileCodePointer
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteRunArgs

from ingest_pipelines import ingest_definitions
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.dagster_internals.in_process_run import new_run_id
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop

LOCATION = """
from pathlib import Path
from dagster import Definitions, EnvVar
from ingest_pipelines import ingest_definitions

defs = Definitions.merge(
    ingest_definitions(
        Path(__file__).parent / "project", key_prefix="crm", target_url=EnvVar("WAREHOUSE_URL"), {state}
        executor="in_process",
    ),
    Definitions(),
)
"""

POWERLESS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Before a command: root may write only what its owner may, as any other account."""


RUN = new_run_id()


@pytest.fixture
def image(shop: Shop) -> Iterator[Path]:
    """The folder of the code location, with the project in it; nobody can write to it."""
    folders = [shop.home.parent, shop.home, shop.home / "imports"]
    shop.deliver("Points_1.csv", GOOD)
    yield shop.home.parent
    for folder in folders:
        folder.chmod(0o755)


def _run_in_pod(shop: Shop, image: Path, instance: DagsterInstance, *, state: str) -> subprocess.CompletedProcess[str]:
    """The pod's process, with the arguments that a launcher gives it, and the run that it has executed."""
    location = image / "location.py"
    location.write_text(LOCATION.format(state=f"state={state!r}," if state else ""))
    for folder in (shop.home / "imports", shop.home, image):
        folder.chmod(0o555)
    defs: Definitions = ingest_definitions(shop.home, key_prefix="crm", target_url=EnvVar("WAREHOUSE_URL"))
    item = shop.arrive(instance)
    instance.add_dynamic_partitions(f"crm/{partitions_name(shop.bound())}", [str(item.key)])
    pointer = FileCodePointer(str(location), "defs", "/")
    key = AssetKey(["crm", "customers", "points"])
    origin = JobPythonOrigin(
        "__ASSET_JOB",
        RepositoryPythonOrigin(sys.executable, pointer, entry_point=DEFAULT_DAGSTER_ENTRY_POINT),
    )
    run = instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key}),
        run_id=RUN,
        tags={"dagster/partition": str(item.key)},
        asset_selection=frozenset({key}),
        job_code_origin=origin,
    )
    arguments = ExecuteRunArgs(origin, run.run_id, instance.get_ref()).get_command_args()
    environment = {"PATH": os.environ["PATH"], "WAREHOUSE_URL": shop.database_url}
    return subprocess.run(
        [*POWERLESS, sys.executable, "-m", *arguments],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_run_needs_its_environment_and_a_state_folder_and_nothing_else(
    shop: Shop, image: Path, kept_instance: DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("emptyDir")
    ran = _run_in_pod(shop, image, kept_instance, state=str(state))
    run = kept_instance.get_run_by_id(RUN)
    assert run is not None
    assert run.is_success, ran.stdout + ran.stderr
    assert shop.rows("SELECT status, inserted FROM ingest.loads") == [("committed", 2)]
    assert shop.database_url not in ran.stdout + ran.stderr


def test_a_run_without_a_folder_that_it_may_write_says_which_one_and_how_to_name_another(
    shop: Shop, image: Path, kept_instance: DagsterInstance
) -> None:
    ran = _run_in_pod(shop, image, kept_instance, state="")
    assert not (shop.home / ".ingest").exists()
    run = kept_instance.get_run_by_id(RUN)
    assert run is not None
    assert run.is_failure
    [failure] = [
        entry.dagster_event.step_failure_data
        for entry in kept_instance.all_logs(RUN, of_type=DagsterEventType.STEP_FAILURE)
        if entry.dagster_event is not None
    ]
    assert failure.error is not None
    assert f"{shop.home}/.ingest: this account has no permission" in failure.error.message
    assert "ingest_definitions(state=DIR)" in failure.error.message
    assert failure.error.stack == []
    assert shop.rows("SELECT status FROM ingest.loads") == [("failed",)]
    assert "Traceback" not in ran.stderr
