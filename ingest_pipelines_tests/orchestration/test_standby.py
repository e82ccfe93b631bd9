"""A code server that waits: it loads the project as it is when it is needed, with the code as it is then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._grpc import server

from ingest_pipelines.orchestration.dagster_internals import standby as module
from ingest_pipelines.orchestration.dagster_internals.standby import NAME, STANDBY_NAME, Standby, keep_one_ready
from ingest_pipelines_tests.orchestration.conftest import Shop
from ingest_pipelines_tests.orchestration.served import wait_for

OURS = "ingest_pipelines.definitions"
ASKED = [sys.executable, "-m", "dagster", "api", "grpc", "--help", OURS]
"""A code server that prints its help and ends."""


@pytest.fixture
def standby(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standby]:
    """The code servers of this process wait before they are used; none is started by itself."""
    monkeypatch.setenv("INGEST_HOME", str(shop.home))
    monkeypatch.setenv("INGEST_STATE", str(shop.state))
    starts: Any = server
    monkeypatch.setattr(server, "open_ipc_subprocess", starts.open_ipc_subprocess)  # given back after the test
    monkeypatch.setattr(Standby, "start_later", lambda _: None)
    standby = keep_one_ready(OURS)
    yield standby
    standby.close()


def _has_waited(process: psutil.Process) -> bool:
    return bool(process.name() == NAME)


def test_a_changed_project_is_loaded_by_the_code_server_that_waited(
    standby: Standby, shop: Shop, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_pipelines.orchestration.dagster_internals.standby.ANSWER_SECONDS", 120.0)
    target = ModuleTarget(OURS, attribute=None, working_directory=None, location_name="ingest_pipelines")
    with WorkspaceProcessContext(kept_instance, target) as workspace:
        assert not _has_waited(_code_server(workspace))
        standby.start()
        shop.write_import("loyalty")  # after the process began to wait
        workspace.reload_code_location("ingest_pipelines")
        used = _code_server(workspace)
        assert _has_waited(used)
        assert workspace.create_request_context().asset_graph.has(AssetKey(["customers", "loyalty"]))
        derived = _id_of_asset_job(workspace)
        workspace.reload_code_location("ingest_pipelines")
        assert _id_of_asset_job(workspace) != derived, "it follows from the files, Dagster's own is a hash of the job"
        assert not _has_waited(_code_server(workspace)), "it is used once"
    wait_for(lambda: not used.is_running() or used.status() == psutil.STATUS_ZOMBIE, "its end")


def _id_of_asset_job(workspace: WorkspaceProcessContext) -> str:
    location = workspace.create_request_context().get_code_location("ingest_pipelines")
    return location.get_repository("__repository__").get_full_job("__ASSET_JOB").identifying_job_snapshot_id


def _code_server(workspace: WorkspaceProcessContext) -> psutil.Process:
    [location] = workspace.get_current_workspace().code_location_entries.values()
    assert location.load_error is None, location.load_error
    registry: Any = workspace._grpc_server_registry
    return psutil.Process(registry.get_grpc_server_entry(location.origin).process.pid)


def test_one_whose_code_has_changed_is_not_used(
    standby: Standby, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "sitecustomize.py"  # a module that every process imports
    code.write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with _started(standby) as process:
        os.utime(code, (1, 1))
        assert standby.take(ASKED, None, dict(os.environ)) is None
        process.wait(60)


def test_one_with_another_environment_or_of_another_module_is_not_used(standby: Standby) -> None:
    with _started(standby) as process:
        assert standby.take([*ASKED[:-1], "team.definitions"], None, dict(os.environ)) is None
        assert process.is_running()
        assert standby.take(ASKED, None, {**os.environ, "INGEST_AUTOMATION": "off"}) is None
        process.wait(60)


def test_one_that_was_killed_is_replaced_by_dagsters_own(standby: Standby) -> None:
    with _started(standby) as process:
        process.kill()
        assert standby.take(ASKED, None, dict(os.environ)) is None


def test_one_ends_with_the_process_that_started_it() -> None:
    words = (
        "from ingest_pipelines.orchestration.dagster_internals.standby import Standby; "
        "standby = Standby('a module'); standby.start(); print(standby.waiting, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        waiting = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    waiting.wait(60)


def test_the_next_one_waits_until_the_one_before_it_has_loaded_its_project(
    standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(module, "BUSY_SHARE", 0.0)  # a busy machine gives it little, and none is too little
    monkeypatch.setattr(module, "MOST_LOOKS", 1_000)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loading:
        starter = Thread(target=standby._start_once_loaded, args=[loading.pid])
        starter.start()
        wait_for(lambda: psutil.Process(loading.pid).cpu_times().user > 0.3, "its work")
        assert standby.waiting is None
        loading.kill()
    starter.join(60)
    assert standby.waiting is not None


@contextmanager
def _started(standby: Standby) -> Iterator[psutil.Process]:
    """One that waits with everything imported."""
    standby.start()
    assert standby.waiting is not None
    process = psutil.Process(standby.waiting)
    wait_for(lambda: process.name() == STANDBY_NAME, "all imports")
    yield process
