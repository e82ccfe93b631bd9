"""Dagster's private parts are used behind one door, `orchestration/dagster_internals`.

import-linter cannot say so: it knows external packages as wholes, and no attributes.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_pipelines_tests.architecture.source import Module, modules

DOOR = "orchestration/dagster_internals/"
ROOT = Path(__file__).resolve().parents[2]
PRIVATE = re.compile(r"\bdagster\w*\._\w|\bdagster_shared\b")
"""A private module of Dagster, or of one of its libraries. dagster_shared has no public API."""


def private_uses(module: Module) -> Iterator[tuple[int, str]]:
    """Every use of Dagster's private parts in the module, with its line."""
    for line, name in module.imports():
        if PRIVATE.search(name):
            yield line, f"imports {name}"
    for line, text in module.strings():
        if PRIVATE.search(text):
            yield line, f"names {text}"
    own = {name.id for name in ast.walk(module.tree) if isinstance(name, ast.Name) and name.id in {"self", "cls"}}
    functions = {
        node.name for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"setattr", "delattr"}:
            yield node.lineno, f"calls {node.func.id}"
        elif isinstance(node, ast.Attribute) and _is_private(node.attr) and _owner(node) not in own:
            yield node.lineno, f"uses the private attribute {node.attr}"
        elif isinstance(node, ast.Assign) and _is_function(node.value, functions):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and _owner(target) not in own:
                    yield node.lineno, f"replaces the method {target.attr}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _owner(node: ast.Attribute) -> str:
    return node.value.id if isinstance(node.value, ast.Name) else ""


def _is_function(value: ast.expr, functions: set[str]) -> bool:
    return isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in functions)


def test_only_the_internals_use_dagsters_private_parts() -> None:
    """A new version of Dagster can break one folder, which says of each part what it waits for."""
    uses = [
        f"{module.name}:{line} {use}"
        for module in modules()
        if module.name.startswith("orchestration/") or module.name == "definitions.py"
        if not module.name.startswith(DOOR)
        for line, use in private_uses(module)
    ]
    assert uses == []


def test_no_other_package_names_dagsters_private_modules() -> None:
    uses = [
        f"{module.name}:{line} {name}"
        for module in modules()
        if not module.name.startswith(DOOR)
        for line, name in (*module.imports(), *module.strings())
        if PRIVATE.search(name)
    ]
    assert uses == []


@pytest.mark.parametrize(
    "module", [module for module in modules() if module.name.startswith(DOOR)], ids=lambda m: m.name
)
def test_every_internal_says_what_it_waits_for_and_what_breaks_without_it(module: Module) -> None:
    documentation = ast.get_docstring(module.tree) or ""
    if module.name.endswith("/__init__.py"):
        listed = set(re.findall(r"^    (\w+)", documentation, re.MULTILINE))
        names = {Path(other.name).stem for other in modules() if other.name.startswith(DOOR)} - {"__init__"}
        assert listed == names
    else:
        assert "Waits for: " in documentation
        assert re.search(r"^If .+:", documentation, re.MULTILINE)
        assert list(private_uses(module)) or "dagster_webserver" in module.text, "it needs no door"


@pytest.mark.parametrize(
    "code",
    [
        "from dagster._core.storage.runs import SqlRunStorage",
        "import dagster._utils",
        "def late():\n    from dagster_postgres._storage import X",
        "from dagster_shared.record import replace",
        'command = ["-m", "dagster._daemon"]',
        "setattr(storage, 'get_runs', lambda: [])",
        "storage.get_runs = lambda: []",
        "def ours(): ...\nstorage.get_runs = ours",
        "def patch(storage):\n    def get_runs(): ...\n    storage.get_runs = get_runs",
        "part._engine = engine",
        "engine = instance.run_storage._engine",
    ],
)
def test_each_way_through_the_wall_is_seen(code: str) -> None:
    assert list(private_uses(Module("orchestration/sample.py", code, ast.parse(code))))


@pytest.mark.parametrize(
    "code",
    [
        "from dagster import DagsterInstance",
        "class Ours:\n    def __init__(self):\n        self._engine = 1\n        self._ask = lambda: 2",
        "entry.over = True",
        "resource.__name__ = name",
    ],
)
def test_what_is_public_or_ours_is_not_taken_for_a_way_through(code: str) -> None:
    assert not list(private_uses(Module("orchestration/sample.py", code, ast.parse(code))))


def test_every_module_of_ours_that_a_users_file_names_exists() -> None:
    """dagster.yaml, units, Compose files, manifests and docs name modules, which nothing else would miss."""
    listed = subprocess.run(
        ["git", "ls-files", "deploy", "docs", "dagster.yaml", "workspace.yaml", "README.md", "ingest_pipelines/*.yaml"],
        check=True, capture_output=True, text=True, cwd=ROOT,
    ).stdout.split()  # fmt: skip
    named = {
        (name, file)
        for file in listed
        if not file.endswith((".png", ".svg"))
        for name in re.findall(r"\bingest_pipelines(?:\.[a-z_]+)+", (ROOT / file).read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert [pair for pair in sorted(named) if not _exists(pair[0])] == []


def _exists(name: str) -> bool:
    """Whether it is a module, or an attribute of one."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return hasattr(importlib.import_module(module), attribute)
