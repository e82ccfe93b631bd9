"""A project on disk -> typed models, or one line per mistake with file, line and key; design 3."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ingest_pipelines.config.bound import BoundImport, MappedField, bind
from ingest_pipelines.config.connections import Connection, Connections
from ingest_pipelines.config.databases import Database, Databases
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.yaml_lines import Document, read_yaml
from ingest_pipelines.errors import ConfigError, UsageError

__all__ = ["BoundImport", "MappedField", "Project", "read_project"]

M = TypeVar("M", bound=BaseModel)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class Project:
    """A read project. Broken imports do not keep the others from running.

    Attributes:
        imports: the imports without mistakes, bound to their connection and database.
        broken: what is wrong with each of the others, by the import's name.
        mistakes: every mistake in every file, in file order.
    """

    home: Path
    connections: Mapping[str, Connection] = field(default_factory=dict)
    databases: Mapping[str, Database] = field(default_factory=dict)
    imports: Mapping[str, BoundImport] = field(default_factory=dict)
    broken: Mapping[str, ConfigError] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()

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
        raise UsageError(f"there is no import '{name}' in {self.home / 'imports'}", hint=_nearest(name, known))


def read_project(home: Path) -> Project:
    """The project in `home`, mistakes included. Reads files, and secrets' references; touches no network."""
    if not home.is_dir():
        raise ConfigError([f"{home}: there is no such folder"], hint="set INGEST_HOME, or run: ingest init DIR")
    connections, connection_mistakes = _read(home / "connections.yaml", Connections, home)
    databases, database_mistakes = _read(home / "databases.yaml", Databases, home)
    mistakes = [*connection_mistakes, *database_mistakes]
    known_connections = connections.connections if connections else {}
    known_databases = databases.databases if databases else {}
    imports: dict[str, BoundImport] = {}
    broken: dict[str, ConfigError] = {}
    for path in sorted((home / "imports").glob("*.y*ml")):
        document, model, found = _read_document(path, Import, home)
        name = path.stem
        if _NAME.fullmatch(name) is None:
            found.append(f"{_shown(path, home)}:1: the file's name is the import's name: letters, digits and _ only")
        if model is not None and not found:
            if connections is None or databases is None:
                found += [_first_of(connection_mistakes + database_mistakes)]
            else:
                bound, problems = bind(name, model, known_connections, known_databases, imports)
                found += [f"{_shown(path, home)}:{document.line(where)}: {what}" for where, what in problems]
                if bound is not None and not problems:
                    imports[name] = bound
        if found:
            broken[name] = ConfigError(found, hint=f"then run: ingest check {name}")
            mistakes += [line for line in found if line not in mistakes]
    return Project(home, known_connections, known_databases, imports, broken, tuple(mistakes))


def _first_of(mistakes: list[str]) -> str:
    return mistakes[0] if mistakes else "connections.yaml or databases.yaml cannot be read"


def _shown(path: Path, home: Path) -> str:
    return path.relative_to(home).as_posix()


def _read(path: Path, model: type[M], home: Path) -> tuple[M | None, list[str]]:
    _, parsed, mistakes = _read_document(path, model, home)
    return parsed, mistakes


def _read_document(path: Path, model: type[M], home: Path) -> tuple[Document, M | None, list[str]]:
    shown = _shown(path, home)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Document(None, {}), None, [f"{shown}:1: the file is missing"]
    except (OSError, UnicodeDecodeError) as error:
        return Document(None, {}), None, [f"{shown}:1: cannot be read as UTF-8 text: {type(error).__name__}"]
    document = read_yaml(text)
    if document.mistakes:
        return document, None, [f"{shown}:{line}: {what}" for line, what in document.mistakes]
    if not isinstance(document.value, dict):
        return document, None, [f"{shown}:1: expected a mapping of keys; the file is empty or holds something else"]
    try:
        return document, model.model_validate(document.value), []
    except ValidationError as error:
        return document, None, list(dict.fromkeys(_explain(error, document, model, shown)))


def _explain(error: ValidationError, document: Document, model: type[BaseModel], shown: str) -> Iterator[str]:
    """One line per mistake: file:line: dotted.key: what is wrong, and what was expected."""
    for mistake in error.errors(include_url=False):
        path = _in_file(mistake["loc"], document)
        dotted = ".".join(str(part) for part in path)
        kind, context = mistake["type"], mistake.get("ctx", {})
        if kind == "extra_forbidden":
            siblings = sorted(_keys_at(model, mistake["loc"][:-1]))
            what = f"unknown key; {_nearest(str(mistake['loc'][-1]), siblings)}"
        elif kind == "missing":
            what = "this key is required"
        elif kind == "union_tag_invalid":
            known = [tag.strip("' ") for tag in str(context.get("expected_tags", "")).split(",")]
            dotted = f"{dotted}.type"
            path = (*path, "type")
            what = f"unknown type; {_nearest(str(context.get('tag', '')), known)}"
        elif kind == "union_tag_not_found":
            what = "the key 'type' is required"
        elif kind == "literal_error":
            what = f"expected one of {context.get('expected', '')}"
        elif kind == "string_pattern_mismatch":
            what = f"the name or value must match {context.get('pattern', '')}"
        else:
            what = str(mistake["msg"]).removeprefix("Value error, ")
        yield f"{shown}:{document.line(path)}: {dotted + ': ' if dotted else ''}{what}"


def _in_file(location: tuple[str | int, ...], document: Document) -> tuple[str | int, ...]:
    """Pydantic's location without the parts that do not stand in the file (union tags, key markers)."""
    path: tuple[str | int, ...] = ()
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if (*path, part) in document.lines or (last and part != "[key]" and not _is_model_tag(part)):
            path = (*path, part)
    return path


def _is_model_tag(part: str | int) -> bool:
    return isinstance(part, str) and (part[:1].isupper() or part in {"str", "constrained-str"} or "[" in part)


def _keys_at(model: Any, location: Iterable[str | int]) -> set[str]:
    """The keys that a mapping at `location` may have, so that the nearest can be named."""
    models = _models_in(model)
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in models:
            named = {(info.alias or key): info for key, info in candidate.model_fields.items()}
            if part in named:
                following += _models_in(named[str(part)].annotation)
            elif _tag(candidate) == part or candidate.__name__ == part:
                following.append(candidate)
        if following:
            models = following
    return {info.alias or key for candidate in models for key, info in candidate.model_fields.items()}


def _tag(model: type[BaseModel]) -> str | None:
    info = model.model_fields.get("type")
    arguments = get_args(info.annotation) if info else ()
    return str(arguments[0]) if len(arguments) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known are: {', '.join(known)}" if known else "none is defined yet"
