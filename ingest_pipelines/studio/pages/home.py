"""Home: every import in a row, what needs a person first; live."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ingest_pipelines.actions.status import ORDER
from ingest_pipelines.actions.target import now
from ingest_pipelines.studio.access import may_see
from ingest_pipelines.studio.home_rows import TONES, HomeRow
from ingest_pipelines.studio.live import Seen
from ingest_pipelines.studio.people import Person, person_of
from ingest_pipelines.studio.render import pushed, render, templates
from ingest_pipelines.studio.state import Studio, studio_of

FIRST_ROWS = 60
"""Rows that come with the page; the script asks for the others when these are on the screen."""


def home(request: Request) -> Response:
    """The page. `q`, `status` and `group` choose rows, and `all` sends every one: also without the script."""
    studio, person, asked = studio_of(request), person_of(request), request.query_params
    seen = studio.lookout.latest()
    rows = _rows(studio, seen, person)
    search, status, grouped = asked.get("q", ""), asked.get("status", ""), asked.get("group") == "database"
    fitting = [row for row in rows if search.lower() in row.searched and status in {"", row.line["status"]}]
    first = fitting if asked.get("all") == "1" else fitting[:FIRST_ROWS]
    return render(
        request, "home.html", title="Home", seen=seen, counts=_counts(rows), search=search, status=status,
        groups=_grouped(rows, first) if grouped else [("", len(rows), first)], grouped=grouped, total=len(rows),
        html_of=lambda row: _html(row, person),
        rest=len(rows) > len(first), hidden=len(fitting) - len(first), made_at=seen.at.timestamp(),
        everything=f"/?{urlencode({**dict(asked), 'all': '1'})}",
    )  # fmt: skip


def rest(request: Request) -> Response:
    """Every row, for the page that has the first ones."""
    studio, person = studio_of(request), person_of(request)
    return JSONResponse({"rows": [_html(row, person) for row in _rows(studio, studio.lookout.latest(), person)]})


def _rows(studio: Studio, seen: Seen, person: Person) -> list[HomeRow]:
    """The rows of the imports that the person may see."""
    return [row for row in studio.home_rows.of(seen) if may_see(person, seen.project, row.name)]


def _html(row: HomeRow, person: Person) -> str:
    """The row; rendered once for all who may do the same."""
    if person.acts not in row.html:
        row.html[person.acts] = templates().get_template("row.html").render(row=row, acts=person.acts)
    return row.html[person.acts]


def _grouped(rows: Sequence[HomeRow], first: Sequence[HomeRow]) -> list[tuple[str, int, list[HomeRow]]]:
    """Each database, how many imports it has, and those of the first rows that are its."""
    sizes = Counter(row.database for row in rows)
    groups: dict[str, list[HomeRow]] = {database: [] for database in sizes}
    for row in first:
        groups[row.database].append(row)
    return [(name, sizes[name], groups[name]) for name in sorted(groups, key=lambda name: (name == "", name))]


def _counts(rows: Sequence[HomeRow]) -> list[tuple[str, str, int]]:
    """Each status, its tone and how many imports have it, the most urgent first."""
    counts = Counter(row.line["status"] for row in rows)
    return [(status, TONES.get(status, "quiet"), counts[status]) for status in ORDER]


async def changes(request: Request) -> Response:
    """The rows that change, as server-sent events, for as long as the page is open.

    `since` is the look that the page was made of; a browser that connects again says which one it had last.
    """
    studio, person = studio_of(request), person_of(request)
    lookout, jobs = studio.lookout, studio.jobs
    since = _moment(request.headers.get("last-event-id") or request.query_params.get("since", ""))

    async def events() -> AsyncIterator[str]:
        names: set[str] = set()
        last: Seen | None = None
        at = since
        under_way = {job.id for job in jobs.all() if job.state == "running"}
        async for seen in lookout.changes():
            if studio.is_ending() or await request.is_disconnected():
                return
            for job in jobs.all():
                if job.state == "running":
                    under_way.add(job.id)
                elif job.id in under_way:
                    under_way.discard(job.id)
                    if not may_see(person, seen.project, job.request.import_name):
                        continue
                    what = {"said": job.said, "hint": job.hint, "bad": job.state == "failed"}
                    yield f"event: said\ndata: {json.dumps(what)}\n\n"
            if seen is last:
                continue
            news, names = await run_in_threadpool(_news, studio, seen, person, at, names)
            if news["rows"] or news["gone"] or last is None:
                yield f"id: {seen.at.timestamp()}\nevent: rows\ndata: {json.dumps(news)}\n\n"
            last, at = seen, seen.at

    return pushed(events())


def _news(
    studio: Studio, seen: Seen, person: Person, since: datetime, known: set[str]
) -> tuple[dict[str, Any], set[str]]:
    """What has changed since then, and the names of all imports."""
    rows = _rows(studio, seen, person)
    names = {row.name for row in rows}
    html = [_html(row, person) for row in rows if row.changed_at > since]
    return {"rows": html, "gone": sorted(known - names), "counts": _counts(rows), "total": len(rows)}, names


def _moment(text: str) -> datetime:
    """When the page was made; now, if it does not say."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return now()


ROUTES = (Route("/", home), Route("/rows", rest), Route("/changes", changes))
