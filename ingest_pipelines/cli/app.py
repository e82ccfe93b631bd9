"""The command `ingest`: its subcommands, in the order in which a new user needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ingest_pipelines.cli import (
    alerting,
    auditing,
    browsing,
    checking,
    dbt_sources,
    events,
    forgetting,
    history,
    loading,
    planning,
    purging,
    rejects,
    reports,
    scaffold,
    serving,
    showing,
    skipping,
    status,
    steering,
    wizard,
)
from ingest_pipelines.cli.boundary import Command, Commands, ProjectCommand

SET_UP = "Set up"
LOAD = "Load"
INSPECT = "Inspect"
FIX = "Fix"

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
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error was raised.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Customer data into Postgres on time, whole and correct.

    INGEST_HOME names the project folder, INGEST_DATABASE_URL the target. Without them: the demo and an embedded
    Postgres.
    """


_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    SET_UP: (
        showing.demo,
        scaffold.init,
        wizard.new,
        browsing.browse,
        checking.check,
        checking.schema,
        dbt_sources.dbt_sources,
    ),
    LOAD: (planning.plan, loading.run, serving.up, steering.activate, steering.pause, steering.resume),
    INSPECT: (
        status.status,
        reports.report,
        alerting.alerts,
        events.events,
        history.history,
        auditing.audit,
        serving.studio,
        serving.watch,
    ),
    FIX: (skipping.skip, steering.unlock, purging.purge, forgetting.forget, forgetting.remember),
}
_WRITE_THE_PROJECT = (scaffold.init, wizard.new, checking.schema, dbt_sources.dbt_sources)
for panel, commands in _COMMANDS.items():
    for command in commands:
        kind = ProjectCommand if command in _WRITE_THE_PROJECT else Command
        app.command(cls=kind, rich_help_panel=panel)(command)
app.add_typer(alerting.group, name="notify", rich_help_panel=SET_UP)
app.add_typer(rejects.group, name="rejects", rich_help_panel=FIX)
app.add_typer(steering.cursor_group, name="cursor", rich_help_panel=FIX)
