"""Whatever is done to a project's YAML, reading it reports mistakes with lines and never raises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_pipelines.config import demo_home, read_project
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines_tests.config.projects import RIGHT, write_project

LINE = re.compile(r"(connections\.yaml|databases\.yaml|imports/\w+\.yaml):[1-9][0-9]*: \S")
FILES = [*RIGHT, *(f"imports/{path.name}" for path in (demo_home() / "imports").glob("*.yaml"))]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8),
    st.sampled_from(["on", "no", "007", "12:30", "1e5", "{env: X}", "*a", "customer_id", "decimal(5,2)"]),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in below for path in ((*here, key), *_paths(inner, (*here, key)))]


def _parent(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


@st.composite
def damaged_projects(draw: st.DrawFn) -> dict[str, str]:
    """A right project with keys deleted, renamed and given any value."""
    contents: dict[str, Any] = {name: yaml.safe_load(text) for name, text in RIGHT.items()}
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(contents)))
        paths = _paths(contents[name])
        if not paths:
            continue
        path = draw(st.sampled_from(paths))
        parent = _parent(contents[name], path)
        deed = draw(st.sampled_from(["delete", "rename", "replace"]))
        if deed == "delete":
            del parent[path[-1]]
        elif deed == "replace" or isinstance(parent, list):
            parent[path[-1]] = draw(anything)
        else:
            new = draw(st.text(min_size=1, max_size=8) | st.just(f"{path[-1]}s"))
            parent[new] = parent.pop(path[-1])
    return {name: yaml.safe_dump(content, allow_unicode=True) for name, content in contents.items()}


@given(damaged_projects())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_project_reports_lines_and_never_raises(tmp_path: Path, files: dict[str, str]) -> None:
    project = read_project(write_project(tmp_path, files))
    for mistake in project.mistakes:
        assert LINE.match(mistake), mistake
    assert {"loyalty"} == {*project.imports, *project.broken}
    assert not (set(project.imports) & set(project.broken))
    for error in project.broken.values():  # its own, or one of another file
        assert all(any(each.endswith(mistake) for mistake in project.mistakes) for each in error.mistakes)


@given(st.text(max_size=200) | st.binary(max_size=200))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_file_are_a_mistake_and_never_raise(tmp_path: Path, content: str | bytes) -> None:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    project = read_project(write_project(tmp_path, {**RIGHT, "imports/loyalty.yaml": raw}))
    assert any(line.startswith("imports/loyalty.yaml:") for line in project.mistakes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: a", {"on": "a"}),
        ("a: no", {"a": "no"}),
        ("a: [yes, off, y]", {"a": ["yes", "off", "y"]}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: 1:30:00", {"a": "1:30:00"}),
        ("a: 007", {"a": "007"}),
        ("a: 0x1F", {"a": "0x1F"}),
        ("a: 0o17", {"a": "0o17"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 2026-11-22", {"a": "2026-11-22"}),
        ("a: 2026-11-22T06:00:00Z", {"a": "2026-11-22T06:00:00Z"}),
        ("a: =", {"a": "="}),
        ("a: .inf", {"a": ".inf"}),
        ("a: true", {"a": True}),
        ("a: ~", {"a": None}),
        ("a: -5", {"a": -5}),
        ("a: 1e3", {"a": 1000.0}),
        ("2024: a", {"2024": "a"}),
        ("true: a", {"true": "a"}),
        ("~: a", {"~": "a"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_yaml_is_read_as_version_1_2_reads_it(text: str, value: dict[str, Any]) -> None:
    document = read_yaml(text)
    assert document.mistakes == ()
    assert document.value == value
