"""An import's YAML, to edit: what `ingest check` says of it, and a run on every save."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ingest_pipelines import ledger
from ingest_pipelines.actions.editing import LONGEST_FILE, file_of, mistakes_in, write_import
from ingest_pipelines.actions.run_apart import WantedRun
from ingest_pipelines.actions.target import now
from ingest_pipelines.errors import ConfigError, IngestError, UsageError
from ingest_pipelines.studio.people import Forbidden, acting
from ingest_pipelines.studio.render import done, fields_of, fragment, post, render
from ingest_pipelines.studio.state import studio_of


def edit(request: Request) -> Response:
    """The page."""
    acting(request)
    name = request.path_params["name"]
    file = file_of(studio_of(request).settings.home, name)
    mistakes, _ = mistakes_in(studio_of(request).settings, file, file.text)
    return render(
        request, "edit.html", title=f"Edit {name}", name=name, file=file, mistakes=_placed(file.name, mistakes)
    )


def save(request: Request) -> Response:
    """Says what is wrong, or writes the file, and runs the import if that was asked."""
    person, studio, name = acting(request), studio_of(request), request.path_params["name"]
    fields = fields_of(request)
    text = str(fields.get("text", "")).replace("\r\n", "\n")
    if len(text) > LONGEST_FILE:
        raise UsageError(f"a file has at most {LONGEST_FILE:,} characters here", hint="nothing was written")
    file = file_of(studio.settings.home, name)
    mistakes, bound = mistakes_in(studio.settings, file, text)
    if fields.get("do") != "save":
        return HTMLResponse(fragment(request, "checked.html", title="", mistakes=_placed(file.name, mistakes)))
    if bound is None:
        raise ConfigError(mistakes or [f"{file.name}: it is no import"], hint="nothing was written")
    if not person.is_in(bound.groups):
        raise Forbidden(f"you would not see import {name} any more", hint="nothing was written; keep a group of yours")
    write_import(studio.settings, name, text if text.endswith("\n") else f"{text}\n", str(fields.get("seen", "")))
    try:
        with studio.ledger(writes=True) as connection:
            ledger.record_audit(connection, person.name, "edited", now(), import_name=name)
    except IngestError:
        pass  # the file is the truth, and git says who wrote it; the target does not answer now
    studio.lookout.look_again()
    said = f"{file.name} is written"
    if fields.get("run_now") == "on":
        studio.jobs.start(WantedRun(name, person.name))
        said += "; it runs"
    return done(said, goto=f"/imports/{quote(name, safe='')}")


def _placed(file: str, mistakes: list[str]) -> list[tuple[str, str]]:
    """Each mistake with its line; "" where it is in another file."""
    placed = []
    for mistake in mistakes:
        match = re.match(rf"{re.escape(file)}:(\d+): ", mistake)
        placed.append((match[1], mistake[match.end() :]) if match else ("", mistake))
    return placed


ROUTES = (Route("/imports/{name}/edit", edit), post("/imports/{name}/edit", save))
