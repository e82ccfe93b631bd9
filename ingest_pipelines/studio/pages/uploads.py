"""Uploads: a file for a new one-time import, or for one that is there; then the report of its run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingest_pipelines.actions.run_apart import WantedRun
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.base import NAME_PATTERN
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.errors import UsageError
from ingest_pipelines.studio.drafts import Drafts
from ingest_pipelines.studio.people import acting
from ingest_pipelines.studio.render import done, render
from ingest_pipelines.studio.state import studio_of
from ingest_pipelines.studio.uploads import keep_upload, takes_uploads


def page(request: Request) -> Response:
    """The page of a one-time import's next file."""
    acting(request)
    bound = _bound(request)
    return render(request, "upload.html", title=f"Upload for {bound.name}", name=bound.name)


async def for_import(request: Request) -> Response:
    """Keeps the file and loads it."""
    person = acting(request)
    bound = await run_in_threadpool(_bound, request)
    folder, stem = _folder(bound.connection), _stem(bound)
    with studio_of(request).jobs.place(bound.name) as start:
        await keep_upload(request, folder, stem)
        start(WantedRun(bound.name, person.name))
    return done("the file is here; it is loaded", goto=f"/imports/{bound.name}")


async def for_draft(request: Request) -> Response:
    """Keeps the file; the draft reads it."""
    person = acting(request)
    studio = studio_of(request)
    drafts = Drafts(studio.settings.state)
    draft = await run_in_threadpool(drafts.read, request.path_params["draft"])
    project = await run_in_threadpool(lambda: studio.project)
    name = str(draft.answers.get("connection", ""))
    if name not in project.connections:
        raise UsageError("choose a connection first", hint="nothing was kept")
    title = draft.title if re.fullmatch(NAME_PATTERN, draft.title) else "upload"
    file = await keep_upload(request, _folder(project.connections[name]), title)
    answers: dict[str, Any] = {**draft.answers, "path": file.name}
    await run_in_threadpool(drafts.write, replace(draft, answers=answers, by=draft.by or person.name))
    studio_of(request).sources.forget(name)
    return done("the file is here")


def _bound(request: Request) -> BoundImport:
    bound = studio_of(request).project.require(request.path_params["name"])
    if not bound.one_time:
        raise UsageError(f"import {bound.name} takes its files from {bound.connection_name}", hint="put the file there")
    return bound


def _folder(connection: Connection) -> Path:
    """The folder of a connection of uploads."""
    if not isinstance(connection, CsvConnection):
        raise UsageError("only one-time imports take uploads", hint="put the file where the connection reads it")
    folder = Path(connection.directory).absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="make it, or correct connections.yaml")
    return folder


def _stem(bound: BoundImport) -> str:
    """How the import's files are called before their serial, as its YAML says."""
    if not takes_uploads(bound):
        raise UsageError(f"files of import {bound.name} have names of their own", hint="put the file into its folder")
    return (bound.spec.source.file or bound.name).strip("/")


ROUTES = (
    Route("/imports/{name}/upload", page),
    Route("/imports/{name}/upload", for_import, methods=["POST"], name="for_import"),
    Route("/new/{draft}/upload", for_draft, methods=["POST"], name="for_draft"),
)
