"""Dagster's webserver with middleware around its app, and with code servers that are started again and reloaded.

Waits for: an option or an entry point of dagster-webserver for ASGI middleware (authentication: dagster issue 2219).
If `create_app_from_workspace_process_context` goes: the webserver refuses to start, and serves nothing unguarded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from dagster_webserver import cli
from starlette.types import ASGIApp

from ingest_pipelines.orchestration.dagster_internals.asset_job import fetch_jobs_when_used
from ingest_pipelines.orchestration.dagster_internals.code_servers import keep_code_servers, reload_when_changed
from ingest_pipelines.orchestration.dagster_internals.kept_jobs import keep_jobs
from ingest_pipelines.orchestration.dagster_internals.standby import keep_one_ready

_MAKES_THE_APP = "create_app_from_workspace_process_context"
"""The function that `dagster-webserver` calls for the app that it serves."""


def serve(
    middleware: Callable[[ASGIApp], ASGIApp],
    note: Callable[[str], None],
    module: str,
    stamp: Callable[[], Hashable],
) -> None:
    """Serves until the process is told to stop, with the options of `dagster-webserver`.

    Args:
        note: called with a code location's name when its code server is started again.
        module: whose code locations are loaded again when the stamp changes.
        stamp: of the files that the module reads; see `reload_when_changed`.

    Raises:
        AttributeError: this version of Dagster makes its app elsewhere.
    """
    loaded = stamp()
    keep_one_ready(module)
    keep_jobs()
    fetch_jobs_when_used()
    make_app: Callable[..., ASGIApp] = getattr(cli, _MAKES_THE_APP)

    def make_app_with_middleware(workspace: Any, *rest: Any, **options: Any) -> ASGIApp:
        keep_code_servers(workspace, note)
        reload_when_changed(workspace, module, stamp, loaded)
        return middleware(make_app(workspace, *rest, **options))

    setattr(cli, _MAKES_THE_APP, make_app_with_middleware)
    cli.dagster_webserver(auto_envvar_prefix="DAGSTER_WEBSERVER")
