"""What a person writes into the project shows in the UI by itself, and a mistake never takes the UI's pages away."""

from __future__ import annotations

from threading import Event

import pytest
import yaml
from dagster import AssetKey, DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from ingest_pipelines.config.current_project import Stamp, stamp_of
from ingest_pipelines.orchestration.dagster_internals.code_servers import reload_when_changed
from ingest_pipelines.orchestration.webserver import DEFINITIONS
from ingest_pipelines_tests.orchestration.conftest import IMPORT, Shop
from ingest_pipelines_tests.waiting import until


def test_the_webserver_shows_the_project_as_its_files_are(
    shop: Shop, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_HOME", str(shop.home))
    monkeypatch.setenv("INGEST_STATE", str(shop.state))
    target = ModuleTarget(DEFINITIONS, attribute=None, working_directory=None, location_name="ingest_pipelines")
    stop, looks = Event(), list[Stamp]()

    def look() -> Stamp:
        looks.append(stamp_of(shop.home))
        return looks[-1]

    with WorkspaceProcessContext(kept_instance, target) as workspace:
        thread = reload_when_changed(workspace, DEFINITIONS, look, look(), stop)

        def kinds(name: str) -> set[str]:
            graph, key = workspace.get_current_workspace().asset_graph, AssetKey(["customers", name])
            tags = graph.get(key).tags if graph.has(key) else {}
            return {tag.removeprefix("dagster/kind/") for tag in tags if tag.startswith("dagster/kind/")}

        assert kinds("points") == {"csv", "postgres"}
        shop.write_import("loyalty")
        (shop.home / "imports" / "points.yaml").write_text(yaml.safe_dump(IMPORT)[:-40] + "\n  : [")
        until(lambda: kinds("loyalty") == {"csv", "postgres"})
        assert kinds("points") == {"invalid"}, "the mistake, at the import's place"
        entries = workspace.get_current_workspace().code_location_entries
        shop.home.rename(shop.home.with_name("away"))
        assert not stamp_of(shop.home)
        before = len(looks)
        until(lambda: len(looks) > before + 3)
        assert workspace.get_current_workspace().code_location_entries == entries
        stop.set()
        thread.join()
