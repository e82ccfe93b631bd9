"""`ingest up`: the Dagster UI, the studio, the daemon, the watcher, the embedded Postgres. `ingest studio`, `watch`."""

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
    """Run the Dagster UI, the studio, the daemon, the watcher, and Postgres if you have none. Ctrl-C ends all.

    A process of these that ends by itself is started again.
    """
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    for mistake in project.mistakes:
        screen.note(f"{screen.painted('broken', 'bad')}: {mistake}")
    if sys.stderr.isatty():  # a person waits some seconds; a log needs only the line that it is ready
        own_server = settings.database_url is None or settings.dagster_url is None
        screen.note(f"starting {'Postgres, ' if own_server else ''}Dagster's web server and daemon ...")
    from ingest_pipelines.orchestration.serving.up import up as serve

    def ready(url: str, watcher: str, studio: str) -> None:
        screen.say(f"{screen.painted('ready', 'good')}: {url}")
        screen.say(f"  health: {watcher}/healthz, metrics: {watcher}/metrics")
        if studio:
            screen.say(f"  studio: {studio}")
        screen.say(f"  {screen.plural(len(project.imports), 'import')} of {project.home}")
        screen.say("  Ctrl-C stops it; what is committed stays")

    raise typer.Exit(serve(settings, port=port, ready=ready, tell=screen.note))


def studio(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; another than this machine's needs a proxy.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0: any free one.")] = 3200,
) -> None:
    """Serve the studio: every import with its state and loads, in a browser. `ingest up` runs it, too.

    It has no login: it listens at this machine only, unless a proxy with a login is before it.
    """
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.studio.serve import serve

    settings = read_settings()
    read_project(settings.home)

    def ready(url: str) -> None:
        screen.say(f"{screen.painted('studio', 'good')}: {url}")

    serve(settings, host, port, ready)


def watch(
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0: any free one.")] = 3100,
    webserver: Annotated[
        str | None, typer.Option("--webserver", help="Address of the Dagster UI, to see whether it answers.")
    ] = None,
) -> None:
    """Watch daemon, code server, queue and sources; send alerts; serve /healthz and /metrics. `ingest up` runs it, too.

    It is a process of its own, so that no other process that hangs or dies can stop it.
    """
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.monitoring.watch import watch as run

    settings = read_settings()

    def ready(url: str) -> None:
        screen.say(f"{screen.painted('watching', 'good')}: {url}/healthz and {url}/metrics")

    raise typer.Exit(run(settings, read_project(settings.home), host=host, port=port, webserver=webserver, ready=ready))
