"""A new import as a form fills it: the YAML that would be written, and its mistakes in their places."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from ingest_pipelines.actions.draft import Draft, MappedColumn, draft_yaml, file_keys
from ingest_pipelines.actions.form_columns import Answers, Column, columns_of, elsewhere_in
from ingest_pipelines.actions.mapping import has_local_times
from ingest_pipelines.config.file_format import written
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.model import Mode

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.detection import Option, Reading

MODES: Mapping[str, str] = {
    "add_and_update": "new customers are added, known ones are updated",
    "add_only": "new customers are added, known ones stay as they are",
    "update_only": "known customers are updated, no one is added",
    "delete": "the customers of the list are deleted",
    "deactivate": "the customers of the list are marked",
}
"""Each mode in words."""

MATCH_WAYS: Mapping[str, str] = {
    "": "its key", "field": "another field", "email": "its e-mail address", "phone": "its phone number",
    "email_profile": "the e-mail address of a profile", "phone_profile": "the phone number of a profile",
    "email_subscription": "a subscribed e-mail address", "phone_subscription": "a subscribed phone number",
    "email_or_phone_profile": "e-mail address or phone number of a profile",
}  # fmt: skip
"""How a row finds its customer."""

TICKS_SHOWN = 5

_UNANSWERED = "choose the column with the key"


@dataclass(frozen=True)
class Form:
    """What the page shows of an import that is being made.

    Attributes:
        text: the YAML file; "": an answer is missing that it needs.
        mistakes: place in the form -> what is wrong there. A place is a key of the YAML, or `column N`.
        lines: line of the text -> place.
        missing: what the person has to answer first.
        most_columns: how many columns may fill a field besides the key's.
        bound: the import as a load would read it; None: it is not complete, or has mistakes.
    """

    text: str
    columns: Sequence[Column]
    mistakes: Mapping[str, Sequence[str]]
    lines: Mapping[int, str]
    missing: Sequence[str]
    ticks: Sequence[datetime]
    schedule_words: str
    needs_time_zone: bool
    most_columns: int
    bound: BoundImport | None = None


@dataclass
class Choices:
    """A `Choose` that takes a person's earlier answers, and notes each question."""

    answers: Answers
    asked: list[tuple[str, Sequence[Option], int | None]]

    def __call__(self, question: str, options: Sequence[Option]) -> int:
        """The answer; the likeliest one as long as there is none."""
        given = str(self.answers.get(f"choice:{len(self.asked)}", ""))
        chosen = int(given) if given.isdecimal() and int(given) < len(options) else None
        self.asked.append((question, options, chosen))
        return chosen or 0


def form_of(
    settings: Settings,
    project: Project,
    answers: Answers,
    reading: Reading | None,
    endings: Sequence[str],
    now: datetime,
    undecided: Sequence[str] = (),
) -> Form:
    """What the page shows: the columns, the YAML of all answers, and each mistake at its place.

    Args:
        undecided: questions about the sample that nobody has answered yet.
        reading: the sample of what the answers name; None: there is none yet.
        endings: how names of the sample's file may end.
    """
    name, database = str(answers.get("name", "")).strip(), str(answers.get("database", ""))
    missing = _missing(settings, project, answers, reading)
    mistakes: dict[str, list[str]] = {"source": [f"choose: {question}" for question in undecided]} if undecided else {}
    target = project.databases.get(database)
    columns: list[Column] = []
    needs_time_zone = False
    if reading is not None and target is not None:
        columns = columns_of(reading, target, elsewhere_in(project, database), answers)
        if not any(column.is_key for column in columns):
            missing.append(_UNANSWERED)
        mapped = [_mapped(column) for column in columns if column.loads]
        needs_time_zone = has_local_times(mapped, reading)
        if answers.get("sub_resource") and answers.get("sub_contact") not in reading.columns:
            mistakes["subscriptions"] = ["choose the column with the contact"]
        for column in columns:
            if column.mistake:
                mistakes.setdefault(f"column {column.place}", []).append(column.mistake)
    connection = project.connections.get(str(answers.get("connection", "")))
    schedule = {} if connection is not None and is_one_time(connection) else _schedule(answers)
    words, ticks = "", list[datetime]()
    try:
        plan = Schedule.model_validate(schedule) if schedule else None
    except ValueError:  # check says what is wrong, at its line
        plan = None
    if plan is not None:
        from ingest_pipelines.orchestration.schedules.planned_ticks import planned_ticks

        words, ticks = plan.words, planned_ticks(plan, now, TICKS_SHOWN)
    text, lines, bound = "", dict[int, str](), None
    if not missing:
        assert reading is not None
        assert connection is not None
        loaded = [column for column in columns if column.loads]
        draft = _draft(answers, reading, connection, loaded, endings, schedule, needs_time_zone=needs_time_zone)
        text = draft_yaml(name, draft)
        lines = _places(text, loaded)
        found, bound = _checked(settings, name, text, lines)
        for place, mistake in found:
            if mistake not in mistakes.setdefault(place, []):
                mistakes[place].append(mistake)
    most = target.max_fields_per_import if target is not None else 0
    return Form(text, columns, mistakes, lines, missing, ticks, words, needs_time_zone, most, bound)


def _missing(settings: Settings, project: Project, answers: Answers, reading: Reading | None) -> list[str]:
    from ingest_pipelines.actions.connecting import wrong_name

    name = str(answers.get("name", "")).strip()
    missing = ["name the import"] if not name else []
    if name and (wrong := wrong_name(settings.home, name)):
        missing.append(wrong)
    if str(answers.get("database", "")) not in project.databases:
        missing.append("choose a database")
    if str(answers.get("connection", "")) not in project.connections:
        missing.append("choose a connection")
    elif reading is None:
        missing.append("choose a file, a table or a query")
    return missing


def _mapped(column: Column) -> MappedColumn:
    return MappedColumn(column.name, column.field, column.rules)


def is_one_time(connection: Connection) -> bool:
    """Whether imports of the connection load on demand only."""
    from ingest_pipelines.config.connections import FileConnection

    return isinstance(connection, FileConnection) and connection.one_time


def source_of(
    answers: Answers, reading: Reading | None, endings: Sequence[str], *, reads_files: bool
) -> dict[str, Any]:
    """The source as YAML has it, without the format."""
    path = str(answers.get("path", ""))
    if reads_files:
        member = {"member": reading.member} if reading is not None and reading.member else {}
        return {**file_keys(path, endings), **member}
    if answers.get("reads") != "query":
        return {"table": path}
    query: dict[str, Any] = {"query": str(answers.get("query", "")).replace("\r\n", "\n").strip()}
    if column := str(answers.get("cursor_column", "")).strip():
        start = str(answers.get("cursor_start", "")).strip()
        query["cursor"] = {"column": column, "start": int(start) if re.fullmatch(r"-?\d{1,18}", start) else start}
    return query


def _draft(
    answers: Answers, reading: Reading, connection: Connection, columns: Sequence[Column], endings: Sequence[str],
    schedule: Mapping[str, object], *, needs_time_zone: bool,
) -> Draft:  # fmt: skip
    from ingest_pipelines.config.connections import FileConnection

    source = source_of(answers, reading, endings, reads_files=isinstance(connection, FileConnection))
    mode: Mode = answers["mode"] if answers.get("mode") in get_args(Mode) else "add_and_update"
    description = " ".join(str(answers.get("description", "")).split())
    what = source.get("file") or source.get("table") or "a query"
    mark = str(answers.get("set_field", "")) if mode == "deactivate" else ""
    status: Literal["draft", "active"] = "active" if answers.get("activate", "on") == "on" else "draft"
    zone = str(answers.get("timezone", "")).strip() or "UTC"
    return Draft(
        description=description or f"{what} from {answers['connection']}",
        database=str(answers["database"]),
        source={"connection": str(answers["connection"]), **source},
        mode=mode,
        set={mark: str(answers.get("set_value", "")).strip()} if mark else {},
        columns=[_mapped(column) for column in columns],
        timezone=zone if needs_time_zone else "UTC",
        format_line=written(reading.keys) if reading.keys else "",
        status=status,
        schedule=schedule,
        rejects=_rejects(answers),
        more=_more(answers),
    )


def _rejects(answers: Answers) -> dict[str, object]:
    kind, amount = answers.get("rejects", "none"), str(answers.get("rejects_amount", "")).strip() or "0"
    number = float(amount) if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", amount) else None
    if kind == "any":
        return {"unlimited": True}
    if kind == "percent":
        return {"max_percent": amount if number is None else int(number) if number.is_integer() else number}
    return {"max_rows": 0 if kind != "rows" else int(amount) if amount.isdecimal() else amount}


def _more(answers: Answers) -> dict[str, object]:
    more: dict[str, object] = {}
    if by := str(answers.get("match", "")):
        more["match"] = {"by": by, "field": str(answers.get("match_field", ""))} if by == "field" else by
    if answers.get("duplicates") in {"last", "first"}:
        more["duplicates"] = answers["duplicates"]
    if answers.get("empty") == "keep":
        more["empty"] = "keep"
    if groups := [name.strip() for name in str(answers.get("groups", "")).split(",") if name.strip()]:
        more["groups"] = groups
    if resource := str(answers.get("sub_resource", "")):
        status = str(answers.get("sub_status", "")) or "subscribed"
        consent = {"resource": resource, "channel": answers.get("sub_channel", ""),
                   "contact": answers.get("sub_contact", ""), "status": status}  # fmt: skip
        more["subscriptions"] = [consent]
    return more


def _schedule(answers: Answers) -> dict[str, object]:
    """The schedule as YAML has it; empty: none."""
    when = answers.get("when", "")
    times = [time.strip() for time in str(answers.get("at", "")).split(",") if time.strip()]
    plan: dict[str, object] = {}
    if when == "every":
        plan = {"every": str(answers.get("every", "")).strip() or "1d"}
    elif when == "cron":
        plan = {"cron": str(answers.get("cron", "")).strip()}
    elif when in {"daily", "weekdays", "days"}:
        plan = {"at": times or ["06:00"]}
        if when == "weekdays":
            plan["weekdays"] = _listed(answers.get("weekdays")) or ["mon"]
        if when == "days":
            days = [day.strip() for day in str(answers.get("days", "")).split(",") if day.strip()] or ["1"]
            plan["days"] = [int(day) if day.isdecimal() and len(day) < 3 else day for day in days]
    if not plan:
        return {}
    for key in ("start", "until"):
        if given := str(answers.get(key, "")).strip():
            plan[key] = given
    zone = str(answers.get("schedule_timezone", "")).strip()
    return {**plan, **({"timezone": zone} if zone and zone != "UTC" else {})}


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] if value else []


def _places(text: str, columns: Sequence[Column]) -> dict[int, str]:
    """Line of the YAML -> its place in the form: its top key, or the column."""
    places: dict[int, str] = {}
    top, left = "", iter(columns)
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1].isalpha():
            top = line.partition(":")[0]
            places[number] = top
        elif top == "columns" and line.strip():
            places[number] = f"column {next(left).place}"
        elif top:
            places[number] = top
    return places


def _checked(
    settings: Settings, name: str, text: str, lines: Mapping[int, str]
) -> tuple[list[tuple[str, str]], BoundImport | None]:
    """Each mistake of `ingest check`, with its place; the import, if there is none."""
    from ingest_pipelines.actions.checking import mistakes_of
    from ingest_pipelines.actions.target import live_of
    from ingest_pipelines.config import read_project

    live = live_of(settings)
    file = f"imports/{name}.yaml"
    drafts = {file: text}
    drafted = read_project(settings.home, drafts, registered=live.types)
    found = []
    for mistake in mistakes_of(drafted, name, live, drafts):
        match = re.match(rf"{re.escape(file)}:(\d+): ", mistake)
        place = lines.get(int(match[1]), "") if match else ""
        found.append((place, mistake[match.end() :] if match else mistake))
    return found, None if found else drafted.imports.get(name)
