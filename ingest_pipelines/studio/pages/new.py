"""New import: everything that `ingest new` asks, on one page, with the YAML beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, get_args

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ingest_pipelines import ledger
from ingest_pipelines.actions.checking import write_drafts
from ingest_pipelines.actions.draft import is_encrypted
from ingest_pipelines.actions.form_columns import elsewhere_in, signature
from ingest_pipelines.actions.form_rules import IN_A_COLUMN, MATCH_WAYS, PLACES
from ingest_pipelines.actions.form_source import OF_A_FILE, OF_A_QUERY, READ_EACH_TIME, is_one_time, parts_proposal
from ingest_pipelines.actions.new_import import MODES, Form, form_of
from ingest_pipelines.actions.preview import AsRead, as_read
from ingest_pipelines.actions.run_apart import WantedRun
from ingest_pipelines.actions.target import now
from ingest_pipelines.config import BoundImport, Project
from ingest_pipelines.config.connections import FileConnection
from ingest_pipelines.config.databases import Channel, Database
from ingest_pipelines.config.deletion_problems import settable_fields
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.config.file_format import written
from ingest_pipelines.config.imports import SubscriptionStatus
from ingest_pipelines.config.schedule import WEEKDAYS
from ingest_pipelines.errors import ConfigError, IngestError, UsageError
from ingest_pipelines.sources.files import CSV
from ingest_pipelines.studio.drafts import Drafts, SetUpDraft, answers_in
from ingest_pipelines.studio.people import Forbidden, Person, acting, person_of
from ingest_pipelines.studio.render import done, fields_of, fragment, post, render
from ingest_pipelines.studio.sources import Sample, SourceListing
from ingest_pipelines.studio.state import Studio, studio_of

if TYPE_CHECKING:
    from ingest_pipelines.detection import PartsProposal, Reading

ROWS_SHOWN = 5
"""First rows of the sample."""

REASONS_SHOWN = 5
PLAN = "ingest_pipelines.actions.plan_apart"
HIDDEN = "•••"
"""In place of a value that only people who see personal values may see."""


@dataclass(frozen=True)
class Look:
    """All that the page shows besides the answers."""

    project: Project
    database: Database | None
    listing: SourceListing | None
    sample: Sample | None
    form: Form
    reads_files: bool
    one_time: bool
    parts: PartsProposal | None


def begin(request: Request) -> Response:
    """A page for a new import."""
    acting(request)
    return RedirectResponse(f"/new/{Drafts.new_id()}", 303)


def setup(request: Request) -> Response:
    """The page, as it was left."""
    person = acting(request)
    draft = _drafts(request).read(request.path_params["draft"])
    look = _look(request, draft.answers, person)
    return render(request, "new.html", title="New import", **_page(request, draft, look))


def save(request: Request) -> Response:
    """Keeps the answers, does what a button asks for, and returns the form as it is then."""
    person = acting(request)
    fields = dict(fields_of(request))
    do, tab, seen = (str(fields.pop(name, "")) for name in ("do", "tab", "seen"))
    drafts, studio = _drafts(request), studio_of(request)
    sources = studio.sources
    draft = drafts.read(request.path_params["draft"]).saved_by(tab, seen)
    if do == "drop":
        drafts.drop(draft.id)
        return done("the draft is deleted; nothing was written", goto="/")
    draft = replace(draft, answers=_settled(answers_in(fields), draft.answers), by=draft.by or person.name)
    name = str(draft.answers.get("connection", ""))
    connection = studio.project.connections.get(name)
    if do == "test" and connection is not None:
        sources.test(name, connection)
    elif do == "refresh":
        sources.forget(name)
    elif do == "cancel":
        sources.workshop.cancel(draft.work)
    look = _look(request, draft.answers, person)
    drafts.write(draft)
    if do in {"plan", "write"}:
        bound = _whole(look.form)
        drafted = {f"imports/{draft.title}.yaml": look.form.text}
        if do == "write":
            return _write(request, draft, drafted, bound, person)
        work = sources.workshop.start(PLAN, {"import": draft.title, "drafts": drafted})
        draft = replace(draft, work=work, planned=_digest(look.form))
        drafts.write(draft)
    return HTMLResponse(fragment(request, "new_form.html", title="New import", **_page(request, draft, look)))


def _digest(form: Form) -> str:
    return sha256(form.text.encode()).hexdigest()


def choose_connection(studio: Studio, draft: SetUpDraft, name: str, person: Person) -> None:
    """Goes on with the draft with this connection; a page that still shows the draft is out of date."""
    answers = _settled({**draft.answers, "connection": name}, draft.answers)
    Drafts(studio.settings.state).write(replace(draft.saved_by("", ""), answers=answers, by=draft.by or person.name))


def _settled(answers: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The answers without those to questions that other answers have changed."""
    if answers.get("connection") != before.get("connection"):
        for key in (*OF_A_FILE, *OF_A_QUERY):
            answers.pop(key, None)
    if any(answers.get(key) != before.get(key) for key in ("connection", "path", "reads")):
        answers = {key: value for key, value in answers.items() if not key.startswith("choice:")}
    return answers


def _whole(form: Form) -> BoundImport:
    """The import of a form without mistakes.

    Raises:
        UsageError, ConfigError: something is missing or wrong.
    """
    if form.missing:
        raise UsageError(f"not complete: {form.missing[0]}", hint="nothing was written")
    wrong = [mistake for mistakes in form.mistakes.values() for mistake in mistakes]
    if wrong:
        raise ConfigError(wrong, hint="nothing was written; each mistake is shown at its field")
    assert form.bound is not None
    return form.bound


def _write(
    request: Request, draft: SetUpDraft, drafted: Mapping[str, str], bound: BoundImport, person: Person
) -> Response:
    """Writes the import's file, and runs it if that was asked."""
    settings, name = studio_of(request).settings, draft.title
    if not person.is_in(bound.groups):
        raise Forbidden(
            f"only {' or '.join(bound.groups)} would see import {name}, and you are in neither of these groups",
            hint="nothing was written; change who may see it",
        )
    write_drafts(settings.home, drafted)
    status = "active" if draft.answers.get("activate", "on") == "on" else "draft"
    try:
        with studio_of(request).ledger(writes=True) as connection:
            ledger.record_audit(connection, person.name, "created", now(), import_name=name, detail={"status": status})
    except IngestError:
        pass  # the file is the truth, and git says who wrote it; the target does not answer now
    _drafts(request).drop(draft.id)
    said = f"imports/{name}.yaml is written"
    if draft.answers.get("run_now") == "on":
        studio_of(request).jobs.start(WantedRun(name, person.name))
        said += "; it runs"
    return done(said, goto=f"/imports/{name}")


def _page(request: Request, draft: SetUpDraft, look: Look) -> dict[str, Any]:
    """What the templates show."""
    person = acting(request)
    reading = look.sample.reading if look.sample is not None else None
    sources = studio_of(request).sources
    project, answers = look.project, _given(draft.answers, look.project)
    name = str(answers.get("connection", ""))
    hidden = {column.name for column in look.form.columns if column.personal and not person.sees_personal}
    work = sources.workshop.look(draft.work)
    return {
        "draft": draft, "answers": answers, "look": look, "form": look.form, "project": project,
        "connections": sorted(project.connections.items()), "connection": project.connections.get(name),
        "tested": sources.tested(name, project.connections[name]) if name in project.connections else None,
        "columns": look.form.columns, "signature": signature(reading) if reading is not None else "",
        "format": written(reading.keys) if reading is not None and reading.keys else "",
        "rows": _rows(reading, hidden), "hidden": hidden, "masked": HIDDEN, "preview": _preview(look.form, reading),
        "hidden_fields": {column.field for column in look.form.columns if column.name in hidden},
        "encrypted": look.reads_files and is_encrypted(str(answers.get("path", ""))), "each_time": READ_EACH_TIME,
        "places": PLACES, "in_a_column": IN_A_COLUMN, "modes": MODES, "ways": MATCH_WAYS,
        "weekdays": WEEKDAYS, "types": _types(),
        "fields": sorted({*_fields(look), *elsewhere_in(project, str(answers.get("database", "")))}),
        "marks": settable_fields(look.database) if look.database is not None else [],
        "channels": get_args(Channel), "statuses": get_args(SubscriptionStatus),
        "work": work, "is_planned": draft.planned == _digest(look.form),
        "lines": _lines(look.form), "others": _others(request, draft), "reasons_shown": REASONS_SHOWN,
        "general": [mistake for place in ("", "status", "columns") for mistake in look.form.mistakes.get(place, ())],
    }  # fmt: skip


def _look(request: Request, answers: Mapping[str, Any], person: Person) -> Look:
    """What the answers lead to: listing, sample, columns, YAML, mistakes."""
    studio = studio_of(request)
    sources, project = studio.sources, studio.project
    given = _given(answers, project)
    database = project.databases.get(str(given.get("database", "")))
    name = str(given.get("connection", ""))
    connection = project.connections.get(name)
    listing = sources.listing(name, connection) if connection is not None else None
    known = [*database.fields, *elsewhere_in(project, str(given["database"]))] if database is not None else []
    sample = sources.sample(name, connection, given, known) if connection is not None else None
    reading = sample.reading if sample is not None else None
    if reading is not None and person.sees_personal:
        _note_look(request, person, name, str(given.get("path", "")) if given.get("reads") != "query" else "a query")
    endings = reading.declared.endings if reading is not None else CSV
    undecided = [question for question, _, chosen in sample.asked if chosen is None] if sample is not None else []
    reads_files, one_time = isinstance(connection, FileConnection), connection is not None and is_one_time(connection)
    path = str(given.get("path", ""))
    files = [file for there in listing.folders.values() for file in there] if listing is not None else []
    parts = parts_proposal(path, files) if reads_files and path else None
    form = form_of(studio.settings, project, given, reading, endings, now(), undecided, parts)
    return Look(project, database, listing, sample, form, reads_files, one_time, parts)


def _given(answers: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """The answers; the only database of a project is chosen already."""
    return {**({"database": next(iter(project.databases))} if len(project.databases) == 1 else {}), **answers}


def _note_look(request: Request, person: Person, connection: str, path: str) -> None:
    """Notes in the audit trail, once, that the person sees rows of a sample."""
    noted = studio_of(request).sources.noted
    if (person.name, connection, path) in noted:
        return
    try:
        with studio_of(request).ledger(writes=True) as opened:
            detail = {"connection": connection, "path": path[:400]}
            ledger.record_audit(opened, person.name, "looked at a sample", now(), detail=detail)
    except IngestError:
        return  # the target does not answer now; the next look is noted
    noted.add((person.name, connection, path))


def _preview(form: Form, reading: Reading | None) -> AsRead | None:
    """The first rows as the import reads them, once its YAML has no mistake."""
    if reading is None or form.bound is None or any(form.mistakes.values()):
        return None
    try:
        complete = set(form.bound.required_columns) <= set(reading.columns)
        return as_read(form.bound, reading, ROWS_SHOWN) if complete else None
    except IngestError:
        return None


def _rows(reading: Reading | None, hidden: set[str]) -> list[list[str]]:
    """The sample's first rows, raw."""
    if reading is None:
        return []
    return [
        [HIDDEN if name in hidden and cell else cell or "" for name, cell in zip(reading.columns, row, strict=True)]
        for row in reading.rows[:ROWS_SHOWN]
    ]


def _fields(look: Look) -> list[str]:
    return [field for field in look.database.fields if field != look.database.key] if look.database is not None else []


def _types() -> list[str]:
    return [*(kind for kind in FIELD_TYPES if kind != "decimal"), "decimal(12,2)"]


def _lines(form: Form) -> list[tuple[int, str, bool]]:
    """The YAML line by line: number, text, whether a mistake is at its place."""
    wrong = {place for place, mistakes in form.mistakes.items() if mistakes}
    return [(number, text, form.lines.get(number) in wrong) for number, text in enumerate(form.text.splitlines(), 1)]


def _others(request: Request, draft: SetUpDraft) -> list[SetUpDraft]:
    """Other imports that the person is setting up."""
    person = person_of(request)
    own = (other for other in _drafts(request).all() if person.groups is None or other.by == person.name)
    return [other for other in own if other.id != draft.id][:10]


def _drafts(request: Request) -> Drafts:
    return Drafts(studio_of(request).settings.state)


ROUTES = (
    Route("/new", begin),
    Route("/new/{draft}", setup),
    post("/new/{draft}", save),
)
