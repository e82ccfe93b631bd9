"""The command `ingest`, put together from all of its subcommands: a process that waits for work imports this before."""

from __future__ import annotations

from typer.main import get_command

from ingest_pipelines.cli.app import app

ingest = get_command(app)
