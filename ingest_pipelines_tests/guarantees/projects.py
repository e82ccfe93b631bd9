"""A project on disk, a database of its own behind it, and `ingest` typed in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from ingest_pipelines_tests.cli.terminal import Answer, Terminal
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage

PEOPLE: Mapping[str, Any] = {
    "table": "crm.people",
    "key": "id",
    "fields": {"id": {"type": "string", "max_length": 64}, "note": {"type": "string"}, "points": {"type": "int"}},
}
IMPORT: Mapping[str, Any] = {
    "database": "people",
    "source": {"connection": "uploads"},
    "columns": {"id": "id", "note": "note", "points": "points"},
    "rejects": {"unlimited": True},
    "shrink": {"min_percent": 0},
}


@dataclass(frozen=True)
class Project:
    """The project's folder is the terminal's; `url` is a superuser's URL of its target."""

    terminal: Terminal
    url: str

    @property
    def folder(self) -> Path:
        return self.terminal.folder

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """A YAML file of the project."""
        path = self.folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")

    def write_import(self, name: str = "people", **changes: Any) -> None:
        """An import of `id`, `note` and `points`, but for the changes."""
        self.write(f"imports/{name}", {**IMPORT, **changes})

    def deliver(self, content: bytes, *words: object, name: str = "delivery.csv", to: str = "people") -> Answer:
        """What `ingest run` says of the file."""
        file = self.folder / name
        file.write_bytes(content)
        return self.terminal.ingest("run", to, "--file", file, "--json", *words)

    def execute(self, *statements: str) -> None:
        """Runs the statements in the target."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The query's rows in the target."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def table(self, columns: str = "id, note, points") -> list[tuple[Any, ...]]:
        """The profiles by key; none where there is no table yet."""
        if self.rows("SELECT to_regclass('crm.people')") == [(None,)]:
            return []
        return self.rows(f'SELECT {columns} FROM crm.people ORDER BY id COLLATE "C"')


@contextmanager
def new_project(postgres_url: str, home: Path, **environment: str) -> Iterator[Project]:
    """A project with one import, `people`, of uploads; its databases are dropped after the block."""
    with fresh_target(postgres_url) as target, fresh_storage(postgres_url) as storage:
        home.mkdir(parents=True, exist_ok=True)
        known = {"INGEST_DATABASE_URL": target, "INGEST_DAGSTER_URL": storage, "INGEST_HOME": str(home)}
        project = Project(Terminal(home, {**known, **environment}), target)
        project.write("connections", {"connections": {"uploads": {"type": "csv", "directory": "uploads"}}})
        project.write("databases", {"databases": {"people": dict(PEOPLE)}})
        (home / "uploads").mkdir(exist_ok=True)
        project.write_import()
        yield project
