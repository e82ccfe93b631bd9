"""`examples/team_location`: imports in a team's own code location, on a stock instance of Dagster."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from dagster import AssetKey, DagsterInstance, Definitions, multiprocess_executor
from dagster._core.workspace.autodiscovery import loadable_targets_from_loaded_module
from playwright.sync_api import Page, expect

from ingest_pipelines.config import read_settings
from ingest_pipelines.config.project import read_project
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines_tests.servers.fleet import Fleet
from ingest_pipelines_tests.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "team_location"
TABLE = AssetKey(["crm", "table", "crm", "customers"])


@pytest.fixture
def location(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("WAREHOUSE_URL", database_url)
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    spec = importlib.util.spec_from_file_location("team_location", EXAMPLE / "definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_import_and_the_teams_own_asset_run_as_they_stand(
    location: ModuleType, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import by the command of the example's README, the team's asset by the job of its location."""
    for name, value in {
        "INGEST_HOME": str(EXAMPLE / "crm_imports"), "INGEST_KEY_PREFIX": "crm", "INGEST_DATABASE_URL": database_url,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert [target.attribute for target in loadable_targets_from_loaded_module(location)] == ["defs"]
    defs = location.defs()
    Definitions.validate_loadable(defs)
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    assert graph.get(AssetKey("customers_by_tier")).parent_keys == {TABLE}
    assert graph.get(TABLE).parent_keys == {AssetKey(["crm", "customers", "customers"])}
    marts = repository.get_job("marts")
    assert marts.executor_def is multiprocess_executor
    settings = read_settings()
    with DagsterInstance.ephemeral() as instance:
        outcome = run_import(Site(settings, read_project(settings.home)), instance, "customers", by="a person")
        assert outcome.error is None
        assert instance.get_latest_materialization_event(TABLE) is not None, "the key that the team's asset hangs on"
        assert marts.execute_in_process(instance=instance).success
    with psycopg.connect(database_url) as connection:
        tiers = connection.execute("SELECT tier, customers FROM crm.customers_by_tier ORDER BY 1").fetchall()
    assert tiers == [("Gold", 2), ("Silver", 1)]


@pytest.mark.slow
def test_the_location_is_served_by_a_stock_dagster_and_its_mart_follows_the_import(
    tmp_path: Path, database_url: str, page: Page, fleet: Fleet
) -> None:
    """`dagster dev` as the README has it, the import by `ingest run`, the mart by itself, both in the UI."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    shutil.copy(EXAMPLE / "dagster.yaml", home)
    environment = {
        **os.environ, "DAGSTER_HOME": str(home), "WAREHOUSE_URL": database_url, "INGEST_STATE": str(tmp_path / "state"),
        "INGEST_HOME": str(EXAMPLE / "crm_imports"), "INGEST_KEY_PREFIX": "crm", "INGEST_DATABASE_URL": database_url,
    }  # fmt: skip
    with _dagster_dev(environment, tmp_path / "log", fleet.free_port()) as port:
        until(lambda: _location(port) == "RepositoryLocation", 180)
        command = [sys.executable, "-c", "from ingest_pipelines.cli import main; main()", "run", "customers"]
        subprocess.run(command, env=environment, check=True, cwd=tmp_path)
        count = "SELECT to_regclass('crm.customers_by_tier') IS NOT NULL"
        until(lambda: _one(database_url, count), 240)
        page.goto(f"http://127.0.0.1:{port}/assets/crm/customers/customers?view=overview")
        expect(page.get_by_text("Customer master from head office").first).to_be_visible(timeout=60_000)
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/team_location.png")
        page.goto(f"http://127.0.0.1:{port}/assets/customers_by_tier?view=lineage")
        for words in ("customers_by_tier", "customers"):
            expect(page.get_by_text(words, exact=True).first).to_be_visible(timeout=60_000)
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/team_lineage.png")


@contextmanager
def _dagster_dev(environment: dict[str, str], log: Path, port: int) -> Iterator[int]:
    command = [sys.executable, "-m", "dagster", "dev", "-f", "definitions.py", "-p", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=EXAMPLE, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            finally:
                with suppress(ProcessLookupError):  # it left nothing
                    os.killpg(process.pid, signal.SIGKILL)


def _location(port: int) -> str:
    query = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/graphql", json.dumps({"query": query}), {"Content-Type": "application/json"})
        answer: Any = json.load(connection.getresponse())
        return str(answer["data"]["workspaceOrError"]["locationEntries"][0]["locationOrLoadError"]["__typename"])
    except (OSError, LookupError, TypeError, ValueError):
        return "not yet"
    finally:
        connection.close()


def _one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
