"""What is true of one type of connection, or of one type of field, stands in its record: a new one is added there.

Proven twice: no other module names a type, but for the exceptions below; and a copy of the package with one more file
and one more line in the registry has one more type.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ingest_pipelines.config.connections import DIALECTS, TYPES
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines_tests.architecture.source import Module, modules

CONNECTION_NAMES = {*TYPES, *DIALECTS}

NAMED_CONNECTIONS: dict[str, dict[str, set[str]]] = {
    "Dagster has a resource class, or an icon, for it": {
        "orchestration/resources.py": {"s3", "gcs", "snowflake"},
        "orchestration/assets.py": {"postgres", "postgresql"},
        "orchestration/lineage.py": {"postgres"},
    },
    "the format of a landed file, not the connection": {
        "model.py": {"csv"}, "landing/land.py": {"csv"}, "orchestration/replacement.py": {"csv"},
    },
    "the target, its folder or its settings, not a source": {
        module: {"postgres"}
        for module in ("embedded/postgres.py", "config/settings.py", "owner_only.py", "merge/session.py",
                       "cli/target.py", "cli/checking.py")
    },
    "an address of a folder for spilled files": {"config/settings.py": {"s3"}},
    "the type that the wizard proposes": {"cli/wizard.py": {"sftp"}},
    "the protocol's name": {"sources/sftp_protocol.py": {"sftp"}},
}  # fmt: skip

NAMED_FIELD_TYPES: dict[str, dict[str, set[str]]] = {
    "matching by e-mail address and by phone number is about these two": {
        module: {"email", "phone"}
        for module in ("config/imports.py", "config/bound.py", "config/project.py", "rules/cells.py", "merge/")
    },
    "a column that says what a consent is, is text": {"config/bound.py": {"string"}},
    "rules that no other type has: digits, options, whole numbers and days as bounds": {
        "config/databases.py": {"decimal", "enum", "int", "string", "datetime"},
        "cli/checking.py": {"datetime"},
    },
    "a text's cell is its value; a local time has a zone; an enum's 0 is no choice": {
        "rules/compile.py": {"string", "datetime"},
        "rules/field_rules.py": {"enum", "datetime"},
    },
    "only a speed-up: keys that Postgres and Polars write as the same text": {"merge/": {"string", "int"}},
    "types that are worth proposing; all others are proposed as text": {
        "sources/browse.py": {*FIELD_TYPES} - {"string", "float", "enum", "phones"},
    },
    "YAML's own types": {"config/yaml_lines.py": {"bool", "float", "int"}},
}


def _allowed(exceptions: dict[str, dict[str, set[str]]], module: Module) -> set[str]:
    listed = (
        names
        for modules_of in exceptions.values()
        for place, names in modules_of.items()
        if module.name.startswith(place)
    )
    return set().union(*listed)


def _own_modules(name: str) -> set[str]:
    """The registry, and the record and the driver of the connections of that type or dialect."""
    models = [
        model for kind, model in TYPES.items() if name in {kind, getattr(getattr(model, "dialect", None), "name", kind)}
    ]
    drivers = {model.source.partition(":")[0] for model in models}
    return {"ingest_pipelines.config.connections", *drivers, *(model.__module__ for model in models)}


def test_a_type_of_connection_is_named_in_its_record_and_its_driver_only() -> None:
    named = [
        f"{module.name}:{line} {text}"
        for module in modules()
        for line, text in module.strings()
        if text in CONNECTION_NAMES - _allowed(NAMED_CONNECTIONS, module) and module.dotted not in _own_modules(text)
    ]
    assert named == []


def _field_types_in(module: Module) -> Iterator[tuple[int, str]]:
    """Names of types where a field's type is compared, and in tables by type: two of them or more in one display."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr == "type" for side in sides):
                yield from (found for side in sides for found in module.strings(side))
        elif isinstance(node, ast.Dict | ast.Set | ast.Tuple | ast.List):
            members = node.keys if isinstance(node, ast.Dict) else node.elts
            names = [found for member in members if member is not None for found in module.strings(member)]
            if len({name for _, name in names} & set(FIELD_TYPES)) > 1:
                yield from names


def test_a_type_of_field_is_named_in_its_record_and_its_reader_only() -> None:
    named = [
        f"{module.name}:{line} {text}"
        for module in modules()
        if module.name != "config/field_types.py" and not module.name.startswith("rules/types/")
        for line, text in sorted(set(_field_types_in(module)))
        if text in FIELD_TYPES and text not in _allowed(NAMED_FIELD_TYPES, module)
    ]
    assert named == []
