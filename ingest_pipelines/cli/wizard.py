"""`ingest new`: asks for connection, file or table, mapping and schedule; writes a draft import."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.actions.connecting import (
    settings_asked,
    wrong_connection_name,
    wrong_name,
    wrong_port,
    yaml_settings,
)
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.asking import ask_yes_or_no
from ingest_pipelines.errors import ConfigError, SourceUnavailable, UsageError

if TYPE_CHECKING:
    from ingest_pipelines.actions.draft import Draft
    from ingest_pipelines.cli.questions import Questions
    from ingest_pipelines.config import Project
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.detection import Reading


def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The new import's name.")] = "",
    connection: Annotated[str, typer.Option("--connection", metavar="C", help="Where the data comes from.")] = "",
    path: Annotated[str, typer.Option("--path", metavar="P", help="A file or table of the connection.")] = "",
    query: Annotated[str, typer.Option("--query", metavar="SELECT", help="An own SELECT, in place of --path.")] = "",
    database: Annotated[str, typer.Option("--database", metavar="D", help="A name in databases.yaml.")] = "",
    more: Annotated[
        bool, typer.Option("--more", help="Ask also about matching, consents, places, limits and times of day.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every suggestion; ask only what has none.")] = False,
) -> None:
    """Set up an import step by step: connection, test, file or table, columns, schedule. Writes a draft."""
    from ingest_pipelines.actions.checking import checked, write_drafts
    from ingest_pipelines.actions.draft import draft_yaml
    from ingest_pipelines.cli.preview import print_as_read
    from ingest_pipelines.cli.questions import Questions
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.config.nearest import nearest

    settings = read_settings()
    home = settings.home
    ask = Questions(yes)
    if name and (wrong := wrong_name(home, name)):
        raise UsageError(f"{wrong}; nothing was written", hint="choose another name, or edit that file")
    name = name or ask.text("name of the import", wrong=lambda answer: wrong_name(home, answer))
    project = read_project(home)
    if not project.databases:
        raise ConfigError(project.mistakes or ["databases.yaml: it names no database"], hint="fix it first")
    connection, drafts = _connection(home, project, connection, ask)
    project = read_project(home, drafts)
    chosen = project.connections[connection]
    if query and isinstance(chosen, FileConnection):
        raise UsageError(f"{connection} has files, not tables and queries", hint="name a file: --path")
    path = path or query or _path(connection, chosen, ask)
    if database and database not in project.databases:
        raise UsageError(f"there is no database '{database}'", hint=nearest(database, project.databases))
    names = sorted(project.databases)
    database = database or (names[0] if len(names) == 1 else ask.one_of("database", names))
    draft, reading = _draft(connection, project, path, database, ask, more=more)
    text = draft_yaml(name, draft)
    screen.say(f"\nimports/{name}.yaml")
    for line in text.splitlines():
        screen.say(f"  {line}")
    drafts[f"imports/{name}.yaml"] = text
    print_as_read(checked(settings, name, drafts, "nothing was written; answer otherwise: ingest new"), reading)
    if not ask.agreed("write it?"):
        screen.note("nothing was written")
        raise typer.Exit(1)
    screen.say()
    for file in write_drafts(home, drafts):
        screen.say(f"{screen.painted('written', 'good')}: {file}")
    screen.say(f"  ingest plan {name}        what a load would do")
    screen.say(f"  ingest activate {name}    let it run by itself")


def _connection(home: Path, project: Project, name: str, ask: Questions) -> tuple[str, dict[str, str]]:
    """The name of a connection that works, and the new text of connections.yaml if it was added; writes nothing."""
    from ingest_pipelines.actions.draft import with_connection
    from ingest_pipelines.config import read_project
    from ingest_pipelines.config.connections import TYPES
    from ingest_pipelines.config.nearest import closest

    wrong = partial(wrong_connection_name, project)
    if name and (mistake := wrong(name)):
        raise UsageError(mistake, hint="fix connections.yaml, or choose another connection")
    name = name or ask.one_of("connection (a new name adds one)", sorted(project.connections), other=wrong)
    close = closest(name, project.connections) if name not in project.connections else None
    if close is not None:
        question = f"there is no connection '{name}'; did you mean '{close}'?"
        name = close if ask_yes_or_no(question, default=True) else name
    if name in project.connections:
        _test(name, project.connections[name])
        return name, {}
    kind = ask.one_of("type of the new connection", list(TYPES), "sftp")
    asked = TYPES[kind].asked
    file = home / "connections.yaml"
    before = file.read_text(encoding="utf-8") if file.exists() else "connections:\n"
    answers: dict[str, str] = {}
    again = list(asked)
    while True:
        settings = _settings(kind, name, answers, again, ask)
        drafts = {"connections.yaml": with_connection(before, name, settings)}
        drafted = read_project(home, drafts)
        if name not in drafted.connections:
            own = [mistake for mistake in drafted.mistakes if f": connections.{name}" in mistake]
            for mistake in own or drafted.mistakes:
                screen.note(
                    f"  {screen.painted('no', 'bad')}: {mistake.partition(f'connections.{name}.')[2] or mistake}"
                )
            again = [key for key in asked if any(f"connections.{name}.{key}" in mistake for mistake in own)] or again
            continue
        try:
            _test(name, drafted.connections[name])
        except SourceUnavailable:
            if ask.yes or not ask_yes_or_no("answer the questions again?", default=True):
                raise
            again = list(asked)
            continue
        return name, drafts


def _settings(kind: str, name: str, answers: dict[str, str], again: Sequence[str], ask: Questions) -> dict[str, Any]:
    """The connection's YAML settings. Asks the questions in `again`, with the last answers as suggestions."""
    for key, (secret, default) in settings_asked(kind).items():
        if key in again:
            question = f"{key}: name of the environment variable that holds it" if secret else key
            suggestion = answers.get(key, f"{name}_{key}".upper() if secret else default)
            answers[key] = ask.text(question, suggestion, wrong=wrong_port if key == "port" else lambda _: None)
    return yaml_settings(kind, answers)


def _test(name: str, connection: Connection) -> None:
    """Tests the connection and prints the steps.

    Raises:
        SourceUnavailable: a step failed.
    """
    from ingest_pipelines.actions.checking import test_connection
    from ingest_pipelines.cli.checking import print_test

    with screen.progress(f"testing {name}"):
        test = test_connection(name, connection)
    print_test(test)
    screen.say()
    if not test["ok"]:
        raise SourceUnavailable(f"{name}: the connection test failed at the step shown above")


def _path(name: str, connection: Connection, ask: Questions) -> str:
    from ingest_pipelines.actions.browsing import list_files, list_tables
    from ingest_pipelines.config.connections import FileConnection

    if isinstance(connection, FileConnection):
        files = sorted(list_files(connection).files, key=lambda file: file.modified_at, reverse=True)
        offered, what = [file.path for file in files], "file"
    else:
        offered, what = list_tables(connection), "table"
    if not offered and what == "file":
        raise UsageError(f"{name} has no {what}s yet", hint=f"ingest browse {name}")
    if what == "file":
        return ask.one_of(what, offered)
    return ask.one_of(
        "table (or type a SELECT)", offered, other=lambda answer: None if is_select(answer) else _NO_TABLE
    )


_NO_TABLE = "it is none of the tables, and no SELECT"


def _draft(
    name: str, project: Project, path: str, database: str, ask: Questions, *, more: bool
) -> tuple[Draft, Reading]:
    """The answers.

    Args:
        path: of a file, a table's name, or an own SELECT.
        more: ask what most imports do not need, too.
    """
    from ingest_pipelines.actions.browsing import list_files, read_columns, read_own_query
    from ingest_pipelines.actions.draft import Draft, file_keys
    from ingest_pipelines.actions.form_rules import more_of, schedule_of
    from ingest_pipelines.actions.form_source import is_one_time, query_of
    from ingest_pipelines.actions.mapping import has_local_times, known_elsewhere
    from ingest_pipelines.actions.target import now
    from ingest_pipelines.cli.browsing import print_columns
    from ingest_pipelines.cli.deliveries import ask_for_keys, ask_for_parts, with_spellings
    from ingest_pipelines.cli.mapping import map_columns
    from ingest_pipelines.cli.more_questions import ask_for_limits, ask_for_more, ask_for_times, ask_how_it_is_read
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.config.file_format import written

    connection = project.connections[name]
    reads_files = isinstance(connection, FileConnection)
    others = (other.spec for other in project.imports.values() if other.database_name == database)
    mappings = (target for spec in others for target in spec.columns.values() if not isinstance(target, str))
    elsewhere = known_elsewhere(mappings)
    target = project.databases[database]
    files = list_files(connection).files if isinstance(connection, FileConnection) else ()
    delivered = {**ask_for_parts(path, files, ask), **({"decrypt": keys} if (keys := ask_for_keys(path, ask)) else {})}
    is_query = not reads_files and is_select(path)
    source: dict[str, Any] = query_of(ask_how_it_is_read(path, ask)) if is_query else {"table": path}
    if is_query:
        reading, path = read_own_query(connection, source, now()), "the query"
    else:
        reading = read_columns(connection, path, ask.choose, [*target.fields, *elsewhere], delivered.get("decrypt"))
    print_columns(path, reading, is_file=reads_files)
    screen.say()
    mode, marks, columns = map_columns(reading, target, elsewhere, ask)
    timezone = "UTC"
    if has_local_times(columns, reading):
        timezone = ask.text("time zone of the times that have none", "UTC", wrong=_wrong_time_zone)
    one_time = is_one_time(connection)
    every = "" if one_time else ask.text("run every (6h; empty: no schedule)", "", wrong=_wrong_interval)
    rejects = ask.text("rejected rows to allow", "0", wrong=_wrong_count)
    if isinstance(connection, FileConnection):
        source = {**({} if "parts" in delivered else file_keys(path, reading.declared.endings)), **delivered}
        columns = with_spellings(columns, path, source, reading, connection, files)
    rules, schedule = dict[str, object](), dict[str, object]()
    if more:
        columns = ask_for_limits(columns, elsewhere, ask)
        rules = more_of(ask_for_more(reading, target, ask))
        schedule = {} if one_time else schedule_of(ask_for_times(every, ask))
    draft = Draft(
        description=ask.text("description", f"{source.get('file', path)} from {name}"),
        database=database,
        source={"connection": name, **source, **({"member": reading.member} if reading.member else {})},
        mode=mode,
        set=marks,
        columns=columns,
        every=every or None,
        schedule=schedule,
        more=rules,
        max_rejects=int(rejects),
        timezone=timezone,
        format_line=written(reading.keys) if reading.keys else "",
    )
    return draft, reading


def is_select(text: str) -> bool:
    """Whether a person typed a query, not the name of a table."""
    return text.lstrip().partition(" ")[0].upper() in {"SELECT", "WITH"} or "\n" in text.strip()


def _wrong_interval(answer: str) -> str | None:
    from ingest_pipelines.config.mistakes import first_mistake
    from ingest_pipelines.config.schedule import Schedule

    return first_mistake(Schedule, {"every": answer or "1d"})


def _wrong_time_zone(answer: str) -> str | None:
    from zoneinfo import available_timezones

    from ingest_pipelines.config.nearest import nearest

    zones = available_timezones()
    return None if answer in zones else f"no such time zone; {nearest(answer, zones, shown=3)}"


def _wrong_count(answer: str) -> str | None:
    return None if answer.isdecimal() else "a whole number, 0 or more"
