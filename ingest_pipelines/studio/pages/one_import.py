"""An import: its state and open items, its loads, what it does, its cursor, who did what, its YAML."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingest_pipelines import ledger
from ingest_pipelines.actions.audit_words import action_words
from ingest_pipelines.actions.cursors import parse_cursor_of, require_cursor, set_cursor
from ingest_pipelines.actions.facts import facts_of
from ingest_pipelines.actions.run_apart import WantedRun
from ingest_pipelines.actions.steering import Steering, steer
from ingest_pipelines.actions.target import now
from ingest_pipelines.actions.wording import moment
from ingest_pipelines.config import BoundImport, Project
from ingest_pipelines.config.databases import Field
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import item_name
from ingest_pipelines.studio import charts
from ingest_pipelines.studio.home_rows import TONES
from ingest_pipelines.studio.live import Seen
from ingest_pipelines.studio.people import acting
from ingest_pipelines.studio.render import done, fields_of, fragment, post, pushed, render, words
from ingest_pipelines.studio.state import Studio, studio_of
from ingest_pipelines.studio.uploads import takes_uploads

LOADS, ACTIONS, ITEMS = 20, 20, 100
"""How many loads, manual actions and open items the page shows."""

LOAD_TONES: Mapping[str, str] = {"committed": charts.GOOD, **charts.TONES}


@dataclass(frozen=True)
class ImportView:
    """What the page shows and what changes while it is open.

    Attributes:
        line: as `ingest status --json` prints it.
        loads: the last ones, the newest first.
        asset: the address of the asset in Dagster; "" if the import has none.
    """

    name: str
    line: Mapping[str, Any]
    tone: str
    bound: BoundImport | None
    loads: Sequence[ledger.Load]
    actions: Sequence[tuple[str, str, str]]
    cursor: ledger.CursorState | None
    asset: str


def _view(studio: Studio, name: str, seen: Seen) -> ImportView:
    line = next((line for line in seen.lines if line["import"] == name), None)
    if line is None:
        seen.project.require(name)
        raise UsageError(f"import {name} is not known yet", hint="reload the page")
    bound = seen.project.imports.get(name) or seen.project.partial.get(name)
    with studio.ledger() as connection:
        loads = ledger.recent_loads(connection, name, LOADS)
        entries = ledger.list_audit(connection, import_name=name, last=ACTIONS)
        has_cursor = bound is not None and bound.spec.source.cursor is not None
        cursor = ledger.find_cursor(connection, name) if has_cursor else None
    actions = [(moment(entry.at), entry.who, action_words(entry).removeprefix(f"{name}: ")) for entry in entries]
    return ImportView(
        name,
        line,
        TONES.get(line["status"], "quiet"),
        bound,
        loads,
        actions,
        cursor,
        _asset(studio, seen.project, bound),
    )


def _asset(studio: Studio, project: Project, bound: BoundImport | None) -> str:
    """The address of the import's asset in the Dagster UI."""
    from ingest_pipelines.orchestration.assets.partitions import asset_key

    if bound is None or bound.name not in project.imports:
        return ""
    path = asset_key(project.placed(studio.settings.placement).imports[bound.name]).path
    return f"{studio.settings.ui_url}/assets/{'/'.join(quote(part, safe='') for part in path)}"


def one_import(request: Request) -> Response:
    """The page."""
    studio, name = studio_of(request), request.path_params["name"]
    view = _view(studio, name, studio.lookout.latest())
    return render(
        request, "import.html", title=name, yaml=_yaml(studio, name), rules_of=_rules_of,
        facts=[fact for fact in facts_of(view.bound) if fact[0] != "columns"] if view.bound else [],
        **_live_values(studio, view),
    )  # fmt: skip


def _rules_of(field: Field) -> str:
    """`required, max length 12, personal`."""
    names = ("required", "unique", "min", "max", "pattern", "max_length")
    rules = {words(name): getattr(field, name) for name in names if getattr(field, name) not in {None, False}}
    texts = [name if value is True else f"{name} {value}" for name, value in rules.items()]
    return ", ".join([*texts, *(["personal"] if field.pii else [])])


def _live_values(studio: Studio, view: ImportView) -> dict[str, Any]:
    return {
        "view": view, "line": view.line, "load_tones": LOAD_TONES,
        "chart": charts.load_chart(list(reversed(view.loads))), "item_name": item_name, "items_shown": ITEMS,
        "jobs": studio.jobs.of_import(view.name)[:3],
        "uploads": view.bound is not None and takes_uploads(view.bound),
    }  # fmt: skip


def _yaml(studio: Studio, name: str) -> str:
    """The import's file, which the project has: the name is one of its imports, no path from a browser."""
    known = {path.stem: path for path in (studio.settings.home / "imports").glob("*.y*ml")}
    try:
        return known[name].read_text(encoding="utf-8", errors="replace") if name in known else ""
    except OSError as error:
        return f"# the file cannot be read: {error.strerror}"


async def changes(request: Request) -> Response:
    """The part of the page that changes, as server-sent events, for as long as the page is open."""
    studio, name = studio_of(request), request.path_params["name"]

    async def events() -> AsyncIterator[str]:
        sent = ""
        async for seen in studio.lookout.changes():
            if studio.is_ending() or await request.is_disconnected():
                return
            mark = repr((next((line for line in seen.lines if line["import"] == name), None), _marks(studio, name)))
            if mark == sent:
                continue
            if sent:
                html = await run_in_threadpool(_live_part, request, studio, name, seen)
                yield f"event: part\ndata: {json.dumps({'html': html})}\n\n"
            else:
                yield "event: hello\ndata: {}\n\n"
            sent = mark

    return pushed(events())


def _marks(studio: Studio, name: str) -> list[tuple[int, str, str, int]]:
    return [(job.id, job.state, job.stage, job.rows) for job in studio.jobs.of_import(name)[:3]]


def _live_part(request: Request, studio: Studio, name: str, seen: Seen) -> str:
    return fragment(request, "import_live.html", **_live_values(studio, _view(studio, name, seen)))


def run(request: Request) -> Response:
    """Starts a run: of the newest item, of the item that is named, which may be forced, or of all that failed."""
    person, studio, name = acting(request), studio_of(request), request.path_params["name"]
    studio.project.require(name)
    fields = fields_of(request)
    item, failed = fields.get("item"), fields.get("failed") == "true"
    forced = bool(item) and fields.get("forced") == "true"
    studio.jobs.start(WantedRun(name, person.name, str(item) if item else None, failed, forced))
    return done(f"{name} is starting; the page shows how it goes")


def skip(request: Request) -> Response:
    """Never loads an open item, and notes why."""
    from ingest_pipelines.orchestration.monitoring.skip import skip_items
    from ingest_pipelines.orchestration.site import Site

    person, studio, name = acting(request), studio_of(request), request.path_params["name"]
    fields, project = fields_of(request), studio.project
    key, reason = str(fields.get("item", "")), str(fields.get("reason", "")).strip()
    open_now = studio.lookout.open_items(name)
    skip_items(Site(studio.settings, project), name, [key], by=person.name, reason=reason, open_now=open_now)
    studio.lookout.look_again()
    return done(f"{item_name(key)} of {name} will not be loaded; nothing in the table has changed")


def cancel(request: Request) -> Response:
    """Interrupts a run that the studio started."""
    acting(request)
    number = str(fields_of(request).get("job"))
    studio_of(request).jobs.cancel(request.path_params["name"], int(number) if number.isdecimal() else -1)
    return done("cancelled; what is not committed changes nothing")


def _steered(request: Request, action: Steering, said: str) -> Response:
    person, studio, name = acting(request), studio_of(request), request.path_params["name"]
    steer(studio.settings, studio.project.require(name), action, person.name, now())
    studio.lookout.look_again()
    return done(said.format(name))


def activate(request: Request) -> Response:
    """Starts a draft's schedule and sensor."""
    return _steered(request, "activated", "{} is active")


def pause(request: Request) -> Response:
    """Stops the import's schedule and sensor."""
    return _steered(request, "paused", "{} is paused: it runs only by hand until you resume it")


def resume(request: Request) -> Response:
    """Starts a paused import's schedule and sensor again."""
    return _steered(request, "resumed", "{} is active again")


def move_cursor(request: Request) -> Response:
    """Sets the cursor, if it is still what the person saw."""
    person, studio, name = acting(request), studio_of(request), request.path_params["name"]
    bound, fields = studio.project.require(name), fields_of(request)
    require_cursor(bound)
    text = parse_cursor_of(bound, str(fields.get("value", "")).strip())
    with studio.ledger() as connection:
        before = ledger.find_cursor(connection, name)
    if str(fields.get("seen", "")) != (before.value if before else ""):
        raise UsageError("the cursor was moved meanwhile; nothing was changed", hint="reload the page and look again")
    set_cursor(studio.settings, bound, text, person.name, now(), expected=before)
    studio.lookout.look_again()
    return done(f"the next chunk starts after {text}", goto=f"/imports/{quote(name, safe='')}")


ROUTES = (
    Route("/imports/{name}", one_import),
    Route("/imports/{name}/changes", changes),
    post("/imports/{name}/run", run),
    post("/imports/{name}/skip", skip),
    post("/imports/{name}/cancel", cancel),
    post("/imports/{name}/activate", activate),
    post("/imports/{name}/pause", pause),
    post("/imports/{name}/resume", resume),
    post("/imports/{name}/cursor", move_cursor),
)
