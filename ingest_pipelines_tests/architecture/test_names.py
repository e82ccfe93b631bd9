"""A name means one thing."""

from __future__ import annotations

import ast
from collections import defaultdict

from ingest_pipelines_tests.architecture.source import modules


def test_no_two_classes_have_one_name() -> None:
    """A reader who searches for a class finds one. Private classes have their module's name in front of theirs."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
