"""`ingest` itself: its commands, in the order in which a newcomer needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest_pipelines.cli import checking, loading, rejects, reports, scaffold, serving, showing
from ingest_pipelines.cli.boundary import Commands

SEE = "Look"
SET_UP = "Set up"
LOAD = "Load"

app = typer.Typer(
    name="ingest",
    cls=Commands,
    help="Customer data into Postgres on time, whole and correct.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"ingest {version('ingest-pipelines')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Customer data into Postgres on time, whole and correct.

    The project is in INGEST_HOME, the target is INGEST_DATABASE_URL; without them: the demo, and a Postgres of our own.
    """


app.command(rich_help_panel=SET_UP)(showing.demo)
app.command(rich_help_panel=SET_UP)(scaffold.init)
app.command(rich_help_panel=SET_UP)(checking.check)
app.command(rich_help_panel=SET_UP)(checking.schema)
app.command(rich_help_panel=LOAD)(loading.run)
app.command(rich_help_panel=LOAD)(serving.up)
app.command(rich_help_panel=SEE)(reports.status)
app.command(rich_help_panel=SEE)(reports.report)
app.add_typer(rejects.group, name="rejects", rich_help_panel=SEE)
