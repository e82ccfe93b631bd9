"""Templates and answers: how a page, a change and a refusal look."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ingest_pipelines.actions.target import now
from ingest_pipelines.actions.wording import ago, moment, number, plural
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.studio.people import person_of
from ingest_pipelines.studio.state import studio_of

LONGEST_NAME = 160
"""Characters of a name from outside that a page shows; a longer one is cut in the middle."""

NAVIGATION: tuple[tuple[str, str], ...] = (
    ("/", "Home"),
    ("/new", "New import"),
    ("/connections", "Connections"),
    ("/alerts", "Alerts"),
)
"""Pages that every page links to: address, name."""

MOST_FIELDS_BYTES = 4 * 1024 * 1024


@cache
def templates() -> Environment:
    """The templates; every value is escaped, and a misspelt name is an error."""
    environment = Environment(
        loader=PackageLoader("ingest_pipelines.studio"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        shown=shown, number=number, moment=moment, words=words, part=lambda text: quote(text, safe="")
    )
    environment.globals.update(plural=plural, pairs=pairs)
    return environment


def shown(text: object, limit: int = LONGEST_NAME) -> str:
    """Text from outside as one line: characters that would turn or hide the words beside it are spelled out."""
    return printable(str(text), limit)


def pairs(values: Iterable[str], *, choose: bool = False) -> list[tuple[str, str]]:
    """The options of a choice: what is sent, and what is shown; `choose` begins with none."""
    return [*([("", "choose")] if choose else []), *((value, value) for value in values)]


def words(name: str) -> str:
    """`completed_with_rejects` as a person says it."""
    return name.replace("_", " ")


def render(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """A page within the frame."""
    return HTMLResponse(fragment(request, template, **values), code)


def fragment(request: Request, template: str, **values: Any) -> str:
    """A page, or a part of one, as HTML."""
    settings, at = studio_of(request).settings, now()

    def since(when: datetime | None) -> str:
        return ago(when, at) if when is not None else "never"

    return templates().get_template(template).render(
        person=person_of(request), token=request.scope["token"], path=request.url.path, navigation=NAVIGATION,
        dagster=settings.ui_url, environment=settings.environment, since=since, now=at, **values,
    )  # fmt: skip


def done(said: str, goto: str = "") -> Response:
    """The answer to a change: what happened, and the page to go to."""
    return JSONResponse({"said": said, "goto": goto})


def pushed(events: AsyncIterator[str]) -> Response:
    """Server-sent events, which no proxy holds back."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def refused(request: Request, error: str, hint: str, status: int) -> Response:
    """A refusal: words for the page that sent a change, else a page of its own."""
    if request.method not in {"GET", "HEAD"}:
        return JSONResponse({"error": error, "hint": hint}, status)
    return render(request, "refused.html", status, title="Not possible", error=error, hint=hint)


def post(path: str, endpoint: Callable[[Request], Response]) -> Route:
    """A route that changes something."""

    async def answer(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        request.scope["fields"] = _fields(await _body(request))
        return await run_in_threadpool(endpoint, request)

    return Route(path, answer, methods=["POST"], name=endpoint.__name__)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_FIELDS_BYTES:
            raise UsageError(f"a page may send {MOST_FIELDS_BYTES // 1024**2} MB", hint="nothing was changed")
    return bytes(body)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body or b"{}")
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # among them UnicodeEncodeError: halves of a character
        fields = None
    if not isinstance(fields, dict):
        raise UsageError("the page sent no fields, or what is no text", hint="reload it and try again")
    return fields


def fields_of(request: Request) -> dict[str, Any]:
    """What the page sent."""
    fields: dict[str, Any] = request.scope["fields"]
    return fields
