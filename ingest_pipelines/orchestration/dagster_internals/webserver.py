"""Dagster's webserver with middleware around its app.

Waits for: an option or an entry point of dagster-webserver for ASGI middleware (authentication: dagster issue 2219).
If `create_app_from_workspace_process_context` goes: the webserver refuses to start, and serves nothing unguarded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagster_webserver import cli
from starlette.types import ASGIApp

_MAKES_THE_APP = "create_app_from_workspace_process_context"
"""The function that `dagster-webserver` calls for the app that it serves."""


def serve(middleware: Callable[[ASGIApp], ASGIApp]) -> None:
    """Serves until the process is told to stop, with the options of `dagster-webserver`.

    Raises:
        AttributeError: this version of Dagster makes its app elsewhere.
    """
    make_app: Callable[..., ASGIApp] = getattr(cli, _MAKES_THE_APP)

    def make_app_with_middleware(*context: Any, **options: Any) -> ASGIApp:
        return middleware(make_app(*context, **options))

    setattr(cli, _MAKES_THE_APP, make_app_with_middleware)
    cli.dagster_webserver(auto_envvar_prefix="DAGSTER_WEBSERVER")
