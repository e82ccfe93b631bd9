"""The JSON Schema agrees with the models: what passes `ingest check` passes the editor, and typos pass neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest_pipelines.actions.checking import SchemaName, json_schemas
from ingest_pipelines.cli.scaffold import STARTER
from ingest_pipelines.config import demo_home
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines_tests.config.projects import RIGHT
from ingest_pipelines_tests.json_schema import jsonschema

SCHEMAS = json_schemas()


def kind_of(path: str) -> SchemaName:
    kinds: dict[str, SchemaName] = {
        "connections.yaml": "connections", "databases.yaml": "databases", "notify.yaml": "notify",
    }  # fmt: skip
    return kinds.get(path, "import")


def yaml_files() -> list[tuple[str, str, str]]:
    found = [("test", name, text) for name, text in RIGHT.items()]
    for home in (demo_home(), STARTER):
        found += [
            (home.name, path.relative_to(home).as_posix(), path.read_text(encoding="utf-8"))
            for path in sorted(home.rglob("*.yaml"))
        ]
    return found


def errors(kind: SchemaName, value: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMAS[kind]).iter_errors(value)]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_a_schema(kind: SchemaName) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])


@pytest.mark.parametrize(("home", "path", "text"), yaml_files())
def test_right_files_pass_their_schema(home: str, path: str, text: str) -> None:
    assert errors(kind_of(path), read_yaml(text).value) == []


@pytest.mark.parametrize(("home", "path", "text"), yaml_files())
def test_an_unknown_key_passes_no_schema(home: str, path: str, text: str) -> None:
    assert errors(kind_of(path), {**read_yaml(text).value, "unknwon": 1}) != []


@pytest.mark.parametrize(
    ("spelling", "right"),
    [("string", True), ("decimal(12,2)", True), ("decimal(12, 2)", True), ("decimal", False), ("integer", False)],
)
def test_the_schema_knows_the_types(spelling: str, right: bool) -> None:
    database = {"table": "t", "key": "k", "fields": {"k": {"type": "string"}, "x": {"type": spelling}}}
    assert (errors("databases", {"databases": {"d": database}}) == []) is right


def test_every_key_of_every_schema_is_explained_or_plain() -> None:
    for schema in SCHEMAS.values():
        for definition in schema["$defs"].values():
            assert definition.get("description") or definition.get("enum"), definition.get("title")


def test_the_packaged_demo_is_a_project_without_mistakes(tmp_path: Path) -> None:
    from ingest_pipelines.config import read_project

    project = read_project(demo_home())
    assert project.mistakes == ()
    assert set(project.imports) == {"customers", "loyalty", "marketing"}
