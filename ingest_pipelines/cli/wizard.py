"""`ingest new`: asks for connection, file or table, mapping and schedule; writes a draft import."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.draft import Draft, MappedColumn, draft_yaml, field_name, file_pattern, with_connection
from ingest_pipelines.errors import ConfigError, SourceUnavailable, UsageError, printable

if TYPE_CHECKING:
    from ingest_pipelines.config import Project
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.config.databases import Database
    from ingest_pipelines.config.imports import ColumnMapping
    from ingest_pipelines.sources.browse import ColumnSample

CHOICES = 20
"""How many files or tables are offered by number; the others are typed."""


def new(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The new import's name.")] = "",
    connection: Annotated[str, typer.Option("--connection", metavar="C", help="Where the data comes from.")] = "",
    path: Annotated[str, typer.Option("--path", metavar="P", help="A file or table of the connection.")] = "",
    database: Annotated[str, typer.Option("--database", metavar="D", help="A name in databases.yaml.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every suggestion; ask only what has none.")] = False,
) -> None:
    """Set up an import step by step: connection, test, file or table, columns, schedule. Writes a draft."""
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.config.nearest import nearest

    home = read_settings().home
    ask = Questions(yes)
    if name and (wrong := _wrong_name(home, name)):
        raise UsageError(f"{wrong}; nothing was written", hint="choose another name, or edit that file")
    name = name or ask.text("name of the import", wrong=lambda answer: _wrong_name(home, answer))
    project = read_project(home)
    if not project.databases:
        raise ConfigError(project.mistakes or ["databases.yaml: it names no database"], hint="fix it first")
    connection, drafts = _connection(home, project, connection, ask)
    project = read_project(home, drafts)
    chosen = project.connections[connection]
    path = path or _path(connection, chosen, ask)
    if database and database not in project.databases:
        raise UsageError(f"there is no database '{database}'", hint=nearest(database, project.databases))
    names = sorted(project.databases)
    database = database or (names[0] if len(names) == 1 else ask.one_of("database", names))
    text = draft_yaml(name, _draft(connection, project, path, database, ask))
    screen.say(f"\nimports/{name}.yaml")
    for line in text.splitlines():
        screen.say(f"  {line}")
    drafts[f"imports/{name}.yaml"] = text
    drafted = read_project(home, drafts)  # nothing is written that `ingest check` refuses
    drafted.require(name)
    if name in drafted.conflicts:
        raise ConfigError(drafted.conflicts[name])
    if not ask.agreed("write it?"):
        screen.note("nothing was written")
        raise typer.Exit(1)
    screen.say()
    for relative, content in drafts.items():
        file = home / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        screen.say(f"{screen.painted('written', 'good')}: {file}")
    screen.say(f"  ingest plan {name}        what a load would do")
    screen.say(f"  ingest activate {name}    let it run by itself")


def _wrong_name(home: Path, name: str) -> str | None:
    from ingest_pipelines.config.base import NAME_PATTERN

    if re.fullmatch(NAME_PATTERN, name) is None:
        return "a name is a letter, then letters, digits and _, at most 63 characters"
    existing = [file for file in (home / "imports").glob("*") if file.stem.lower() == name.lower()]
    return f"{existing[0]} exists already" if existing else None


_UNANSWERED = "this needs an answer; Ctrl-C leaves, and nothing is written"

Wrong = Callable[[str], str | None]
"""Says what is wrong with an answer; None: nothing."""


class Questions:
    """Asks questions; with `--yes` it takes the suggestion if there is one.

    After a wrong answer it asks the same question again; earlier answers are kept.
    """

    def __init__(self, yes: bool) -> None:
        self.yes = yes

    def text(self, question: str, suggestion: str | None = None, *, wrong: Wrong = lambda _: None) -> str:
        """A valid answer; Enter takes the suggestion."""
        if self.yes and suggestion is not None and wrong(suggestion) is None:
            return suggestion
        while True:
            typed: str = typer.prompt(question, default=suggestion or "", err=True, show_default=bool(suggestion))
            answer = typed.strip()
            mistake = wrong(answer) if answer or suggestion is not None else _UNANSWERED
            if mistake is None:
                return answer
            screen.note(f"  {screen.painted('no', 'bad')}: {screen.wrapped(mistake, 6)}")

    def one_of(
        self, question: str, options: Sequence[str], suggestion: str | None = None, *, other: Wrong | None = None
    ) -> str:
        """One of the options, by number or by name.

        Args:
            suggestion: what Enter takes; None: the first option; empty: nothing.
            other: checks an answer that is not one of the options; without it, such an answer is refused.
        """
        from ingest_pipelines.config.nearest import nearest

        if len(options) == 1 and self.yes:
            return options[0]
        for number, option in enumerate(options[:CHOICES], 1):
            screen.note(f"  {number:>3}  {printable(option)}")

        def meant(answer: str) -> str:
            by_number = answer.isdecimal() and answer not in options and 1 <= int(answer) <= len(options)
            return options[int(answer) - 1] if by_number else answer

        def wrong(answer: str) -> str | None:
            if meant(answer) in options:
                return None
            return other(answer) if other else f"'{printable(answer)}' is not one of them; {nearest(answer, options)}"

        default = suggestion if suggestion is not None else next(iter(options), "")
        return meant(self.text(question, default or None, wrong=wrong))

    def agreed(self, question: str) -> bool:
        """Whether the person agrees."""
        return self.yes or typer.confirm(f"\n{question}", default=True, err=True)


def _connection(home: Path, project: Project, name: str, ask: Questions) -> tuple[str, dict[str, str]]:
    """The name of a connection that works, and the new text of connections.yaml if it was added; writes nothing."""
    from ingest_pipelines.config import read_project
    from ingest_pipelines.config.base import NAME_PATTERN
    from ingest_pipelines.config.connections import TYPES
    from ingest_pipelines.config.nearest import closest

    def wrong(answer: str) -> str | None:
        if re.fullmatch(NAME_PATTERN, answer) is None:
            return "a name is a letter, then letters, digits and _, at most 63 characters"
        mistakes = [mistake for mistake in project.mistakes if f": connections.{answer}" in mistake]
        return "; ".join(mistakes) or None

    if name and (mistake := wrong(name)):
        raise UsageError(mistake, hint="fix connections.yaml, or choose another connection")
    name = name or ask.one_of("connection (a new name adds one)", sorted(project.connections), other=wrong)
    close = closest(name, project.connections) if name not in project.connections else None
    if close is not None:
        question = f"there is no connection '{name}'; did you mean '{close}'?"
        name = close if typer.confirm(question, default=True, err=True) else name
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
            if ask.yes or not typer.confirm("answer the questions again?", default=True, err=True):
                raise
            again = list(asked)
            continue
        return name, drafts


def _settings(kind: str, name: str, answers: dict[str, str], again: Sequence[str], ask: Questions) -> dict[str, Any]:
    """The connection's YAML settings. Asks the questions in `again`, with the last answers as suggestions."""
    settings: dict[str, Any] = {"type": kind}
    for key, (secret, default) in _slots(kind).items():
        if key in again:
            question = f"{key}: name of the environment variable that holds it" if secret else key
            suggestion = answers.get(key, f"{name}_{key}".upper() if secret else default)
            answers[key] = ask.text(question, suggestion, wrong=_wrong_port if key == "port" else lambda _: None)
        answer = answers[key]
        if answer and answer != default:
            settings[key] = {"env": answer} if secret else int(answer) if key == "port" else answer
    return settings


def _wrong_port(answer: str) -> str | None:
    return None if answer.isdecimal() and 0 < int(answer) < 65_536 else "a port is a number from 1 to 65535"


def _slots(kind: str) -> dict[str, tuple[bool, str | None]]:
    """The keys to ask for: whether each is a secret, and its default."""
    from ingest_pipelines.config.base import Secret
    from ingest_pipelines.config.connections import TYPES

    model = TYPES[kind]
    slots: dict[str, tuple[bool, str | None]] = {}
    for key in model.asked:
        info = model.model_fields.get(key) or model.model_fields[f"{key}_"]
        secret = Secret in get_args(info.annotation)
        slots[key] = (secret, None if info.is_required() else "" if info.default is None else str(info.default))
    return slots


def _test(name: str, connection: Connection) -> None:
    """Tests the connection and prints the steps.

    Raises:
        SourceUnavailable: a step failed.
    """
    from ingest_pipelines.cli.checking import print_test, test_connection

    test = test_connection(name, connection)
    print_test(test)
    screen.say()
    if not test["ok"]:
        raise SourceUnavailable(f"{name}: the connection test failed at the step shown above")


def _path(name: str, connection: Connection, ask: Questions) -> str:
    from ingest_pipelines.cli.browsing import list_files, list_tables
    from ingest_pipelines.config.connections import FileConnection

    if isinstance(connection, FileConnection):
        files = sorted(list_files(connection).files, key=lambda file: file.modified_at, reverse=True)
        offered, what = [file.path for file in files], "file"
    else:
        offered, what = list_tables(connection), "table"
    if not offered:
        raise UsageError(f"{name} has no {what}s yet", hint=f"ingest browse {name}")
    return ask.one_of(what, offered)


def _draft(name: str, project: Project, path: str, database: str, ask: Questions) -> Draft:
    from ingest_pipelines.cli.browsing import print_columns, sample_columns
    from ingest_pipelines.config.connections import FileConnection

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
    reads_files = isinstance(connection, FileConnection)
    mode = ask.one_of("mode", ["add_and_update", "add_only", "update_only"])
    is_one_time = isinstance(connection, FileConnection) and connection.one_time
    every = "" if is_one_time else ask.text("run every (6h; empty: no schedule)", "", wrong=_wrong_interval)
    rejects = ask.text("rejected rows to allow", "0", wrong=_wrong_count)
    return Draft(
        description=ask.text("description", f"{file_pattern(path) if reads_files else path} from {name}"),
        database=database,
        source={"connection": name, **({"file": file_pattern(path)} if reads_files else {"table": path})},
        mode=mode,
        columns=columns,
        every=every or None,
        max_rejects=int(rejects),
    )


def _wrong_interval(answer: str) -> str | None:
    from pydantic import ValidationError

    from ingest_pipelines.config.schedule import Schedule

    try:
        Schedule.model_validate({"every": answer or "1d"})
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return None


def _wrong_count(answer: str) -> str | None:
    return None if answer.isdecimal() else "a whole number, 0 or more"


def _mapping(
    samples: Sequence[ColumnSample], target: Database, elsewhere: Mapping[str, Mapping[str, object]], ask: Questions
) -> list[MappedColumn]:
    """One column for the key, then a field for each other column, up to the database's limit per import.

    Args:
        elsewhere: fields of other imports and their rules: a field has the same type everywhere.
    """
    names = [sample.column for sample in samples]
    key = ask.one_of(f"the column with {target.key}", names, key_column(names, target))
    mapped = [MappedColumn(key, target.key)]
    for sample in samples:
        if sample.column == key:
            continue
        if len(mapped) > target.max_fields_per_import:
            screen.note(f"  {target.max_fields_per_import} fields are mapped; an import cannot have more")
            break
        taken = {column.field for column in mapped} | set(target.reserved)
        field = ask.text(
            f"{printable(sample.column)} fills field (- skips it)",
            field_name(sample.column, taken),
            wrong=partial(_wrong_field, taken=taken),
        )
        if field == "-":
            continue
        rules = {} if field in target.fields else elsewhere.get(field)
        mapped.append(MappedColumn(sample.column, field, _new_field(field, sample, ask) if rules is None else rules))
    return mapped


def key_column(names: Sequence[str], target: Database) -> str:
    """The column to suggest for the key; empty if unclear: a wrong suggestion would be worse than none."""
    *first, last = target.key.split("_")
    short = "".join(word[0] for word in first) + last  # `cid` of customer_id
    exact = [name for name in names if field_name(name) in {target.key, short}]
    words = ("id", "key", "number", "no", "code")
    likely = [
        name for name in names if field_name(name) not in target.fields and field_name(name).split("_")[-1] in words
    ]
    return next(iter([*exact, *likely]), "")


def _wrong_field(answer: str, taken: Collection[str]) -> str | None:
    from ingest_pipelines.config.base import NAME_PATTERN

    if answer == "-":
        return None
    if re.fullmatch(NAME_PATTERN, answer) is None:
        return "a field's name is a letter, then letters, digits and _, at most 63 characters"
    return f"'{answer}' is taken; choose another, or - to skip the column" if answer in taken else None


def _new_field(field: str, sample: ColumnSample, ask: Questions) -> dict[str, object]:
    """The rules of a new field: its type, and the options of an enum."""
    kind = ask.text(f"  {field} is new; its type", sample.suggested, wrong=_wrong_type)
    if kind != "enum":
        return {"type": kind}
    options = ask.text(f"  options of {field}, separated by commas", wrong=_wrong_options)
    return {"type": kind, "options": [option.strip() for option in options.split(",")]}


def _wrong_type(answer: str) -> str | None:
    from ingest_pipelines.config.field_types import FIELD_TYPES, type_elsewhere
    from ingest_pipelines.config.nearest import nearest

    types = [kind for kind in FIELD_TYPES if kind != "decimal"]
    decimal = re.fullmatch(r"decimal\((\d{1,2}), ?(\d{1,2})\)", answer)
    if answer in types or (decimal and 1 <= int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1])):
        return None
    ours = type_elsewhere(answer)
    meant = f"did you mean '{ours}'?" if ours else nearest(answer, [*types, "decimal(12,2)"], shown=None)
    return f"'{printable(answer, 40)}' is not a type; {meant}"


def _wrong_options(answer: str) -> str | None:
    options = [option.strip() for option in answer.split(",")]
    if "" in options or len(set(options)) < len(options):
        return "name each option once, separated by commas: Bronze, Silver, Gold"
    return (
        "an option must not consist of digits only: it would be read as an index"
        if any(map(str.isdecimal, options))
        else None
    )


def _rules(column: ColumnMapping) -> dict[str, object]:
    """The rules of the column's field as in its YAML, the type first."""
    settings = {key: getattr(column, key) for key in type(column).model_fields if key in column.model_fields_set}
    rules = {key: value for key, value in settings.items() if key not in {"field", "type", "precision", "scale"}}
    return {"type": column.type_name, **rules}
