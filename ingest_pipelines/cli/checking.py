"""`ingest check` and `ingest schema`: validate the project before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json, import_names
from ingest_pipelines.errors import ConfigError, SourceUnavailable, TargetDenied, TargetRefused, TargetUnavailable

if TYPE_CHECKING:
    from ingest_pipelines.actions.target import Live
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.config.databases import Field

NAMED = 8
"""How many imports that a mistake stops are named; more would bury the mistake."""

SchemaName = Literal["connections", "databases", "import", "notify"]


def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Check only this import; default: all.", autocompletion=import_names),
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also test every connection, step by step, and every target table.")
    ] = False,
    rules: Annotated[bool, typer.Option("--rules", help="Print every rule that rows are validated against.")] = False,
    json: Json = False,
) -> None:
    """Check the YAML files. Reports all mistakes at once, each with its file, line and key."""
    from ingest_pipelines.actions.target import live_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    live = live_of(settings)
    project = read_project(settings.home, registered=live.types)
    if name is not None and name not in project.broken:
        project.require(name)
    mistakes = mistakes_of(project, name, live)
    if mistakes:
        raise _mistakes_error(project, name, mistakes)
    chosen = [project.imports[name]] if name is not None else list(project.imports.values())
    notes = _read_queries(project, [bound.name for bound in chosen])[1]
    used = {bound.connection_name: bound.connection for bound in chosen} if connect else {}
    tests = [test_connection(connection_name, connection) for connection_name, connection in used.items()]
    refusals = _test_tables(settings, chosen) if connect and not live.unknown else {}
    if json:
        screen.as_json(
            {
                "home": project.home,
                "imports": [_described(bound) for bound in chosen],
                "notes": notes,
                "ledger": live.unknown or "ok",
                **({"rules": {bound.name: _rules(bound) for bound in chosen}} if rules else {}),
                **({"cleaning": {bound.name: _cleaning(bound) for bound in chosen}} if rules else {}),
                **({"formats": {bound.name: _format(bound) for bound in chosen if bound.reads_files}} if rules else {}),
                **({"connections": tests} if connect else {}),
                **(
                    {"tables": [_table_json(bound, refusals) for bound in chosen if not live.unknown]}
                    if connect
                    else {}
                ),
            }
        )
    else:
        _print_summary(project, chosen)
        not_compared = f"the YAML was not compared with what imports have loaded: {live.unknown}"
        for note in [*notes, *([not_compared] if live.unknown else [])]:
            screen.say()
            screen.say(f"note: {screen.wrapped(note, 6)}")
        for bound in chosen if rules else []:
            _print_rules(bound)
        for test in tests:
            print_test(test)
        if connect and not live.unknown:
            _print_tables(chosen, refusals)
    failed = [test["connection"] for test in tests if not test["ok"]]
    if failed:
        raise SourceUnavailable(f"{', '.join(failed)}: the connection test failed at the step shown above")
    if connect and live.unknown:
        raise TargetUnavailable(live.unknown, hint="check INGEST_DATABASE_URL; no table was tested")
    if refusals:
        raise TargetRefused(
            "\n".join(error.message for error in refusals.values()),
            hint="\n  ".join(dict.fromkeys(error.hint for error in refusals.values())),
        )


def schema(
    name: Annotated[
        SchemaName | None,
        typer.Argument(metavar="[connections|databases|import|notify]", help="Which schema; default: all."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write DIR/NAME.json files instead of stdout.")
    ] = None,
) -> None:
    """Print the JSON Schemas of the YAML files. Editors use them to complete and check."""
    schemas = json_schemas()
    if name is not None:
        schemas = {name: schemas[name]}
    if output is None:
        screen.as_json(schemas[name] if name is not None else schemas)
        return
    import json

    output.mkdir(parents=True, exist_ok=True)
    for kind, content in schemas.items():
        (output / f"{kind}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        screen.say(f"wrote {output / kind}.json")


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


def _stopped(project: Project) -> list[str]:
    """One line that names the imports which a mistake in another file stops; empty: there are none."""
    stopped = [name for name, error in project.broken.items() if not set(error.mistakes) & set(project.mistakes)]
    named = ", ".join(stopped[:NAMED]) + (f" and {len(stopped) - NAMED:,} more" if len(stopped) > NAMED else "")
    return [f"  {screen.plural(len(stopped), 'import')} cannot run until this is fixed: {named}"] if stopped else []


def mistakes_of(project: Project, name: str | None, live: Live) -> list[str]:
    """Every mistake of the project or of one import: in YAML, queries, rules, and against the ledger."""
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
    rules = _compile_own_rules(project, [bound for bound in readable if bound.name in project.imports])
    return list(dict.fromkeys([*own, *locked, *rules, *_read_queries(project, names)[0]]))


def _place(mistake: str) -> str:
    """`FILE:LINE: columns.COLUMN: ` of a mistake. Of two mistakes in one place only the lock's is reported."""
    return ": ".join(mistake.split(": ", 2)[:2]) + ": "


def _mistakes_error(project: Project, name: str | None, mistakes: list[str]) -> ConfigError:
    if name is not None:
        return ConfigError(mistakes, hint=f"fix it, then run: ingest check {name}")
    count = screen.plural(len(mistakes), "mistake")
    wrong = {mistake.partition(":")[0].removeprefix("imports/").rpartition(".")[0] for mistake in mistakes}
    valid = len(project.imports.keys() - wrong)
    return ConfigError(
        [f"{count} in {project.home}", *(f"  {mistake}" for mistake in mistakes), *_stopped(project)],
        hint=f"{screen.plural(valid, 'import')} without mistakes can run"
        if valid
        else "fix them, then run: ingest check",
    )


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


def _read_queries(project: Project, chosen: list[str]) -> tuple[list[str], list[str]]:
    """Mistakes: queries that are not one SELECT, or whose chunks could lose rows. Notes: what the parser cannot read.

    The parser is imported only if there are queries.
    """
    queried = {name: project.queries[name] for name in chosen if name in project.queries}
    if not queried:
        return [], []
    from ingest_pipelines.config.project import place_of
    from ingest_pipelines.sources.request import query_mistakes, query_note

    places = {name: place_of(project.home, name, ("source", "query")) for name in queried}
    mistakes = [f"{places[name]}: {each}" for name, query in queried.items() for each in query_mistakes(*query)]
    notes = [] if mistakes else [(name, query_note(*query)) for name, query in queried.items()]
    return mistakes, [f"{places[name]}: {note}" for name, note in notes if note is not None]


def _test_tables(settings: Settings, chosen: list[BoundImport]) -> dict[str, TargetRefused]:
    """Why the tables of imports cannot take their rows, by import: the error that a load would raise.

    Raises:
        TargetUnavailable, TargetDenied: the target could not be reached, or refused the login.
    """
    from ingest_pipelines.merge import Target, probe
    from ingest_pipelines.orchestration.site import target_url

    if settings.database_url is None and not (settings.state / "postgres" / "data").exists():
        return {}
    target, refusals = Target(target_url(settings)), {}
    with screen.progress("testing tables"):
        for bound in chosen:
            try:
                probe(target, bound)
            except TargetDenied:
                raise
            except TargetRefused as error:
                refusals[bound.name] = error
    return refusals


def _table_json(bound: BoundImport, refusals: dict[str, TargetRefused]) -> dict[str, Any]:
    refusal = refusals.get(bound.name)
    return {
        "import": bound.name, "table": bound.database.table, "ok": refusal is None,
        "error": None if refusal is None else refusal.message, "hint": None if refusal is None else refusal.hint,
    }  # fmt: skip


def _print_tables(chosen: list[BoundImport], refusals: dict[str, TargetRefused]) -> None:
    screen.say()
    screen.say(f"{screen.painted('tables', 'strong')} (target)")
    for bound in chosen:
        mark = screen.painted("failed", "bad") if bound.name in refusals else screen.painted("ok    ", "good")
        screen.say(f"  {mark}  {bound.database.table}, for {bound.name}")


def _compile_own_rules(project: Project, chosen: list[BoundImport]) -> list[str]:
    """Mistakes that only the rules engine can find. It is slow to import, so only fields that need it are compiled."""
    mistakes: list[str] = []
    for bound in chosen:
        if any(_only_rules_can_tell(mapped.field) for mapped in bound.fields):
            try:
                _rules(bound)
            except ConfigError as error:
                mistakes += [_placed(project.home, bound, mistake) for mistake in error.mistakes]
    return mistakes


def _placed(home: Path, bound: BoundImport, mistake: str) -> str:
    """The mistake `imports/NAME.yaml: FIELD.key: ...` with the line of the column that fills the field."""
    from ingest_pipelines.config.project import place_of

    text = mistake.partition(": ")[2]
    columns = [mapped.column for mapped in bound.fields if text.startswith(f"{mapped.name}.")]
    return f"{place_of(home, bound.name, ('columns', *columns[:1]))}: {text}"


def _only_rules_can_tell(field: Field) -> bool:
    """Whether the field has a rule that config cannot check: config has checked all others."""
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
            facts["import"], facts["mode"], str(facts["columns"]), facts["database"],
            f"{facts['connection']}: {facts['source']}{'' if facts['status'] == 'active' else ', ' + facts['status']}",
        )
        for facts in map(_described, chosen)
    ]  # fmt: skip
    for line in screen.columns(header, rows, right=[2]):
        screen.say(line)


def _rules(bound: BoundImport) -> list[dict[str, str]]:
    """The import's rules, from its Pandera schema; and that of the table."""
    from ingest_pipelines.rules import compile_rules
    from ingest_pipelines.rules.codes import CODES

    of_table = ("", "refused_by_table", CODES["refused_by_table"][1])
    rules = (*compile_rules(bound).table(), of_table)
    return [{"field": field, "code": code, "rule": rule} for field, code, rule in rules]


def _format(bound: BoundImport) -> dict[str, str]:
    """How the import's files are written: every key of `source.format` with its value as YAML."""
    from ingest_pipelines.config.file_format import key_table

    return dict(key_table(bound.spec.source.format))


def _print_rules(bound: BoundImport) -> None:
    if bound.reads_files:
        screen.say()
        screen.say(f"format of the files of {screen.painted(bound.name, 'strong')}")
        screen.say()
        declared = bound.spec.source.format.given
        rows = [(key, value, "declared" if key in declared else "") for key, value in _format(bound).items()]
        for line in screen.columns(("key", "value", ""), rows):
            screen.say(line.rstrip())
    screen.say()
    screen.say(f"rules of {screen.painted(bound.name, 'strong')}")
    screen.say()
    rows = [(rule["field"], rule["code"], rule["rule"]) for rule in _rules(bound)]
    for line in screen.columns(("field", "code", "a row is rejected if"), rows):
        screen.say(line)
    spec = bound.spec
    if spec.lists_keys or spec.snapshot:
        screen.say()
        verb = "mark" if spec.set else "delete"
        screen.say(f"one load may {verb} at most {spec.deletes.max_percent:g} % of {bound.database.table}")
    if cleaning := _cleaning(bound):
        screen.say()
        cells = [(one["field"], one["word"], f"{one['does']}: {one['before']} -> {one['after']}") for one in cleaning]
        for line in screen.columns(("field", "cleaned by", "before the rules"), cells):
            screen.say(line)


def _cleaning(bound: BoundImport) -> list[dict[str, str]]:
    """What each column's cells go through before they are validated, with an example."""
    from ingest_pipelines.config.cleaning import CLEANING

    return [
        {"field": mapped.name, "word": word, **dict(zip(("does", "before", "after"), CLEANING[word], strict=True))}
        for mapped in bound.fields
        for word in mapped.cleaning.words
    ]


def test_connection(name: str, connection: Connection) -> dict[str, Any]:
    """The result of each step of the connection's test, up to the first that fails."""
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.sources import open_files, open_query

    source = open_files(connection) if isinstance(connection, FileConnection) else open_query(connection)
    with screen.progress(f"testing {name}"):
        steps = list(source.probe())
    return {
        "connection": name,
        "type": connection.type,
        "ok": all(step.ok for step in steps),
        "steps": [{"step": step.name, "ok": step.ok, "detail": step.detail, "hint": step.hint} for step in steps],
    }


def print_test(test: dict[str, Any]) -> None:
    """Prints the steps of a connection's test."""
    screen.say()
    screen.say(f"{screen.painted(test['connection'], 'strong')} ({test['type']})")
    for step in test["steps"]:
        mark = screen.painted("ok    ", "good") if step["ok"] else screen.painted("failed", "bad")
        screen.say(f"  {mark}  {step['step']:<10}  {screen.wrapped(step['detail'], 22)}".rstrip())
        if step["hint"]:
            screen.say(f"{'':22}{screen.wrapped(step['hint'], 22)}")
