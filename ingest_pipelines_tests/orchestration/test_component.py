"""`type: ingest_pipelines.IngestProject` in a defs.yaml: scaffolded, loaded, checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, Definitions
from dagster.components.testing import create_defs_folder_sandbox
from dagster.components.testing.utils import DefsFolderSandbox

import ingest_pipelines
from ingest_pipelines import IngestProject
from ingest_pipelines.config import read_project
from ingest_pipelines_tests.orchestration.conftest import GOOD, IMPORT, Shop
from ingest_pipelines_tests.orchestration.test_code_location import load_next_file, team

TYPE = "ingest_pipelines.IngestProject"
PROJECT = """
[project]
name = "warehouse"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "warehouse"
"""
DEFINITIONS = """
from pathlib import Path

from dagster import Definitions, asset, definitions, load_from_defs_folder


@asset
def mart() -> None:
    pass


@definitions
def defs() -> Definitions:
    return Definitions.merge(load_from_defs_folder(path_within_project=Path(__file__).parent), Definitions([mart]))
"""


@pytest.fixture
def sandbox() -> Iterator[DefsFolderSandbox]:
    with create_defs_folder_sandbox() as sandbox:
        yield sandbox


def test_what_is_scaffolded_loads_and_has_no_mistake(sandbox: DefsFolderSandbox) -> None:
    path = sandbox.scaffold_component(IngestProject, "crm")
    assert yaml.safe_load((path / "defs.yaml").read_text())["attributes"] == {"project": ".", "key_prefix": "crm"}
    assert read_project(path).mistakes == ()
    with sandbox.load_component_and_build_defs(path) as (_, defs):
        assert defs.resolve_asset_graph().has(AssetKey(["crm", "customers", "customers"]))
        assert defs.executor is None
    (path / "imports" / "customers.yaml").unlink()
    again = sandbox.scaffold_component(IngestProject, "crm")
    assert not (again / "imports" / "customers.yaml").exists(), "a project that is there stays as it is"


def test_two_that_are_scaffolded_share_a_location(sandbox: DefsFolderSandbox) -> None:
    for name in ("crm", "ERP-2", "2026"):
        sandbox.scaffold_component(IngestProject, name)
    with sandbox.build_all_defs() as defs:
        keys = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert keys == {"crm/customers/customers", "erp_2/customers/customers", "customers/customers"}


def test_a_component_takes_what_the_door_takes_and_merges_with_a_team(
    sandbox: DefsFolderSandbox, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", shop.database_url)
    shop.deliver("Points.csv", GOOD)
    attributes: dict[str, Any] = {
        "project": os.path.relpath(shop.home, sandbox.defs_folder_path / "crm"), "state": str(shop.state),
        "key_prefix": "eu/west", "group": "crm", "target_url_env": "WAREHOUSE_URL",
    }  # fmt: skip
    path = sandbox.scaffold_component(IngestProject, "crm", defs_yaml_contents={"type": TYPE, "attributes": attributes})
    with sandbox.load_component_and_build_defs(path) as (_, imports), DagsterInstance.ephemeral() as instance:
        defs = Definitions.merge(imports, team())
        load_next_file(defs, shop, instance, "eu/west")
        assert {spec.group_name for spec in imports.resolve_all_asset_specs()} == {"crm"}
    assert shop.rows("SELECT count(*) FROM crm.customers") == [(2,)]


def test_dagster_finds_the_component_in_the_package() -> None:
    [entry] = [
        entry for entry in entry_points(group="dagster_dg_cli.registry_modules") if entry.name == "ingest_pipelines"
    ]
    assert entry.load() is ingest_pipelines
    assert "IngestProject" in dir(ingest_pipelines)


@pytest.mark.slow  # each command of dg starts Dagster anew
def test_dg_lists_scaffolds_and_checks_the_component(tmp_path: Path, shop: Shop) -> None:
    package = tmp_path / "warehouse" / "src" / "warehouse"
    (package / "defs").mkdir(parents=True)
    root = tmp_path / "warehouse"
    (root / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    (package / "defs" / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)

    def dg(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(root / "src"), "DAGSTER_HOME": "", "COLUMNS": "200"}
        command = [str(Path(sys.executable).with_name("dg")), *words]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)

    listed = dg("list", "components")
    assert TYPE in listed.stdout, listed.stderr
    scaffolded = dg("scaffold", "defs", TYPE, "crm")
    assert scaffolded.returncode == 0, scaffolded.stderr
    checked = dg("check", "defs", "--use-active-venv")
    assert checked.returncode == 0, checked.stderr
    shown = dg("list", "defs")
    assert {"crm/customers/customers", "mart"} <= set(re.findall(r"[\w/]+", shown.stdout)), shown.stderr
    wrong = package / "defs" / "crm" / "imports" / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**IMPORT, "modus": "add_only"}))
    checked = dg("check", "defs", "--use-active-venv")
    assert checked.returncode == 1
    assert "imports/wrong.yaml" in checked.stdout + checked.stderr
    wrong.unlink()
    (package / "defs" / "crm" / "defs.yaml").write_text(yaml.safe_dump({"type": TYPE, "attributes": {"prefix": "eu"}}))
    checked = dg("check", "yaml")
    assert checked.returncode == 1
    assert "prefix" in checked.stdout + checked.stderr
