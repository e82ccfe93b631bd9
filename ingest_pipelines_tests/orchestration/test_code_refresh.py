"""The daemon's code server is replaced when the project changed, and otherwise left alone for a long while."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.controller import (
    RELOAD_WORKSPACE_INTERVAL,
    DagsterDaemonController,
    create_daemon_grpc_server_registry,
)

from ingest_pipelines.config.current_project import stamp_of
from ingest_pipelines.orchestration.dagster_internals.code_refresh import LONGEST_SECONDS, replace_when_changed
from ingest_pipelines_tests.orchestration.conftest import Shop

OURS, MINUTE = "ingest_pipelines.definitions", float(RELOAD_WORKSPACE_INTERVAL)


@dataclass
class Daemon:
    """What the daemon's loop knows when it looks whether its code servers are to be replaced."""

    _workspace_process_context: WorkspaceProcessContext
    _grpc_server_registry: Any
    _logger: logging.Logger

    def look(self, seconds_ago: float) -> bool:
        """Whether the code servers were replaced, where that was done last so many seconds ago."""
        last = time.time() - seconds_ago
        check: Any = DagsterDaemonController.check_workspace_freshness
        return bool(check(self, last) > last)

    def has(self, name: str) -> bool:
        key = AssetKey(["customers", name])
        return self._workspace_process_context.get_current_workspace().asset_graph.has(key)


@pytest.fixture
def project(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("INGEST_HOME", str(shop.home))
    monkeypatch.setenv("INGEST_STATE", str(shop.state))
    method = DagsterDaemonController.check_workspace_freshness
    monkeypatch.setattr(DagsterDaemonController, "check_workspace_freshness", method)  # given back after the test
    replace_when_changed(lambda: stamp_of(shop.home))
    return shop


def test_the_daemon_loads_a_changed_project_within_two_looks_and_nothing_while_it_stands_still(
    project: Shop, kept_instance: DagsterInstance
) -> None:
    target = ModuleTarget(OURS, attribute=None, working_directory=None, location_name="ingest_pipelines")
    with (
        create_daemon_grpc_server_registry(kept_instance) as registry,
        WorkspaceProcessContext(kept_instance, target, grpc_server_registry=registry) as workspace,
    ):
        looking = Daemon(workspace, registry, logging.getLogger(__name__))
        assert not looking.look(LONGEST_SECONDS / 2), "long after the minute in which Dagster replaces it"
        project.write_import("loyalty")
        assert not looking.look(5), "the files may still be being written"
        assert looking.look(5)
        assert looking.has("loyalty")
        assert not looking.look(LONGEST_SECONDS / 2), "it is loaded"
        project.home.rename(project.home.with_name("away"))
        assert not looking.look(5)
        assert not looking.look(LONGEST_SECONDS / 2), "what it has loaded stays, where the project cannot be read"


@pytest.mark.parametrize(
    ("module", "broken", "seconds"),
    [(OURS, False, LONGEST_SECONDS), ("team.definitions", False, MINUTE), (OURS, True, MINUTE)],
    ids=["ours: for the memory of its ticks", "others' files are not known", "what did not load is tried again"],
)
def test_a_code_server_is_replaced_after_a_while_whatever_changed(
    project: Shop, module: str, broken: bool, seconds: float
) -> None:
    origin = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=module), "location")
    entries = {"location": SimpleNamespace(origin=origin, load_error="it has mistakes" if broken else None)}
    replaced: list[str] = []
    workspace: Any = SimpleNamespace(
        get_current_workspace=lambda: SimpleNamespace(code_location_entries=entries),
        refresh_workspace=lambda: replaced.append("all"),
    )
    looking = Daemon(workspace, None, logging.getLogger(__name__))
    assert not looking.look(seconds - 10)
    assert replaced == []
    assert looking.look(seconds + 1)
    assert replaced == ["all"]
