"""What is wrong with the project's YAML, and whether a connection works."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ingest_pipelines.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from ingest_pipelines.actions.target import Live
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.config.databases import Field

SchemaName = Literal["connections", "databases", "import", "notify"]


def json_schemas() -> dict[SchemaName, dict[str, Any]]:
    """The JSON Schema of each kind of YAML file."""
    from ingest_pipelines.config.connections import Connections
    from ingest_pipelines.config.databases import Databases
    from ingest_pipelines.config.imports import Import
    from ingest_pipelines.config.notify import NotifyGroups

    models: dict[SchemaName, Any] = {
        "connections": Connections, "databases": Databases, "import": Import, "notify": NotifyGroups,
    }  # fmt: skip
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}
        for name, model in models.items()
    }


def mistakes_of(
    project: Project, name: str | None, live: Live, drafts: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Every mistake of the project or of one import: in YAML, queries, rules, and against the ledger.

    Args:
        drafts: files that the project was read with, and that are not written yet.
    """
    names = [name] if name is not None else sorted({*project.imports, *project.broken})
    candidates = [project.imports.get(import_name) or project.partial.get(import_name) for import_name in names]
    readable = [bound for bound in candidates if bound is not None]
    locked = [mistake for bound in readable for mistake in _lock_mistakes(project, bound, live)]
    if name is None:
        own = list(project.mistakes)
    else:
        broken = project.broken.get(name)
        own = [*project.conflicts.get(name, ()), *(broken.mistakes if broken is not None else ())]
    own = [mistake for mistake in own if not any(other.startswith(_place(mistake)) for other in locked)]
    rules = _compile_own_rules(project, [bound for bound in readable if bound.name in project.imports], drafts)
    return list(dict.fromkeys([*own, *locked, *rules, *read_queries(project, names, drafts)[0]]))


def checked(settings: Settings, name: str, drafts: Mapping[str, str], hint: str) -> BoundImport:
    """The import of the drafts, once `ingest check` passes it.

    Raises:
        ConfigError: it does not; nothing was written.
    """
    from ingest_pipelines.actions.target import live_of
    from ingest_pipelines.config import read_project

    live = live_of(settings)
    drafted = read_project(settings.home, drafts, registered=live.types)
    if mistakes := mistakes_of(drafted, name, live, drafts):
        raise ConfigError(mistakes, hint=hint)
    return drafted.require(name)


def write_drafts(home: Path, drafts: Mapping[str, str]) -> list[Path]:
    """Writes files of the project. An import's file that exists already is not replaced.

    Raises:
        UsageError: there is such an import, or nobody may write here.
    """
    files = []
    for relative, text in drafts.items():
        file = home / relative
        try:
            with _writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("x" if relative.startswith("imports/") else "w", encoding="utf-8") as opened:
                    opened.write(text)
        except FileExistsError:
            raise UsageError(f"{file} exists already; it was not changed", hint="choose another name") from None
        files.append(file)
    return files


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """A project that nobody may write, such as one in an image, is said to be one."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", hint="commit the YAML to the project's repository instead"
        ) from None


def replace_project_file(path: Path, text: str) -> None:
    """Replaces a file of the project, whole or not at all; it keeps its mode.

    Raises:
        UsageError: nobody may write here.
    """
    import shutil

    draft = path.with_name(f".{path.name}.new")
    with _writing(path):
        try:
            draft.write_text(text, encoding="utf-8", newline="")
            shutil.copymode(path, draft)
            draft.replace(path)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _place(mistake: str) -> str:
    """`FILE:LINE: columns.COLUMN: ` of a mistake. Of two mistakes in one place only the lock's is reported."""
    return ": ".join(mistake.split(": ", 2)[:2]) + ": "


def _lock_mistakes(project: Project, bound: BoundImport, live: Live) -> list[str]:
    """How the YAML differs from the mapping that the import's first committed load has locked."""
    locked = live.locks.get(bound.name)
    if locked is None:
        return []
    from ingest_pipelines.config.project import place_of
    from ingest_pipelines.merge.mapping import LOCKED, mapping_changes

    return [
        f"{place_of(project.home, bound.name, ('columns', column))}: {change}; {LOCKED.format(bound.name)}"
        for column, change in mapping_changes(locked, bound).items()
    ]


def read_queries(
    project: Project, chosen: list[str], drafts: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[str], list[str]]:
    """Mistakes: queries that are not one SELECT, or whose chunks could lose rows. Notes: what the parser cannot read.

    The parser is imported only if there are queries.
    """
    queried = {name: project.queries[name] for name in chosen if name in project.queries}
    if not queried:
        return [], []
    from ingest_pipelines.config.project import place_of
    from ingest_pipelines.sources.request import query_mistakes, query_note

    places = {name: place_of(project.home, name, ("source", "query"), drafts) for name in queried}
    mistakes = [f"{places[name]}: {each}" for name, query in queried.items() for each in query_mistakes(*query)]
    notes = [] if mistakes else [(name, query_note(*query)) for name, query in queried.items()]
    return mistakes, [f"{places[name]}: {note}" for name, note in notes if note is not None]


def _compile_own_rules(project: Project, chosen: list[BoundImport], drafts: Mapping[str, str]) -> list[str]:
    """Mistakes that only the rules engine can find. It is slow to import, so only fields that need it are compiled."""
    mistakes: list[str] = []
    for bound in chosen:
        if any(_only_rules_can_tell(mapped.field) for mapped in bound.fields):
            try:
                rules_of(bound)
            except ConfigError as error:
                mistakes += [_placed(project.home, bound, mistake, drafts) for mistake in error.mistakes]
    return mistakes


def _placed(home: Path, bound: BoundImport, mistake: str, drafts: Mapping[str, str]) -> str:
    """The mistake `imports/NAME.yaml: FIELD.key: ...` with the line of the column that fills the field."""
    from ingest_pipelines.config.project import place_of

    text = mistake.partition(": ")[2]
    columns = [mapped.column for mapped in bound.fields if text.startswith(f"{mapped.name}.")]
    return f"{place_of(home, bound.name, ('columns', *columns[:1]), drafts)}: {text}"


def _only_rules_can_tell(field: Field) -> bool:
    """Whether the field has a rule that config cannot check: config has checked all others."""
    in_zone = field.type == "datetime" and (field.min is not None or field.max is not None)
    return bool(field.pattern or field.format or field.one_of or in_zone)


def rules_of(bound: BoundImport) -> list[dict[str, str]]:
    """The import's rules, from its Pandera schema; and that of the table."""
    from ingest_pipelines.rules import compile_rules
    from ingest_pipelines.rules.codes import CODES

    of_table = ("", "refused_by_table", CODES["refused_by_table"][1])
    rules = (*compile_rules(bound).table(), of_table)
    return [{"field": field, "code": code, "rule": rule} for field, code, rule in rules]


def test_connection(name: str, connection: Connection) -> dict[str, Any]:
    """The result of each step of the connection's test, up to the first that fails."""
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.sources import open_files, open_query

    source = open_files(connection) if isinstance(connection, FileConnection) else open_query(connection)
    steps = list(source.probe())
    return {
        "connection": name,
        "type": connection.type,
        "ok": all(step.ok for step in steps),
        "steps": [{"step": step.name, "ok": step.ok, "detail": step.detail, "hint": step.hint} for step in steps],
    }
