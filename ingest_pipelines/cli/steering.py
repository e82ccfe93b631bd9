"""Commands that start and stop schedules and sensors, unlock mappings and set cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.actions.cursors import parse_cursor_of, require_cursor, set_cursor
from ingest_pipelines.actions.facts import by_itself, facts_of
from ingest_pipelines.actions.launcher import user
from ingest_pipelines.actions.steering import refuse_same, steer
from ingest_pipelines.actions.target import ledger_of, now
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.asking import confirmed
from ingest_pipelines.cli.boundary import Command, Group
from ingest_pipelines.cli.naming import ImportName, Json

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project, Settings

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

cursor_group = typer.Typer(
    cls=Group, help="Where the next chunk of a query import starts: show, set.", no_args_is_help=True
)


def activate(name: ImportName, yes: Yes = False) -> None:
    """Start a draft's schedule and sensor: shows what the import will do and asks first. Honours `run_now`."""
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.loading import launcher, print_load

    settings, project, bound = _read(name)
    with ledger_of(settings) as connection:
        refuse_same(bound, ledger.find_import(connection, name), "active")
    _print_summary(bound)
    if not confirmed("activate it?", yes=yes):
        screen.note("nothing was changed")
        raise typer.Exit(1)
    steer(settings, bound, "activated", user(), now())
    screen.say(f"{screen.painted('active', 'good')}: import {name} {by_itself(bound)}")
    if bound.spec.schedule is None or not bound.spec.schedule.run_now:
        return
    with launcher(settings, project) as launch, screen.progress(name) as show:
        outcome = launch(name, on_stage=show)
        with launch.site.target.session() as connection:
            loads = ledger.loads_of_run(connection, outcome.run_id)
    for load in loads:
        print_load(load, outcome.report.samples if outcome.report else (), bound)
    if outcome.error is not None:
        raise outcome.error


def pause(name: ImportName) -> None:
    """Stop an import's schedule and sensor. Files that arrive meanwhile load after `resume`; `run` still works."""
    settings, _, bound = _read(name)
    steer(settings, bound, "paused", user(), now())
    screen.say(f"{screen.painted('paused', 'dim')}: import {name} runs only by hand until: ingest resume {name}")


def resume(name: ImportName) -> None:
    """Start a paused import's schedule and sensor again."""
    settings, _, bound = _read(name)
    steer(settings, bound, "resumed", user(), now())
    screen.say(f"{screen.painted('active', 'good')}: import {name} {by_itself(bound)}")


def unlock(name: ImportName, yes: Yes = False) -> None:
    """Let an import's mapping change. The next committed load locks it again. Columns in the target stay."""
    from ingest_pipelines import ledger
    from ingest_pipelines.merge import mapping_changes

    settings, _, bound = _read(name)
    with ledger_of(settings, writes=True) as connection:
        state = ledger.find_import(connection, name)
        if state is None or state.mapping is None:
            screen.say(f"import {name} is not locked: it has no committed load since it was created or unlocked")
            return
        changes = list(mapping_changes(state.mapping, bound).values())
        screen.say(f"import {name} is locked to {screen.plural(len(state.mapping), 'column')}")
        for change in changes or ["the YAML has the same mapping"]:
            screen.say(f"  {screen.wrapped(change, 2)}")
        if not confirmed("unlock it?", yes=yes):
            screen.note("nothing was changed")
            raise typer.Exit(1)
        ledger.unlock_mapping(connection, name)
        ledger.record_audit(connection, user(), "unlocked", now(), import_name=name, detail={"changes": changes})
    screen.say(f"{screen.painted('unlocked', 'good')}: the next committed load of {name} locks the mapping of its YAML")


@cursor_group.command("show", cls=Command)
def cursor_show(name: ImportName, json: Json = False) -> None:
    """Show the last committed value of a query import's cursor column."""
    from ingest_pipelines import ledger

    settings, _, bound = _read(name)
    require_cursor(bound)
    with ledger_of(settings) as connection:
        state = ledger.find_cursor(connection, name)
    cursor = bound.spec.source.cursor
    assert cursor is not None
    if json:
        screen.as_json(
            {
                "import": name, "column": cursor.column, "value": state.value if state else None,
                "start": cursor.start, "load": state.load if state else None,
                "updated_at": state.updated_at if state else None,
            }
        )  # fmt: skip
    elif state is None:
        screen.say(f"{name}: no chunk was committed yet; the first one starts after {cursor.column} = {cursor.start}")
    else:
        by = f"load {state.load}" if state.load is not None else "set by hand"
        screen.say(f"{name}: the next chunk starts after {cursor.column} = {state.value}")
        screen.say(f"  {by}, {screen.moment(state.updated_at)}")


@cursor_group.command("set", cls=Command)
def cursor_set(
    name: ImportName,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The next chunk starts after this value.")],
    yes: Yes = False,
) -> None:
    """Start the next chunk after VALUE. A lower value reads rows again, which is safe; a higher one skips rows."""
    from ingest_pipelines import ledger

    settings, _, bound = _read(name)
    text = parse_cursor_of(bound, value)
    cursor = bound.spec.source.cursor
    assert cursor is not None
    with ledger_of(settings) as connection:
        before = ledger.find_cursor(connection, name)
    screen.say(f"import {name}: {cursor.column} = {before.value if before else cursor.start}, to become {text}")
    if not confirmed("set it?", yes=yes):
        screen.note("nothing was changed")
        raise typer.Exit(1)
    set_cursor(settings, bound, text, user(), now(), expected=before)
    screen.say(f"{screen.painted('set', 'good')}: the next chunk of {name} starts after {text}")


def _read(name: str) -> tuple[Settings, Project, BoundImport]:
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    return settings, project, project.require(name)


def _print_summary(bound: BoundImport) -> None:
    """Prints what the import will do."""
    screen.say(f"{screen.painted(bound.name, 'strong')}  {bound.spec.description}".rstrip())
    for label, text in facts_of(bound):
        screen.say(f"  {label:<14}{screen.wrapped(text, 16)}")
