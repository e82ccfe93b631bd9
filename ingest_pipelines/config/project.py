"""A project on disk -> typed models, or one line per mistake with file, line and key; design 3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ingest_pipelines.config.asset_graph import AssetGraph
from ingest_pipelines.config.base import NAME_MEANING, Secret
from ingest_pipelines.config.bound import BoundImport, Filled, MappedField, bind, type_conflicts
from ingest_pipelines.config.column_problems import Problem
from ingest_pipelines.config.connections import Connection, Connections, QueryConnection
from ingest_pipelines.config.databases import Database, Databases
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.config.imports import BY_CONSENT, Import, SourceOfImport
from ingest_pipelines.config.mistakes import KEYS, example, mistakes_of
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.config.notify import AlertSubscription, AlertSubscriptions, Notify, NotifyGroup, NotifyGroups
from ingest_pipelines.config.placement import ALONE, Placement
from ingest_pipelines.config.renames import rename_problems
from ingest_pipelines.config.retyped import as_created
from ingest_pipelines.config.table_names import names_beside
from ingest_pipelines.config.yaml_lines import Document, read_yaml
from ingest_pipelines.errors import ConfigError, UsageError, printable

__all__ = ["BoundImport", "MappedField", "Project", "read_project"]

M = TypeVar("M", bound=BaseModel)
NOTIFY_FILE = "notify.yaml"
SUBSCRIPTIONS_FILE = "subscriptions.yaml"
"""The file of groups; it may be missing."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class Project:
    """A project as read. Imports with mistakes do not stop the others.

    Attributes:
        connections, databases: those without mistakes.
        imports: the imports without mistakes, bound to their connection and database.
        broken: what is wrong with each of the others, by the import's name, also where that stands in another file.
        partial: those of them that could be read and bound all the same; for nothing but the search for more mistakes.
        queries: source and connection of every import that queries, also where its database is a mistake.
        conflicts: fields that have another type in another import, by the name of the import that was read later. Which
            of them is wrong is known to the ledger: the one that loads first gives a field its type for good. So both
            can be run, and the load of the wrong one is refused.
        mistakes: every mistake in every file, in file order, each once: where it stands, not where it shows.
        notify: whom to tell about every import.
        groups: groups of people in notify.yaml, without those that have mistakes.
        people: the address of people who subscribe, of notify.yaml; None: nobody can.
        subscriptions: what they want to be told of, by person.
        specs: the file of every import as far as it can be read, also where it has mistakes.
        placement: where its definitions are in Dagster.
    """

    home: Path
    connections: Mapping[str, Connection] = field(default_factory=dict)
    databases: Mapping[str, Database] = field(default_factory=dict)
    imports: Mapping[str, BoundImport] = field(default_factory=dict)
    broken: Mapping[str, ConfigError] = field(default_factory=dict)
    partial: Mapping[str, BoundImport] = field(default_factory=dict)
    queries: Mapping[str, tuple[SourceOfImport, QueryConnection]] = field(default_factory=dict)
    conflicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()
    notify: tuple[Notify, ...] = ()
    groups: Mapping[str, NotifyGroup] = field(default_factory=dict)
    people: Secret | None = None
    subscriptions: Mapping[str, AlertSubscription] = field(default_factory=dict)
    specs: Mapping[str, Import] = field(default_factory=dict)
    placement: Placement = ALONE

    def placed(self, placement: Placement) -> Project:
        """The project with its imports at that place in Dagster."""
        if placement == self.placement:
            return self
        graph = _asset_graph(self.specs, self.databases)

        def at_place(name: str, bound: BoundImport) -> BoundImport:
            spec = graph.placed(self.specs[name], placement) if name in self.specs else bound.spec
            return replace(bound, spec=spec, placement=placement)

        imports = {name: at_place(name, bound) for name, bound in self.imports.items()}
        partial = {name: at_place(name, bound) for name, bound in self.partial.items()}
        return replace(self, imports=imports, partial=partial, placement=placement)

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


def _asset_graph(specs: Mapping[str, Import], databases: Mapping[str, Database]) -> AssetGraph:
    return AssetGraph(specs, {name: database.schema_and_table for name, database in databases.items()})


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
        """The mistake that makes the entry of that name, or the whole file, unusable; None: it is usable."""
        return self.damaged.get(name) or (self.mistakes[0] if self.model is None else None)


def read_project(
    home: Path,
    drafts: Mapping[str, str] = MappingProxyType({}),
    *,
    registered: Mapping[str, Mapping[str, Filled]] = MappingProxyType({}),
) -> Project:
    """The project in `home`, mistakes included. Reads files, and secrets' references; touches no network.

    Args:
        drafts: `imports/NAME.yaml`, `connections.yaml` -> text that is read in place of the file, before it is written.
        registered: the types that fields got from their first loads, per database, as the ledger has them.

    Raises:
        ConfigError: `home` is not a folder.
    """
    if not home.is_dir():
        raise ConfigError([f"{home}: there is no such folder"], hint="set INGEST_HOME, or run: ingest init DIR")
    connections = _read(home, "connections.yaml", Connections, drafts, keep="connections")
    databases = _read(home, "databases.yaml", Databases, drafts, keep="databases")
    drafted = {home / name for name in drafts if name.startswith("imports/")}
    paths = sorted({*_import_files(home), *drafted})
    files = [(path, _read(home, f"imports/{path.name}", Import, drafts)) for path in paths]
    named_files = [(path.stem, file.model) for path, file in files]
    databases = _apart(databases, [spec for _, spec in named_files if spec is not None])
    databases = _as_created(databases, registered)
    known_connections = connections.model.connections if connections.model else {}
    known_databases = databases.model.databases if databases.model else {}
    asset_graph = _asset_graph({name: spec for name, spec in named_files if spec is not None}, known_databases)
    mistakes = [*connections.mistakes, *databases.mistakes]
    imports: dict[str, BoundImport] = {}
    broken: dict[str, ConfigError] = {}
    partial: dict[str, BoundImport] = {}
    queries: dict[str, tuple[SourceOfImport, QueryConnection]] = {}
    conflicts: dict[str, tuple[str, ...]] = {}
    filled: dict[str, dict[str, Filled]] = {}
    typed = {database: dict(fields) for database, fields in registered.items()}
    taken: dict[str, str] = {}
    for path, file in files:
        found, stopped = [*_name_mistakes(path, file.name, taken), *file.mistakes], list[str]()
        if file.model is not None:
            source = file.model.source
            connection = known_connections.get(source.connection)
            if source.query is not None and isinstance(connection, QueryConnection):
                queries.setdefault(path.stem, (source, connection))
            unusable = _unusable(file.model, connections, databases)
            bound, problems = bind(path.stem, file.model, known_connections, known_databases, filled)
            problems += rename_problems(path.stem, file.model, named_files)
            problems += asset_graph.problems(path.stem, file.model)
            named = {where for where, _ in unusable}
            problems = [problem for problem in problems if problem[0] not in named]
            stopped = [_line(file.name, file.document.line(where), what) for where, what in unusable]
            if file.mistakes:  # the rest of the file was read without them: only what stands for itself is sure
                problems = [problem for problem in problems if _stands_alone(problem[0], file.wrong)]
            found += _located(file, problems)
            if bound is not None:
                types = typed.setdefault(bound.database_name, {})
                clashes = _located(file, type_conflicts(bound, types))
                if clashes:
                    conflicts[path.stem] = tuple(clashes)
                    mistakes += clashes
                if found or stopped:
                    partial.setdefault(path.stem, bound)
                else:
                    imports[path.stem] = bound
                    fields = filled.setdefault(bound.database_name, {})
                    for mapped in bound.fields:
                        fields.setdefault(mapped.name, Filled(mapped.field.type_name, bound.name))
                        types.setdefault(mapped.name, Filled(mapped.field.type_name, bound.name))
            found += stopped
        if found:
            broken.setdefault(path.stem, ConfigError(found, hint=f"fix it, then run: ingest check {path.stem}"))
            mistakes += [mistake for mistake in found if mistake not in stopped]
        taken.setdefault(path.stem.lower(), file.name)
    notify = databases.model.notify if databases.model else ()
    known = {
        "imports": {name for name, _ in named_files},
        "databases": _named_in(databases, "databases"),
        "connections": _named_in(connections, "connections"),
    }
    told, mistakes_in_groups = _told(home, drafts, known)
    subscriptions, mistakes_of_people = _subscriptions(home, drafts)
    specs = {name: spec for name, spec in reversed(named_files) if spec is not None}
    return Project(
        home, known_connections, known_databases, imports, broken, partial, queries, conflicts,
        tuple(dict.fromkeys([*mistakes, *mistakes_in_groups, *mistakes_of_people])), notify, told.groups, told.people,
        subscriptions, specs,
    )  # fmt: skip


def _told(
    home: Path, drafts: Mapping[str, str], known: Mapping[str, set[str] | None]
) -> tuple[NotifyGroups, list[str]]:
    """notify.yaml, which need not be there, and its mistakes.

    Args:
        known: names of the project's imports, databases and connections; None: they cannot be read.
    """
    if NOTIFY_FILE not in drafts and not (home / NOTIFY_FILE).exists():
        return NotifyGroups(), []
    file = _read(home, NOTIFY_FILE, NotifyGroups, drafts, keep="groups")
    if file.model is None:
        return NotifyGroups(), list(file.mistakes)
    unknown: list[Problem] = []
    for where, name in file.model.names():
        names = known[str(where[2])]
        if names is not None and name not in names:
            unknown.append((where, f"{'.'.join(map(str, where))}: there is no '{name}'; {nearest(name, names)}"))
    return file.model, [*file.mistakes, *_located(file, unknown)]


def _subscriptions(home: Path, drafts: Mapping[str, str]) -> tuple[dict[str, AlertSubscription], list[str]]:
    """What people want to be told of, and the mistakes of the file, which need not be there."""
    if SUBSCRIPTIONS_FILE not in drafts and not (home / SUBSCRIPTIONS_FILE).exists():
        return {}, []
    file = _read(home, SUBSCRIPTIONS_FILE, AlertSubscriptions, drafts, keep="people")
    return dict(file.model.people) if file.model is not None else {}, list(file.mistakes)


def _named_in(file: _File[Any], key: str) -> set[str] | None:
    """The names of the file's entries, also of those with mistakes; None if it cannot be read."""
    value = file.document.value
    entries = value.get(key) if isinstance(value, dict) else None
    return set(map(str, entries)) if isinstance(entries, dict) else None


def _located(file: _File[Any], problems: Iterable[Problem]) -> list[str]:
    """The problems as lines, in the order of the file."""
    located = sorted(((file.document.line(where), what) for where, what in problems), key=lambda pair: pair[0])
    return [_line(file.name, line, what) for line, what in located]


def place_of(
    home: Path, name: str, path: tuple[str | int, ...], drafts: Mapping[str, str] = MappingProxyType({})
) -> str:
    """`imports/NAME.yaml:LINE`, where the path of keys stands in an import's file, or the deepest part of it.

    Args:
        drafts: as for `read_project`.
    """
    draft = f"imports/{name}.yaml"
    if draft in drafts:
        return f"{draft}:{read_yaml(drafts[draft]).line(path)}"
    file = next((each for each in _import_files(home) if each.stem == name), home / draft)
    return f"imports/{file.name}:{read_yaml(file.read_text(encoding='utf-8-sig')).line(path)}"


def _line(file: str, line: int, what: str) -> str:
    """One mistake as one line, whatever the file holds."""
    return f"{file}:{line}: {printable(what, limit=400)}"


def files_of_project(home: Path) -> list[Path]:
    """Every file that `read_project` reads; one that is not an import need not be there."""
    return [
        *(home / name for name in ("connections.yaml", "databases.yaml", NOTIFY_FILE, SUBSCRIPTIONS_FILE)),
        *_import_files(home),
    ]


def _import_files(home: Path) -> list[Path]:
    folder = home / "imports"
    if not folder.is_dir():
        return []
    files = (path for path in folder.glob("*") if path.suffix in {".yaml", ".yml"})
    return sorted(path for path in files if not path.name.startswith("."))  # which editors and file systems leave


def _name_mistakes(path: Path, name: str, taken: Mapping[str, str]) -> list[str]:
    if _NAME.fullmatch(path.stem) is None:
        return [f"{name}:1: the file's name is the import's name: {NAME_MEANING.removeprefix('a name is ')}"]
    if path.stem.lower() in taken:
        return [f"{name}:1: {taken[path.stem.lower()]} has this name already; names differ by more than their case"]
    return []


def _stands_alone(where: tuple[str | int, ...], wrong: frozenset[tuple[str | int, ...]]) -> bool:
    """Whether a problem is certain although entries with mistakes were left out: not if it depends on one of them."""
    if any(place[: len(where)] == where for place in wrong):
        return False
    return where in {("source", "connection"), ("database",)} or (where[:1] == ("columns",) and len(where) == 2)


def _unusable(
    spec: Import, connections: _File[Connections], databases: _File[Databases]
) -> list[tuple[tuple[str | int, ...], str]]:
    """Connections and databases that the import names and cannot use, because they have mistakes."""
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


def _apart(file: _File[Databases], imports: Sequence[Import]) -> _File[Databases]:
    """The file without databases whose table, or what a load makes beside it, has a name that another one needs.

    One table belongs to one database: two would lock, type and retire its columns without knowing of each other. Of
    two databases the one that stands later is the mistake.
    """
    if file.model is None:
        return file
    tables: dict[tuple[str, str], str] = {}
    beside: dict[tuple[str, str], tuple[str, str]] = {}
    found: dict[str, str] = {}
    for name, database in file.model.databases.items():
        schema, table = database.schema_and_table
        made = [((schema, made), what) for made, what in _names_beside(name, database, imports)]
        clash = next((where for where, _ in made if where in tables or where in beside), None)
        if (schema, table) in tables:
            found[name] = f"is the table of '{tables[schema, table]}' already"
        elif (schema, table) in beside:
            owner, what = beside[schema, table]
            found[name] = f"'{owner}' keeps {what} under that name; choose another table"
        elif clash is not None and clash in tables:
            what = dict(made)[clash]
            found[name] = f"{what} would be {'.'.join(clash)}, which is the table of '{tables[clash]}'"
        if name not in found:
            tables[schema, table] = name
            beside.update({where: (name, what) for where, what in made})
    if not found:
        return file
    lines = {
        name: _line(file.name, file.document.line(("databases", name, "table")), f"databases.{name}.table: {what}")
        for name, what in found.items()
    }
    left = {name: database for name, database in file.model.databases.items() if name not in found}
    return replace(
        file, model=file.model.model_copy(update={"databases": left}), mistakes=(*file.mistakes, *lines.values()),
        damaged={**file.damaged, **lines},
    )  # fmt: skip


def _as_created(file: _File[Databases], registered: Mapping[str, Mapping[str, Filled]]) -> _File[Databases]:
    """The file with the types that fields got from their first loads; another type there is a mistake."""
    if file.model is None:
        return file
    databases, mistakes = dict(file.model.databases), list[str]()
    for name, database in file.model.databases.items():
        created = registered.get(name, {})
        databases[name], retyped = as_created(database, {each: filled.type_name for each, filled in created.items()})
        for each, wanted in retyped.items():
            line = file.document.line(("databases", name, "fields", each))
            what = (
                f"databases.{name}.fields.{each}: {created[each].type_name} since the first load of "
                f"imports/{created[each].by}.yaml, and {wanted} here; a field's type can't change"
            )
            mistakes.append(_line(file.name, line, what))
    model = file.model.model_copy(update={"databases": databases})
    return replace(file, model=model, mistakes=(*file.mistakes, *mistakes)) if mistakes else file


def _names_beside(name: str, database: Database, imports: Sequence[Import]) -> list[tuple[str, str]]:
    """What loads of these imports make beside the database's table."""
    here = [spec for spec in imports if spec.database == name]
    matches = [spec.match for spec in here if spec.match is not None and spec.match != database.key]
    contacts = {field for field, rules in database.fields.items() if rules.type in {"email", "phone"}}
    named = {match if isinstance(match, str) else match.field or "" for match in matches} & set(database.fields)
    kinds = {match if isinstance(match, str) else match.by for match in matches}
    consents = bool(database.resources) or any(spec.subscriptions for spec in here) or bool(kinds & BY_CONSENT)
    matched = contacts | named if matches or FIELD_TYPES[database.fields[database.key].type].ignores_case else set()
    return list(names_beside(database, sorted(matched), consents=consents))


def _read(home: Path, name: str, model: type[M], drafts: Mapping[str, str], *, keep: str = "") -> _File[M]:
    """A file parsed; with `keep`, entries below that key are valid or not one by one."""
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
        what = "the file is empty" if document.value is None else f"expected {KEYS}{example(model)}"
        return _File(name, document, None, (f"{name}:1: {what}",))
    context = {"home": home}
    try:
        return _File(name, document, model.model_validate(document.value, context=context))
    except ValidationError as error:
        mistakes = mistakes_of(error, document, model)
    lines_of = [_line(name, document.line(mistake.path), mistake.what) for mistake in mistakes]
    lines = tuple(dict.fromkeys(lines_of))
    paths = {mistake.path[:2] if keep else mistake.path for mistake in mistakes}
    damaged: dict[str, str] = {}
    for mistake, sentence in zip(mistakes, lines_of, strict=True):
        if keep and len(mistake.path) > 1 and mistake.path[0] == keep:
            damaged.setdefault(str(mistake.path[1]), sentence)
    try:
        rest = model.model_validate(_without(document.value, paths), context=context)
        return _File(name, document, rest, lines, damaged, frozenset(mistake.path for mistake in mistakes))
    except ValidationError:
        return _File(name, document, None, lines)


def _without(value: Any, paths: set[tuple[str | int, ...]], here: tuple[str | int, ...] = ()) -> Any:
    """The value without the entries at `paths`, so that the rest can be checked for more mistakes."""
    if isinstance(value, dict):
        return {key: _without(each, paths, (*here, key)) for key, each in value.items() if (*here, key) not in paths}
    if isinstance(value, list):
        return [_without(each, paths, (*here, i)) for i, each in enumerate(value) if (*here, i) not in paths]
    return value
