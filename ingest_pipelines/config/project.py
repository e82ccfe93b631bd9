"""A project on disk -> typed models, or one line per mistake with file, line and key; design 3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ingest_pipelines.config.bound import BoundImport, Filled, MappedField, bind
from ingest_pipelines.config.connections import Connection, Connections
from ingest_pipelines.config.databases import Database, Databases
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.mistakes import mistakes_of
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.config.notify import Notify
from ingest_pipelines.config.yaml_lines import Document, read_yaml
from ingest_pipelines.errors import ConfigError, UsageError, shown

__all__ = ["BoundImport", "MappedField", "Project", "read_project"]

M = TypeVar("M", bound=BaseModel)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class Project:
    """A read project. Broken imports do not keep the others from running.

    Attributes:
        connections, databases: those without mistakes.
        imports: the imports without mistakes, bound to their connection and database.
        broken: what is wrong with each of the others, by the import's name, also where that stands in another file.
        mistakes: every mistake in every file, in file order, each once: where it stands, not where it shows.
        notify: whom to tell about every import.
    """

    home: Path
    connections: Mapping[str, Connection] = field(default_factory=dict)
    databases: Mapping[str, Database] = field(default_factory=dict)
    imports: Mapping[str, BoundImport] = field(default_factory=dict)
    broken: Mapping[str, ConfigError] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()
    notify: tuple[Notify, ...] = ()

    def require(self, name: str) -> BoundImport:
        """The import of that name.

        Raises:
            ConfigError: its YAML has mistakes.
            UsageError: there is none; the hint names the nearest.
        """
        if name in self.imports:
            return self.imports[name]
        if name in self.broken:
            raise self.broken[name]
        known = sorted({*self.imports, *self.broken})
        raise UsageError(f"there is no import '{name}' in {self.home / 'imports'}", hint=nearest(name, known))


@dataclass(frozen=True)
class _File(Generic[M]):
    """One YAML file: its model if it has one, its mistakes, and the named entries that have mistakes.

    Attributes:
        model: the file, read without what is wrong in it; None where that leaves nothing to read.
        damaged: names below the file's first key (`connections.NAME`) that are not in the model -> their first mistake.
        wrong: the keys at which mistakes stand.
    """

    name: str
    document: Document
    model: M | None
    mistakes: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    wrong: frozenset[tuple[str | int, ...]] = frozenset()

    def reason_against(self, name: str) -> str | None:
        """The mistake for which the entry of that name, or the whole file, cannot be used; None: it can."""
        return self.damaged.get(name) or (self.mistakes[0] if self.model is None else None)


def read_project(home: Path, drafts: Mapping[str, str] = MappingProxyType({})) -> Project:
    """The project in `home`, mistakes included. Reads files, and secrets' references; touches no network.

    Args:
        drafts: `imports/NAME.yaml`, `connections.yaml` -> text that is read in place of the file, before it is written.

    Raises:
        ConfigError: `home` is not a folder.
    """
    if not home.is_dir():
        raise ConfigError([f"{home}: there is no such folder"], hint="set INGEST_HOME, or run: ingest init DIR")
    connections = _read(home, "connections.yaml", Connections, drafts, keep="connections")
    databases = _read(home, "databases.yaml", Databases, drafts, keep="databases")
    known_connections = connections.model.connections if connections.model else {}
    known_databases = databases.model.databases if databases.model else {}
    mistakes = [*connections.mistakes, *databases.mistakes, *_shared_tables(databases)]
    imports: dict[str, BoundImport] = {}
    broken: dict[str, ConfigError] = {}
    filled: dict[str, dict[str, Filled]] = {}
    taken: set[str] = set()
    drafted = {home / name for name in drafts if name.startswith("imports/")}
    for path in sorted({*_import_files(home), *drafted}):
        file = _read(home, f"imports/{path.name}", Import, drafts)
        found, stopped = [*_name_mistakes(path, file.name, taken), *file.mistakes], list[str]()
        if file.model is not None:
            unusable = _unusable(file.model, connections, databases)
            bound, problems = bind(path.stem, file.model, known_connections, known_databases, filled)
            named = {where for where, _ in unusable}
            problems = [problem for problem in problems if problem[0] not in named]
            stopped = [_line(file.name, file.document.line(where), what) for where, what in unusable]
            if file.mistakes:  # the rest of the file was read without them: only what stands for itself is sure
                problems = [problem for problem in problems if _stands_alone(problem[0], file.wrong)]
            located = sorted(((file.document.line(where), what) for where, what in problems), key=lambda pair: pair[0])
            found += [_line(file.name, line, what) for line, what in located]
            if bound is not None and not found and not stopped:
                imports[path.stem] = bound
                fields = filled.setdefault(bound.database_name, {})
                for mapped in bound.fields:
                    fields.setdefault(mapped.name, Filled(mapped.field.type_name, bound.name))
            found += stopped
        if found:
            broken.setdefault(path.stem, ConfigError(found, hint=f"mend it, then run: ingest check {path.stem}"))
            mistakes += [mistake for mistake in found if mistake not in stopped]
        taken.add(path.stem.lower())
    notify = databases.model.notify if databases.model else ()
    return Project(home, known_connections, known_databases, imports, broken, tuple(dict.fromkeys(mistakes)), notify)


def place_of(home: Path, name: str, path: tuple[str | int, ...]) -> str:
    """`imports/NAME.yaml:LINE`, where the path of keys stands in an import's file, or the deepest part of it."""
    file = next((each for each in _import_files(home) if each.stem == name), home / "imports" / f"{name}.yaml")
    return f"imports/{file.name}:{read_yaml(file.read_text(encoding='utf-8-sig')).line(path)}"


def _line(file: str, line: int, what: str) -> str:
    """One mistake as one line, whatever stands in the file."""
    return f"{file}:{line}: {shown(what, limit=400)}"


def _import_files(home: Path) -> list[Path]:
    folder = home / "imports"
    return sorted(path for path in folder.glob("*") if path.suffix in {".yaml", ".yml"}) if folder.is_dir() else []


def _name_mistakes(path: Path, name: str, taken: set[str]) -> list[str]:
    if _NAME.fullmatch(path.stem) is None:
        return [f"{name}:1: the file's name is the import's name: a letter, then letters, digits and _ only"]
    if path.stem.lower() in taken:
        return [f"{name}:1: another file in imports/ has this name already; names differ by more than their case"]
    return []


def _stands_alone(where: tuple[str | int, ...], wrong: frozenset[tuple[str | int, ...]]) -> bool:
    """Whether a problem is sure in a file that was read without what is wrong in it; not where that is part of it."""
    if any(place[: len(where)] == where for place in wrong):
        return False
    return where in {("source", "connection"), ("database",)} or (where[:1] == ("columns",) and len(where) == 2)


def _unusable(
    spec: Import, connections: _File[Connections], databases: _File[Databases]
) -> list[tuple[tuple[str | int, ...], str]]:
    """What the import names and cannot use, because of mistakes over there."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    places: tuple[tuple[_File[Any], str, tuple[str | int, ...]], ...] = (
        (connections, spec.source.connection, ("source", "connection")),
        (databases, spec.database, ("database",)),
    )
    for file, name, where in places:
        reason = file.reason_against(name)
        if reason is not None:
            problems.append((where, f"{'.'.join(map(str, where))}: '{name}' cannot be used: {reason}"))
    return problems


def _shared_tables(file: _File[Databases]) -> list[str]:
    """One table belongs to one database: two would lock, type and retire its columns without knowing of each other."""
    owners: dict[tuple[str, str], str] = {}
    found = []
    for name, database in (file.model.databases if file.model else {}).items():
        owner = owners.setdefault(database.schema_and_table, name)
        if owner != name:
            line = file.document.line(("databases", name, "table"))
            found.append(f"{file.name}:{line}: databases.{name}.table: is the table of '{owner}' already")
    return found


def _read(home: Path, name: str, model: type[M], drafts: Mapping[str, str], *, keep: str = "") -> _File[M]:
    """A file parsed; with `keep`, entries below that key stand or fall one by one."""
    path = home / name
    try:
        text = drafts[name] if name in drafts else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return _File(name, Document(None, {}), None, (f"{name}:1: the file is missing",))
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return _File(name, Document(None, {}), None, (f"{name}:{line}: not UTF-8 text; save the file as UTF-8",))
    except OSError as error:
        return _File(name, Document(None, {}), None, (f"{name}:1: cannot be read: {error.strerror}",))
    document = read_yaml(text)
    if document.mistakes:
        return _File(name, document, None, tuple(_line(name, line, what) for line, what in document.mistakes))
    if not isinstance(document.value, dict):
        what = "the file is empty" if document.value is None else "expected a mapping of keys"
        return _File(name, document, None, (f"{name}:1: {what}",))
    context = {"home": home}
    try:
        return _File(name, document, model.model_validate(document.value, context=context))
    except ValidationError as error:
        found = mistakes_of(error, document, model)
    lines_of = [_line(name, document.line(mistake.path), mistake.what) for mistake in found]
    lines = tuple(dict.fromkeys(lines_of))
    paths = {mistake.path[:2] if keep else mistake.path for mistake in found}
    damaged: dict[str, str] = {}
    for mistake, sentence in zip(found, lines_of, strict=True):
        if keep and len(mistake.path) > 1 and mistake.path[0] == keep:
            damaged.setdefault(str(mistake.path[1]), sentence)
    try:
        rest = model.model_validate(_without(document.value, paths), context=context)
        return _File(name, document, rest, lines, damaged, frozenset(mistake.path for mistake in found))
    except ValidationError:
        return _File(name, document, None, lines)


def _without(value: Any, paths: set[tuple[str | int, ...]], here: tuple[str | int, ...] = ()) -> Any:
    """The value without the entries at `paths`, so that what is left can be looked at for more mistakes."""
    if isinstance(value, dict):
        return {key: _without(each, paths, (*here, key)) for key, each in value.items() if (*here, key) not in paths}
    if isinstance(value, list):
        return [_without(each, paths, (*here, i)) for i, each in enumerate(value) if (*here, i) not in paths]
    return value
