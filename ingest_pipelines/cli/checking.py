"""`ingest check` and `ingest schema`: is the project right, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json, import_names
from ingest_pipelines.errors import ConfigError, SourceUnavailable

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.config.databases import Field

NAMED = 8
"""Imports that a mistake stops and that are named; more would bury the mistake."""

SchemaName = Literal["connections", "databases", "import"]


def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only this import; else everything.", autocompletion=import_names),
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also test every connection, step by step: network, login, listing.")
    ] = False,
    rules: Annotated[bool, typer.Option("--rules", help="Print every rule that the rows are judged by.")] = False,
    json: Json = False,
) -> None:
    """Are the YAML files right? All mistakes in one go, each with its file, line and key."""
    from ingest_pipelines.config import read_project, read_settings

    project = read_project(read_settings().home)
    if name is not None:
        chosen = [project.require(name)]
    elif project.mistakes:
        raise _all_mistakes(project)
    else:
        chosen = list(project.imports.values())
    _compile_own_rules(project, chosen)
    notes = _read_queries(project, chosen)
    used = {bound.connection_name: bound.connection for bound in chosen} if connect else {}
    tests = [test_connection(each, connection) for each, connection in used.items()]
    if json:
        screen.as_json(
            {
                "home": project.home,
                "imports": [_described(bound) for bound in chosen],
                "notes": notes,
                **({"rules": {bound.name: _rules(bound) for bound in chosen}} if rules else {}),
                **({"connections": tests} if connect else {}),
            }
        )
    else:
        _print_summary(project, chosen)
        for note in notes:
            screen.say()
            screen.say(f"note: {screen.wrapped(note, 6)}")
        for bound in chosen if rules else []:
            _print_rules(bound)
        for test in tests:
            print_test(test)
    failed = [test["connection"] for test in tests if not test["ok"]]
    if failed:
        raise SourceUnavailable(f"{', '.join(failed)}: the connection test failed at the step shown above")


def schema(
    name: Annotated[
        SchemaName | None, typer.Argument(metavar="[connections|databases|import]", help="One of them; else all three.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write NAME.json files there instead.")
    ] = None,
) -> None:
    """The JSON Schema of the YAML files: editors complete and check from it."""
    schemas = json_schemas()
    if name is not None:
        schemas = {name: schemas[name]}
    if output is None:
        screen.as_json(schemas[name] if name is not None else schemas)
        return
    import json

    output.mkdir(parents=True, exist_ok=True)
    for each, content in schemas.items():
        (output / f"{each}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        screen.say(f"wrote {output / each}.json")


def json_schemas() -> dict[SchemaName, dict[str, Any]]:
    """The JSON Schema of each kind of YAML file."""
    from ingest_pipelines.config.connections import Connections
    from ingest_pipelines.config.databases import Databases
    from ingest_pipelines.config.imports import Import

    models: dict[SchemaName, Any] = {"connections": Connections, "databases": Databases, "import": Import}
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}
        for name, model in models.items()
    }


def _all_mistakes(project: Project) -> ConfigError:
    count = screen.plural(len(project.mistakes), "mistake")
    others = screen.plural(len(project.imports), "import")
    return ConfigError(
        [f"{count} in {project.home}", *(f"  {each}" for each in project.mistakes), *_stopped(project)],
        hint=f"{others} without mistakes can run" if project.imports else "mend them, then run: ingest check",
    )


def _stopped(project: Project) -> list[str]:
    """Which imports a mistake of another file stops."""
    stopped = [name for name, error in project.broken.items() if not set(error.mistakes) & set(project.mistakes)]
    named = ", ".join(stopped[:NAMED]) + (f" and {len(stopped) - NAMED:,} more" if len(stopped) > NAMED else "")
    return [f"  until it is mended, {screen.plural(len(stopped), 'import')} cannot run: {named}"] if stopped else []


def _read_queries(project: Project, chosen: list[BoundImport]) -> list[str]:
    """What the parser does not understand of the queries; it loads only where there are any.

    Raises:
        ConfigError: one is no single SELECT, or its chunks could lose rows.
    """
    queried = [bound for bound in chosen if bound.spec.source.query is not None]
    if not queried:
        return []
    from ingest_pipelines.config.project import place_of
    from ingest_pipelines.sources.request import query_mistakes, query_note

    places = {bound.name: place_of(project.home, bound.name, ("source", "query")) for bound in queried}
    mistakes = [f"{places[bound.name]}: {mistake}" for bound in queried for mistake in query_mistakes(bound)]
    if mistakes:
        raise ConfigError(mistakes)
    return [f"{places[bound.name]}: {note}" for bound in queried if (note := query_note(bound)) is not None]


def _compile_own_rules(project: Project, chosen: list[BoundImport]) -> None:
    """What only the engine that judges rows can tell of a field; it loads slowly: only where there is such a field.

    Raises:
        ConfigError: it cannot use one.
    """
    mistakes: list[str] = []
    for bound in chosen:
        if any(_only_rules_can_tell(mapped.field) for mapped in bound.fields):
            try:
                _rules(bound)
            except ConfigError as error:
                mistakes += [_placed(project.home, bound, mistake) for mistake in error.mistakes]
    if mistakes:
        raise ConfigError(mistakes)


def _placed(home: Path, bound: BoundImport, mistake: str) -> str:
    """The mistake `imports/NAME.yaml: FIELD.key: ...` with the line of the column that fills the field."""
    from ingest_pipelines.config.project import place_of

    said = mistake.partition(": ")[2]
    columns = [mapped.column for mapped in bound.fields if said.startswith(f"{mapped.name}.")]
    return f"{place_of(home, bound.name, ('columns', *columns[:1]))}: {said}"


def _only_rules_can_tell(field: Field) -> bool:
    """Config has judged the rest: the size of a pattern, numbers of a country, local times of a zone."""
    in_zone = field.type == "datetime" and (field.min is not None or field.max is not None)
    return bool(field.pattern or field.format or field.one_of or in_zone)


def _described(bound: BoundImport) -> dict[str, Any]:
    source = bound.spec.source
    return {
        "import": bound.name,
        "source": source.file or source.table or ("query" if source.query else "uploads"),
        "connection": bound.connection_name,
        "type": bound.connection.type,
        "mode": bound.spec.mode,
        "database": bound.database_name,
        "columns": len(bound.fields),
        "status": bound.spec.status,
    }


def _print_summary(project: Project, chosen: list[BoundImport]) -> None:
    counts = (
        screen.plural(len(chosen), "import"),
        screen.plural(len(project.connections), "connection"),
        screen.plural(len(project.databases), "database"),
    )
    screen.say(f"{screen.painted('ok', 'good')}: {', '.join(counts)} in {project.home}")
    screen.say()
    header = ("import", "mode", "columns", "to", "from")
    rows = [
        (
            each["import"], each["mode"], str(each["columns"]), each["database"],
            f"{each['connection']}: {each['source']}{'' if each['status'] == 'active' else ', ' + each['status']}",
        )
        for each in map(_described, chosen)
    ]  # fmt: skip
    for line in screen.columns(header, rows, right=[2]):
        screen.say(line)


def _rules(bound: BoundImport) -> list[dict[str, str]]:
    """The import's rules as its Pandera schema holds them."""
    from ingest_pipelines.rules import compile_rules

    return [{"field": field, "code": code, "rule": rule} for field, code, rule in compile_rules(bound).table()]


def _print_rules(bound: BoundImport) -> None:
    screen.say()
    screen.say(f"rules of {screen.painted(bound.name, 'strong')}")
    screen.say()
    rows = [(rule["field"], rule["code"], rule["rule"]) for rule in _rules(bound)]
    for line in screen.columns(("field", "code", "a row is rejected if"), rows):
        screen.say(line)


def test_connection(name: str, connection: Connection) -> dict[str, Any]:
    """What each step of the connection's test found, up to the first that failed."""
    from ingest_pipelines.config.connections import FILE_TYPES
    from ingest_pipelines.sources import open_files, open_query

    source = open_files(connection) if connection.type in FILE_TYPES else open_query(connection)
    with screen.progress(f"testing {name}"):
        steps = list(source.probe())
    return {
        "connection": name,
        "type": connection.type,
        "ok": all(step.ok for step in steps),
        "steps": [{"step": step.name, "ok": step.ok, "detail": step.detail, "hint": step.hint} for step in steps],
    }


def print_test(test: dict[str, Any]) -> None:
    """The steps of a connection's test."""
    screen.say()
    screen.say(f"{screen.painted(test['connection'], 'strong')} ({test['type']})")
    for step in test["steps"]:
        mark = screen.painted("ok    ", "good") if step["ok"] else screen.painted("failed", "bad")
        screen.say(f"  {mark}  {step['step']:<10}  {screen.wrapped(step['detail'], 22)}".rstrip())
        if step["hint"]:
            screen.say(f"{'':22}{screen.wrapped(step['hint'], 22)}")
