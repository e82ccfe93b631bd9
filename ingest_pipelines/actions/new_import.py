"""A new import as a form fills it: the YAML that would be written, and its mistakes in their places."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

from ingest_pipelines.actions.draft import Draft, MappedColumn, draft_yaml
from ingest_pipelines.actions.form_columns import Answers, Column, columns_of, elsewhere_in
from ingest_pipelines.actions.form_rules import IN_A_COLUMN, PLACES, more_of, rejects_of, schedule_of
from ingest_pipelines.actions.form_source import is_one_time, source_of
from ingest_pipelines.actions.mapping import has_local_times
from ingest_pipelines.config.file_format import written
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.model import Mode

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.detection import Option, PartsProposal, Reading

MODES: Mapping[str, str] = {
    "add_and_update": "new customers are added, known ones are updated",
    "add_only": "new customers are added, known ones stay as they are",
    "update_only": "known customers are updated, no one is added",
    "delete": "the customers of the list are deleted",
    "deactivate": "the customers of the list are marked",
}
"""Each mode in words."""

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
    proposal: PartsProposal | None = None,
) -> Form:
    """What the page shows: the columns, the YAML of all answers, and each mistake at its place.

    Args:
        proposal: the delivery that the chosen file may be a part of.
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
        elif answers.get("sub_status") == IN_A_COLUMN and answers.get("sub_column") not in reading.columns:
            mistakes["subscriptions"] = ["choose the column with the status"]
        if answers.get("geo_ip") and not any(answers.get(f"geo_{place}") for place in PLACES):
            mistakes["geo"] = ["name a field for the country, the region or the city"]
        for column in columns:
            if column.mistake:
                mistakes.setdefault(f"column {column.place}", []).append(column.mistake)
    connection = project.connections.get(str(answers.get("connection", "")))
    schedule = {} if connection is not None and is_one_time(connection) else schedule_of(answers)
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
        draft = _draft(
            answers, reading, connection, loaded, endings, schedule, proposal, needs_time_zone=needs_time_zone
        )
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


def _draft(
    answers: Answers, reading: Reading, connection: Connection, columns: Sequence[Column], endings: Sequence[str],
    schedule: Mapping[str, object], proposal: PartsProposal | None, *, needs_time_zone: bool,
) -> Draft:  # fmt: skip
    from ingest_pipelines.config.connections import FileConnection

    reads_files = isinstance(connection, FileConnection)
    source = source_of(answers, reading, endings, reads_files=reads_files, proposal=proposal)
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
        rejects=rejects_of(answers),
        more=more_of(answers),
    )


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
