"""Dagster's webserver behind our guard: `python -m ingest_pipelines.orchestration.webserver`, options as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagster_webserver import cli
from starlette.types import ASGIApp

from ingest_pipelines.config.settings import read_ui_hosts
from ingest_pipelines.orchestration.serving.guard import Guard

_MAKES_THE_APP = "create_app_from_workspace_process_context"
"""What `dagster-webserver` calls for the app that it serves. Were it gone, nothing would be served."""


def main() -> None:
    """Serves until it is told to stop.

    Raises:
        ConfigError: INGEST_UI_URL is no address.
    """
    hosts = read_ui_hosts()
    make_app: Callable[..., ASGIApp] = getattr(cli, _MAKES_THE_APP)

    def guarded(*context: Any, **options: Any) -> ASGIApp:
        return Guard(make_app(*context, **options), hosts)

    setattr(cli, _MAKES_THE_APP, guarded)
    cli.dagster_webserver(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
