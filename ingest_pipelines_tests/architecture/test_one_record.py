"""What is true of one type of connection, or of one type of field, stands in its record: a new one is added there.

Proven twice: no other module names a type, but for the exceptions below; and a copy of the package with one more file
and one more line in the registry has one more type.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from ingest_pipelines.config.connections import DIALECTS, TYPES
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines_tests.architecture.source import PACKAGE, Module, modules

CONNECTION_NAMES = {*TYPES, *DIALECTS}

NAMED_CONNECTIONS: dict[str, dict[str, set[str]]] = {
    "Dagster has a resource class, or an icon, for it": {
        "orchestration/resources/": {"s3", "gcs", "snowflake"},
        "orchestration/assets/": {"postgres", "postgresql"},
    },
    "the format of a landed file, not the connection": {
        "model.py": {"csv"}, "landing/land.py": {"csv"}, "orchestration/assets/": {"csv"},
        "config/file_format.py": {"csv"}, "landing/advice.py": {"csv"}, "sources/files.py": {"csv"},
        "detection/reading.py": {"csv"}, "studio/uploads.py": {"csv"},
    },
    "the target, its folder or its settings, not a source": {
        module: {"postgres"}
        for module in ("embedded/postgres.py", "config/settings.py", "owner_only.py", "merge/session.py",
                       "actions/target.py", "cli/checking.py")
    },
    "an address of a folder for spilled files": {"config/settings.py": {"s3"}},
    "the type that the wizard proposes": {"cli/wizard.py": {"sftp"}},
    "the protocol's name": {"sources/sftp_protocol.py": {"sftp"}},
}  # fmt: skip

NAMED_FIELD_TYPES: dict[str, dict[str, set[str]]] = {
    "matching by e-mail address and by phone number is about these two": {
        module: {"email", "phone"}
        for module in (
            "actions/form_rules.py",
            "config/imports.py",
            "config/bound.py",
            "config/project.py",
            "config/column_problems.py",
            "config/deletion_problems.py",
            "rules/cells.py",
            "merge/",
        )
    },
    "values of these are the same in YAML and in Postgres": {
        "config/deletion_problems.py": {"bool", "int", "string", "enum", "date"}
    },
    "only a text can be cut or hashed": {"config/column_problems.py": {"string"}},
    "a column that says what a consent is, is text": {"config/bound.py": {"string"}},
    "rules that no other type has: digits, options, whole numbers and days as bounds": {
        "config/databases.py": {"decimal", "enum", "int", "string", "datetime"},
        "actions/checking.py": {"datetime"},
    },
    "a text's cell is its value; a local time has a zone; an enum's 0 is no choice": {
        "rules/compile.py": {"string", "datetime"},
        "rules/field_rules.py": {"enum", "datetime"},
    },
    "only a speed-up: keys that Postgres and Polars write as the same text": {"merge/": {"string", "int"}},
    "types that are worth proposing; all others are proposed as text": {
        "detection/columns.py": {*FIELD_TYPES},
    },
    "what a person is asked besides the type": {"cli/mapping.py": {"enum", "decimal", "datetime"}},
    "words in the names of columns, not types": {"detection/fields.py": {"email", "phone"}},
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


DUCKDB_RECORD = """
from typing import ClassVar, Literal

from ingest_pipelines.config.connections.base import QueryConnection
from ingest_pipelines.config.connections.dialect import Dialect


class DuckdbConnection(QueryConnection):
    source: ClassVar[str] = "ingest_pipelines.sources.duckdb:Duckdb"
    asked: ClassVar[tuple[str, ...]] = ("database",)
    dialect: ClassVar[Dialect] = Dialect("duckdb", first_words=frozenset({"SELECT", "WITH", "FROM"}))

    type: Literal["duckdb"]
    database: str
"""

DUCKDB_DRIVER = """
import pyarrow as pa

from ingest_pipelines.config.connections.duckdb import DuckdbConnection
from ingest_pipelines.sources.error_codes import REFUSED, DriverError
from ingest_pipelines.sources.sql import Session, SqlSource, driver


class Duckdb(SqlSource[DuckdbConnection]):
    def connect(self):
        return _Session(self._connection)

    def judge(self, error, *, connecting):
        known = isinstance(error, driver("duckdb", "duckdb").Error)
        return DriverError(type(error).__name__, REFUSED) if known else None

    def known_options(self):
        return ()

    def address(self):
        return "localhost", 0

    def uri(self):
        return f"duckdb:///{self._connection.database}"


class _Session(Session):
    def __init__(self, settings):
        self._connection = driver("duckdb", "duckdb").connect(settings.database, read_only=True)

    def run(self, query, parameters, batch_rows):
        text = query.with_markers(lambda name: f"${name}")
        bound = {mark.name: parameters[mark.name] for mark in query.marks}
        reader = self._connection.sql(text, params=bound).to_arrow_reader(batch_rows)
        yield from [*reader] or [pa.RecordBatch.from_pylist([], reader.schema)]

    def tables(self):
        names = self._connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables() ORDER BY 1")
        yield from (name for (name,) in names.fetchall())

    def cancel(self):
        self._connection.interrupt()

    def close(self):
        self._connection.close()
"""

DUCKDB_PROJECT = {
    "connections.yaml": "connections:\n  warehouse: {type: duckdb, database: DATABASE}\n",
    "databases.yaml": (
        "databases:\n  crm: {table: crm.customers, key: id, fields: {id: {type: int}, points: {type: int}}}\n"
    ),
    "imports/loyalty.yaml": (
        "database: crm\nsource: {connection: warehouse, table: main.loyalty}\nmode: add_and_update\n"
        "columns: {id: id, points: points}\n"
    ),
}

COLOUR_READER = """
import polars as pl

from ingest_pipelines.rules.types.base import FieldKind

COLOUR = FieldKind(
    code="bad_string",
    dtype=lambda _: pl.String(),
    reason=lambda _: "not a colour such as #00ff7f",
    read=lambda cell, _: pl.when(cell.raw.str.contains("^#[0-9A-Fa-f]{6}$")).then(cell.raw.str.to_lowercase()),
)
"""

COLOUR_READ = """
from ingest_pipelines.config.databases import Field
from ingest_pipelines.merge.column_types import can_hold, column_type
from ingest_pipelines.rules.field_rules import constants
from ingest_pipelines.rules.types import Cell

field = Field.model_validate({"type": "colour"})
values = constants(Cell("c", field), ("#00FF7F", "red"))
print(column_type(field), can_hold("character varying(7)", field), values.to_list())
"""


class Copy:
    """A copy of the package, which a test adds to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, files: dict[str, str], registry: str, line: str, before: str) -> None:
        """New files, and one more line in a registry."""
        for name, text in files.items():
            (self.folder / PACKAGE.name / name).write_text(text)
        file = self.folder / PACKAGE.name / registry
        text = file.read_text()
        assert text.count(before) == 1
        file.write_text(text.replace(before, f"{line}\n{before}"))

    def run(self, program: str, **environment: str) -> str:
        """What the program prints; it ends well."""
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self.folder, check=False, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


def test_a_new_engine_is_its_record_its_driver_and_one_line(tmp_path: Path) -> None:
    """DuckDB, which the product does not know, is checked, browsed and read."""
    copy = Copy(tmp_path)
    copy.add(
        {"config/connections/duckdb.py": DUCKDB_RECORD, "sources/duckdb.py": DUCKDB_DRIVER},
        "config/connections/__init__.py", '    "duckdb": "duckdb:DuckdbConnection",', '    "clickhouse": "clickhouse:',
    )  # fmt: skip
    database = tmp_path / "loyalty.db"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE loyalty AS SELECT i AS id, 10 * i AS points FROM range(1, 4) AS r(i)")
    home = tmp_path / "home"
    for name, text in DUCKDB_PROJECT.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text.replace("DATABASE", str(database)))
    command = "import sys; sys.argv = ['ingest', *{}]; from ingest_pipelines.cli import main; main()"
    copy.run(command.format(["check"]), INGEST_HOME=str(home))
    browse = ["browse", "warehouse", "main.loyalty", "--columns"]
    assert "points" in copy.run(command.format(browse), INGEST_HOME=str(home))


def test_a_new_type_of_field_is_its_record_and_its_reader(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    copy.add(
        {"rules/types/colours.py": COLOUR_READER},
        "config/field_types.py",
        '    "colour": TypeRecord("colours:COLOUR", "text", also_in=_TEXTS, longest=7),', '    "ip": TypeRecord(',
    )  # fmt: skip
    assert copy.run(COLOUR_READ) == "text True ['#00ff7f', None]\n"
