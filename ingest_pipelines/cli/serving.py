"""`ingest up`: the Dagster UI, the daemon and the embedded Postgres, until Ctrl-C."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ingest_pipelines.cli import screen


def up(
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port of the web UI; default: the first free one from 3000."),
    ] = None,
) -> None:
    """Run the Dagster UI, the daemon (sensors, schedules), and Postgres if you have none. Ctrl-C stops all of them."""
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    for mistake in project.mistakes:
        screen.note(f"{screen.painted('broken', 'bad')}: {mistake}")
    if sys.stderr.isatty():  # a person waits some seconds; a log needs only the line that it is ready
        own_server = settings.database_url is None or settings.dagster_url is None
        screen.note(f"starting {'Postgres, ' if own_server else ''}Dagster's web server and daemon ...")
    from ingest_pipelines.orchestration.serving.up import up as serve

    def ready(url: str) -> None:
        screen.say(f"{screen.painted('ready', 'good')}: {url}")
        screen.say(f"  {screen.plural(len(project.imports), 'import')} of {project.home}")
        screen.say("  Ctrl-C stops it; what is committed stays")

    raise typer.Exit(serve(settings, port=port, ready=ready, tell=screen.note))
