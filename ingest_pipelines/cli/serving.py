"""`ingest up`: everything that runs by itself, for as long as a person wants it."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest_pipelines.cli import screen


def up(
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Of the web page; else the first free from 3000.")
    ] = None,
) -> None:
    """Serve: Postgres if you have none, the Dagster UI, and the daemon that watches and schedules. Ctrl-C stops all."""
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    for mistake in project.mistakes:
        screen.note(f"{screen.painted('broken', 'bad')}: {mistake}")
    from ingest_pipelines.orchestration.serving.up import up as serve

    def ready(url: str) -> None:
        screen.say(f"{screen.painted('ready', 'good')}: {url}")
        screen.say(f"  {screen.plural(len(project.imports), 'import')} of {project.home}")
        screen.say("  Ctrl-C stops it; what is committed stays")

    raise typer.Exit(serve(settings, port=port, ready=ready, tell=screen.note))
