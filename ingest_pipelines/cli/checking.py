"""`ingest check` and `ingest schema`: validate the project before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.actions.checking import (
    SchemaName,
    json_schemas,
    mistakes_of,
    read_queries,
    rules_of,
    test_connection,
)
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json, import_names
from ingest_pipelines.errors import ConfigError, SourceUnavailable, TargetDenied, TargetRefused, TargetUnavailable

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.merge import TableOrder

NAMED = 8
"""How many imports that a mistake stops are named; more would bury the mistake."""


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
    notes = read_queries(project, [bound.name for bound in chosen])[1]
    used = {bound.connection_name: bound.connection for bound in chosen} if connect else {}
    tests = []
    for connection_name, connection in used.items():
        with screen.progress(f"testing {connection_name}"):
            tests.append(test_connection(connection_name, connection))
    refusals, orders = _test_tables(settings, chosen) if connect and not live.unknown else ({}, {})
    if json:
        screen.as_json(
            {
                "home": project.home,
                "imports": [_described(bound) for bound in chosen],
                "notes": notes,
                "ledger": live.unknown or "ok",
                **({"rules": {bound.name: rules_of(bound) for bound in chosen}} if rules else {}),
                **({"cleaning": {bound.name: _cleaning(bound) for bound in chosen}} if rules else {}),
                **({"formats": {bound.name: _format(bound) for bound in chosen if bound.reads_files}} if rules else {}),
                **({"connections": tests} if connect else {}),
                **(
                    {"tables": [_table_json(bound, refusals, orders) for bound in chosen if not live.unknown]}
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
            _print_tables(chosen, refusals, orders)
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


def _stopped(project: Project) -> list[str]:
    """One line that names the imports which a mistake in another file stops; empty: there are none."""
    stopped = [name for name, error in project.broken.items() if not set(error.mistakes) & set(project.mistakes)]
    named = ", ".join(stopped[:NAMED]) + (f" and {len(stopped) - NAMED:,} more" if len(stopped) > NAMED else "")
    return [f"  {screen.plural(len(stopped), 'import')} cannot run until this is fixed: {named}"] if stopped else []


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


def _test_tables(
    settings: Settings, chosen: list[BoundImport]
) -> tuple[dict[str, TargetRefused], dict[str, TableOrder]]:
    """Why the tables of imports cannot take their rows, by import: the error that a load would raise.

    And in which order the rows of each table lie, by the table's name.

    Raises:
        TargetUnavailable, TargetDenied: the target could not be reached, or refused the login.
    """
    from ingest_pipelines.merge import Target, probe, read_table_order
    from ingest_pipelines.orchestration.site import target_url

    refusals: dict[str, TargetRefused] = {}
    orders: dict[str, TableOrder] = {}
    if settings.database_url is None and not (settings.state / "postgres" / "data").exists():
        return refusals, orders
    target = Target(target_url(settings))
    with screen.progress("testing tables"):
        for bound in chosen:
            try:
                probe(target, bound)
                if bound.database.table not in orders and (order := read_table_order(target, bound)) is not None:
                    orders[bound.database.table] = order
            except TargetDenied:
                raise
            except TargetRefused as error:
                refusals[bound.name] = error
    return refusals, orders


def _table_json(
    bound: BoundImport, refusals: dict[str, TargetRefused], orders: dict[str, TableOrder]
) -> dict[str, Any]:
    refusal, order = refusals.get(bound.name), orders.get(bound.database.table)
    return {
        "import": bound.name, "table": bound.database.table, "ok": refusal is None,
        "error": None if refusal is None else refusal.message, "hint": None if refusal is None else refusal.hint,
        "correlation": None if order is None else order.correlation, "order": order.advice if order else "",
    }  # fmt: skip


def _print_tables(chosen: list[BoundImport], refusals: dict[str, TargetRefused], orders: dict[str, TableOrder]) -> None:
    screen.say()
    screen.say(f"{screen.painted('tables', 'strong')} (target)")
    for bound in chosen:
        mark = screen.painted("failed", "bad") if bound.name in refusals else screen.painted("ok    ", "good")
        screen.say(f"  {mark}  {bound.database.table}, for {bound.name}")
    for order in orders.values():
        if order.advice:
            screen.say()
            screen.say(f"note: {screen.wrapped(order.advice, 6)}")


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
    rows = [(rule["field"], rule["code"], rule["rule"]) for rule in rules_of(bound)]
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


def print_test(test: dict[str, Any]) -> None:
    """Prints the steps of a connection's test."""
    screen.say()
    screen.say(f"{screen.painted(test['connection'], 'strong')} ({test['type']})")
    for step in test["steps"]:
        mark = screen.painted("ok    ", "good") if step["ok"] else screen.painted("failed", "bad")
        screen.say(f"  {mark}  {step['step']:<10}  {screen.wrapped(step['detail'], 22)}".rstrip())
        if step["hint"]:
            screen.say(f"{'':22}{screen.wrapped(step['hint'], 22)}")
