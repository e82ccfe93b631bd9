"""`ingest new`: connection, test, browse, columns, mapping, schedule, summary; in the end a draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.draft import Draft, MappedColumn, draft_yaml, field_name, file_pattern, with_connection
from ingest_pipelines.errors import SourceUnavailable, UsageError, shown

if TYPE_CHECKING:
    from ingest_pipelines.config import Project
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.config.databases import Database
    from ingest_pipelines.config.imports import Column
    from ingest_pipelines.sources.browse import ColumnSample

CHOICES = 20
"""Files or tables that are offered by number; others are typed."""

_ASKED: Mapping[str, tuple[str, ...]] = {
    "csv": ("directory",),
    "sftp": ("host", "port", "username", "password", "host_key", "root"),
    "s3": ("bucket", "prefix", "region", "access_key_id", "secret_access_key"),
    "gcs": ("bucket", "prefix", "project", "credentials"),
    "snowflake": ("account", "user", "password", "role", "warehouse", "database", "schema"),
    **dict.fromkeys(
        ("postgresql", "mysql", "mssql", "oracle", "hive", "clickhouse"),
        ("host", "port", "database", "username", "password"),
    ),
}
"""What is asked for a new connection; everything else can be added to the YAML later."""


def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The new import's name.")] = "",
    connection: Annotated[str, typer.Option("--connection", metavar="C", help="Where the data comes from.")] = "",
    path: Annotated[str, typer.Option("--path", metavar="P", help="A file or a table there.")] = "",
    database: Annotated[str, typer.Option("--database", metavar="D", help="A name in databases.yaml.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every suggestion; ask only what has none.")] = False,
) -> None:
    """Set up an import step by step: connection, test, file or table, columns, schedule. Writes a draft."""
    from ingest_pipelines.config import read_project, read_settings

    home = read_settings().home
    ask = _Questions(yes)
    name = name or ask.text("name of the import")
    file = home / "imports" / f"{name}.yaml"
    if file.exists():
        raise UsageError(f"{file} exists already; nothing was written", hint="choose another name, or edit that file")
    project = read_project(home)
    project, connection = _connection(home, project, connection, ask)
    chosen = project.connections[connection]
    _test(connection, chosen)
    path = path or _path(connection, chosen, ask)
    database = database or ask.one_of("database", sorted(project.databases))
    if database not in project.databases:
        raise UsageError(f"there is no database '{database}'", hint=f"known are: {', '.join(project.databases)}")
    draft = _draft(connection, project, path, database, ask)
    text = draft_yaml(draft)
    screen.say(f"\nimports/{name}.yaml")
    for line in text.splitlines():
        screen.say(f"  {line}")
    if not ask.agreed("write it?"):
        screen.note("nothing was written")
        raise typer.Exit(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    read_project(home).require(name)
    screen.say(f"\n{screen.painted('written', 'good')}: {file}")
    screen.say(f"  ingest plan {name}        what a load would do")
    screen.say(f"  ingest activate {name}    let it run by itself")


class _Questions:
    """Asks, unless the person said yes to everything and there is something to say yes to."""

    def __init__(self, yes: bool) -> None:
        self._yes = yes

    def text(self, question: str, suggestion: str | None = None) -> str:
        """An answer; Enter takes the suggestion."""
        if self._yes and suggestion is not None:
            return suggestion
        answer: str = typer.prompt(question, default=suggestion, err=True, show_default=bool(suggestion))
        return answer.strip()

    def one_of(self, question: str, options: Sequence[str], suggestion: str | None = None) -> str:
        """One of the options, by number or by name; a name that is not among them is taken as typed."""
        if len(options) == 1 and self._yes:
            return options[0]
        for number, option in enumerate(options[:CHOICES], 1):
            screen.note(f"  {number:>3}  {shown(option)}")
        answer = self.text(question, suggestion or (options[0] if options else None))
        by_number = answer.isdecimal() and 1 <= int(answer) <= len(options)
        return options[int(answer) - 1] if by_number else answer

    def agreed(self, question: str) -> bool:
        """Whether the person agrees."""
        return self._yes or typer.confirm(f"\n{question}", default=True, err=True)


def _connection(home: Path, project: Project, name: str, ask: _Questions) -> tuple[Project, str]:
    """An existing connection, or a new one that is in connections.yaml now."""
    from ingest_pipelines.config import read_project

    name = name or ask.one_of("connection (a new name makes a new one)", sorted(project.connections))
    if name in project.connections:
        return project, name
    kind = ask.one_of("type of the new connection", list(_ASKED), "sftp")
    if kind not in _ASKED:
        raise UsageError(f"there is no connection type '{kind}'", hint=f"known are: {', '.join(_ASKED)}")
    settings: dict[str, Any] = {"type": kind}
    for key, (secret, suggestion) in _slots(kind).items():
        question = f"{key}: name of the environment variable that holds it" if secret else key
        answer = ask.text(question, f"{name}_{key}".upper() if secret else suggestion)
        if answer and answer != suggestion:
            settings[key] = (
                {"env": answer} if secret else int(answer) if key == "port" and answer.isdecimal() else answer
            )
    file = home / "connections.yaml"
    before = file.read_text(encoding="utf-8") if file.exists() else "connections:\n"
    file.write_text(with_connection(before, name, settings), encoding="utf-8")
    project = read_project(home)
    if name not in project.connections:
        file.write_text(before, encoding="utf-8")
        wrong = [mistake for mistake in project.mistakes if f".{name}" in mistake]
        raise UsageError("\n".join(["the connection is not complete; nothing was written", *wrong]))
    screen.say(f"{screen.painted('written', 'good')}: {name} in {file}")
    return project, name


def _slots(kind: str) -> dict[str, tuple[bool, str | None]]:
    """The keys to ask for: whether it is a secret, and what stands there without an answer."""
    from ingest_pipelines.config.base import Secret
    from ingest_pipelines.config.connections import Connections

    union = get_args(Connections.model_fields["connections"].annotation)[1]
    model = next(
        each for each in get_args(get_args(union)[0]) if kind in get_args(each.model_fields["type"].annotation)
    )
    slots: dict[str, tuple[bool, str | None]] = {}
    for key in _ASKED[kind]:
        info = model.model_fields.get(key) or model.model_fields[f"{key}_"]
        secret = Secret in get_args(info.annotation)
        slots[key] = (secret, None if info.is_required() else "" if info.default is None else str(info.default))
    return slots


def _test(name: str, connection: Connection) -> None:
    """The connection works.

    Raises:
        SourceUnavailable: it does not, at the step that is shown.
    """
    from ingest_pipelines.cli.checking import print_test, test_connection

    test = test_connection(name, connection)
    print_test(test)
    screen.say()
    if not test["ok"]:
        raise SourceUnavailable(f"{name}: the connection test failed at the step shown above")


def _path(name: str, connection: Connection, ask: _Questions) -> str:
    from ingest_pipelines.cli.browsing import list_files, list_tables
    from ingest_pipelines.config.connections import FILE_TYPES

    if connection.type in FILE_TYPES:
        files = sorted(list_files(connection).files, key=lambda file: file.modified_at, reverse=True)
        offered, what = [file.path for file in files], "file"
    else:
        offered, what = list_tables(connection), "table"
    if not offered:
        raise UsageError(f"{name} shows no {what}s yet", hint=f"ingest browse {name}")
    return ask.one_of(what, offered)


def _draft(name: str, project: Project, path: str, database: str, ask: _Questions) -> Draft:
    from ingest_pipelines.cli.browsing import print_columns, sample_columns
    from ingest_pipelines.config.connections import FILE_TYPES

    connection = project.connections[name]
    samples = sample_columns(connection, path)
    print_columns(path, samples)
    screen.say()
    elsewhere = {
        target.field: _rules(target)
        for other in project.imports.values()
        if other.database_name == database
        for target in other.spec.columns.values()
        if not isinstance(target, str)
    }
    columns = _mapping(samples, project.databases[database], elsewhere, ask)
    reads_files = connection.type in FILE_TYPES
    mode = ask.one_of("mode", ["add_and_update", "add_only", "update_only"])
    every = "" if connection.type == "csv" else ask.text("run every (6h, 12h, 24h; empty: no schedule)", "")
    return Draft(
        description=ask.text("description", f"{path} from {name}"),
        database=database,
        source={"connection": name, **({"file": file_pattern(path)} if reads_files else {"table": path})},
        mode=mode,
        columns=columns,
        every=every or None,
        max_rejects=int(ask.text("rejected rows above which nothing is merged", "0")),
    )


def _mapping(
    samples: Sequence[ColumnSample], target: Database, elsewhere: Mapping[str, Mapping[str, object]], ask: _Questions
) -> list[MappedColumn]:
    """One column for the key, then a field for each other column, up to the database's limit per import.

    Args:
        elsewhere: fields that other imports made, and their rules: a field's type is the same everywhere.
    """
    names = [sample.column for sample in samples]
    guess = next((name for name in names if field_name(name) == target.key), names[0])
    key = ask.one_of(f"the column with {target.key}", names, guess)
    if key not in names:
        raise UsageError(f"there is no column '{shown(key)}'", hint=f"it has: {', '.join(map(shown, names))}")
    mapped = [MappedColumn(key, target.key)]
    for sample in samples:
        if sample.column == key:
            continue
        if len(mapped) > target.max_fields_per_import:
            screen.note(f"  {target.max_fields_per_import} fields are mapped, as many as an import may have")
            break
        taken = {each.field for each in mapped} | set(target.reserved)
        field = ask.text(f"{shown(sample.column)} fills field (- skips it)", field_name(sample.column, taken))
        if field == "-":
            continue
        rules = {} if field in target.fields else elsewhere.get(field)
        if rules is None:
            rules = {"type": ask.text(f"  {field} is new; its type", sample.suggested)}
        mapped.append(MappedColumn(sample.column, field, rules))
    return mapped


def _rules(column: Column) -> dict[str, object]:
    """What the column's YAML says about its field, the type first."""
    given = {key: getattr(column, key) for key in type(column).model_fields if key in column.model_fields_set}
    given = {key: value for key, value in given.items() if key not in {"field", "type", "precision", "scale"}}
    return {"type": column.type_name, **given}
