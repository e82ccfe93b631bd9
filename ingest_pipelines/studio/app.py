"""The studio as an ASGI app: its pages, its frame, and how it words a refusal."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ingest_pipelines.config import Settings
from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.errors import IngestError, Unavailable, file_error
from ingest_pipelines.orchestration.serving.guard import Guard
from ingest_pipelines.owner_only import private_folder, private_state, write_private
from ingest_pipelines.studio.access import for_its_groups
from ingest_pipelines.studio.guard import BODIES, POLICY, Doorkeeper
from ingest_pipelines.studio.pages import ROUTES
from ingest_pipelines.studio.people import Forbidden
from ingest_pipelines.studio.render import refused
from ingest_pipelines.studio.state import Studio

HERE = Path(__file__).resolve().parent


def make_app(
    settings: Settings, access: StudioAccess, hosts: Collection[str] = (), is_ending: Callable[[], bool] = lambda: False
) -> ASGIApp:
    """The studio of this installation.

    Args:
        hosts: names that it answers for, besides those of this machine.
        is_ending: whether the server ends; then pages that listen are let go.
    """
    studio = Studio(settings, is_ending)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            studio.close()

    app = Starlette(
        routes=[*map(for_its_groups, ROUTES), Mount("/static", StaticFiles(directory=HERE / "static"), name="static")],
        exception_handlers={
            IngestError: _refuse,  # type: ignore[dict-item]  # Starlette's own type is of Exception
            OSError: _refuse_file,  # type: ignore[dict-item]
            HTTPException: _refuse_address,  # type: ignore[dict-item]
        },
        lifespan=lifespan,
    )
    app.state.studio = studio
    return Guard(Doorkeeper(app, access, _key(settings)), hosts, policy=POLICY, bodies=BODIES)


def _refuse(request: Request, error: IngestError) -> Response:
    status = 403 if isinstance(error, Forbidden) else 503 if isinstance(error, Unavailable) else 400
    return refused(request, error.message, error.hint, status)


def _refuse_file(request: Request, error: OSError) -> Response:
    expected = file_error(error)
    if expected is None:
        raise error
    return refused(request, expected.message, expected.hint, 400)


def _refuse_address(request: Request, error: HTTPException) -> Response:
    words = "there is no such page" if error.status_code == 404 else str(error.detail)
    return refused(request, words, "", error.status_code)


def _key(settings: Settings) -> bytes:
    """The key of the tokens; the same after a restart, so that open pages stay of use."""
    path = private_folder(private_state(settings.state) / "studio") / "key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) < 32:
        key = secrets.token_bytes(32)
        write_private(path, key)
    return key
