"""Connections: list, test, browse, add. Secrets are names of variables or files, never values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ingest_pipelines.actions.checking import write_drafts
from ingest_pipelines.actions.connecting import (
    other_secrets,
    reads_this_machine,
    settings_asked,
    wrong_connection_name,
    yaml_settings,
)
from ingest_pipelines.actions.draft import with_connection
from ingest_pipelines.config import Project, read_project
from ingest_pipelines.config.connections import TYPES, Connection
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.errors import ConfigError, UsageError
from ingest_pipelines.studio.drafts import Drafts
from ingest_pipelines.studio.pages.new import choose_connection
from ingest_pipelines.studio.people import acting
from ingest_pipelines.studio.render import done, fields_of, fragment, post, render
from ingest_pipelines.studio.state import studio_of


def connections(request: Request) -> Response:
    """Every connection, how many imports use it, and its last test."""
    studio = studio_of(request)
    project, sources = studio.project, studio.sources
    users = {
        name: sum(bound.connection_name == name for bound in project.imports.values()) for name in project.connections
    }
    tests = {name: sources.tested(name, one) for name, one in project.connections.items()}
    mistakes = [mistake for mistake in project.mistakes if mistake.startswith("connections.yaml")]
    return render(
        request, "connections.html", title="Connections", connections=sorted(project.connections.items()), users=users,
        tests=tests, mistakes=mistakes,
    )  # fmt: skip


def connection(request: Request) -> Response:
    """One connection: what it has."""
    acting(request)
    name, one = _named(request, studio_of(request).project)
    sources = studio_of(request).sources
    return render(
        request, "connection.html", title=name, name=name, one=one, listing=sources.listing(name, one),
        tested=sources.tested(name, one),
    )  # fmt: skip


def test(request: Request) -> Response:
    """Tests the connection, step by step."""
    acting(request)
    name, one = _named(request, studio_of(request).project)
    sources = studio_of(request).sources
    sources.test(name, one)
    return HTMLResponse(fragment(request, "steps.html", title=name, test=sources.tested(name, one)))


def add(request: Request) -> Response:
    """The form of a new connection."""
    acting(request)
    kind = request.query_params.get("type", "")
    types = [name for name in TYPES if not reads_this_machine(name)]
    kind = kind if kind in types else types[0]
    return render(
        request, "connection_new.html", title="New connection", kind=kind, types=types,
        draft=request.query_params.get("draft", ""),
        asked={**settings_asked(kind), **other_secrets(kind)}, others=frozenset(other_secrets(kind)),
    )  # fmt: skip


def create(request: Request) -> Response:
    """Adds the connection to connections.yaml if it has no mistake; a draft that asked for it goes on with it."""
    person, studio = acting(request), studio_of(request)
    home, project = studio.settings.home, studio.project
    fields = {key: value for key, value in fields_of(request).items() if isinstance(value, str)}
    name, kind = fields.get("name", "").strip(), fields.get("type", "")
    draft = Drafts(studio.settings.state).read(fields["draft"]) if fields.get("draft") else None
    if kind not in TYPES:
        raise UsageError(f"there is no type '{kind}'", hint=nearest(kind, TYPES))
    if name in project.connections:
        raise UsageError(f"there is a connection '{name}' already", hint="choose another name")
    if reads_this_machine(kind):
        raise UsageError("a folder of this machine is named in connections.yaml only", hint="nothing was written")
    if wrong := wrong_connection_name(project, name):
        raise UsageError(wrong, hint="nothing was written")
    file = home / "connections.yaml"
    before = file.read_text(encoding="utf-8") if file.exists() else "connections:\n"
    text = with_connection(before, name, yaml_settings(kind, _answers(kind, fields)))
    drafted = read_project(home, {"connections.yaml": text})
    if name not in drafted.connections:
        own = [mistake for mistake in drafted.mistakes if f": connections.{name}" in mistake]
        raise ConfigError(own or list(drafted.mistakes), hint="nothing was written")
    write_drafts(home, {"connections.yaml": text})
    studio.sources.test(name, drafted.connections[name])
    if draft is not None:
        choose_connection(studio, draft, name, person)
    said = f"connection {name} is in connections.yaml"
    return done(said, goto=f"/new/{draft.id}" if draft is not None else f"/connections/{name}")


def _answers(kind: str, fields: Mapping[str, str]) -> dict[str, str]:
    return {key: fields.get(f"setting:{key}", "").strip() for key in (*settings_asked(kind), *other_secrets(kind))}


def _named(request: Request, project: Project) -> tuple[str, Connection]:
    name: str = request.path_params["name"]
    if name not in project.connections:
        raise UsageError(f"there is no connection '{name}'", hint=nearest(name, project.connections))
    return name, project.connections[name]


ROUTES: tuple[Any, ...] = (
    Route("/connections", connections),
    Route("/connections/new", add),
    post("/connections/new", create),
    Route("/connections/{name}", connection),
    post("/connections/{name}/test", test),
)
