"""Who may see which import: `groups` of its YAML, or of its database. An operator who sees one may change it."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest_pipelines.config import Project
from ingest_pipelines.studio.people import Person
from ingest_pipelines.studio.state import Studio

OF_AN_IMPORT = "/imports/{name}"
"""How the addresses begin that are about one import."""


READS_OF_A_GONE_ONE = frozenset({OF_AN_IMPORT, f"{OF_AN_IMPORT}/changes"})
"""Of an import whose YAML is gone its page is left; nothing else can be done with it."""


def may_see(person: Person, project: Project, name: str) -> bool:
    """Whether the person may see the import.

    One whose YAML cannot be read, or is gone, has unknown groups: in a project with groups, operators see it.
    """
    if person.groups is None:
        return True
    bound = project.imports.get(name) or project.partial.get(name)
    if bound is not None:
        return person.is_in(bound.groups)
    return person.acts or not _has_groups(project)


def _has_groups(project: Project) -> bool:
    imports = (*project.imports.values(), *project.partial.values())
    return any(database.groups for database in project.databases.values()) or any(bound.groups for bound in imports)


def _is_of(project: Project, name: str) -> bool:
    return name in project.imports or name in project.partial or name in project.broken


def _has_loads(studio: Studio, name: str) -> bool:
    return any(line["import"] == name for line in studio.lookout.latest().lines)


def for_its_groups(route: Route) -> Route:
    """The route; where it is about an import, only for people who may see it."""
    if route.path.startswith(OF_AN_IMPORT):
        route.app = _OfAnImport(route.app, route.path)
    return route


class _OfAnImport:
    """An ASGI app that has no page about an import for who may not see it."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on the request, or answers as if there were no such import."""
        studio: Studio = scope["app"].state.studio
        person: Person = scope["person"]
        project = await run_in_threadpool(lambda: studio.project)
        name = scope["path_params"]["name"]
        if not may_see(person, project, name):
            raise HTTPException(404)
        if person.groups is not None and not _is_of(project, name):  # what is said of it would name others
            is_read = scope["method"] in {"GET", "HEAD"} and self._path in READS_OF_A_GONE_ONE
            if not is_read or not await run_in_threadpool(_has_loads, studio, name):
                raise HTTPException(404)
        await self._app(scope, receive, send)
