"""`ingest status`: every import, and every item that should be in the table and is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.actions.status import import_lines
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json, import_names
from ingest_pipelines.cli.status_text import import_text, status_text
from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import Project, Settings
    from ingest_pipelines.orchestration.monitoring.overview import Overview

WATCH_SECONDS = 3.0


def status(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="List every open item of this import.", autocompletion=import_names)
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds, until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show every import: status, last load, next run, and the open items, which should be in the table and are not.

    An item is open while it failed, was refused, dropped or terminated, is due, settling, queued, paused, held or
    running. Each has a reason and the next command.
    """
    from ingest_pipelines.config import read_settings
    from ingest_pipelines.orchestration.monitoring.overview import looking

    settings = read_settings()
    if watch and (json or not screen.is_terminal()):
        raise UsageError("--watch is for a terminal", hint="run: ingest status --json")
    with looking(settings, _warn) as look:
        if json:
            _, lines, _ = _gather(settings, look)
            screen.as_json([line for line in lines if line["import"] == name] if name else lines)
        elif watch:
            _watch(partial(_text, settings, look, name))
        else:
            for text in _text(settings, look, name):
                screen.say(text)


def _warn(message: str) -> None:
    screen.note(f"{screen.painted('warning', 'warn')}: {message}; runs are not shown")


def _watch(text: Callable[[], Iterable[str]]) -> None:
    """Shows the text again every few seconds until Ctrl-C."""
    try:
        while True:
            screen.redraw(list(text()))
            sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def _text(settings: Settings, look: Callable[[Project, datetime], Overview], name: str) -> Iterator[str]:
    project, lines, now = _gather(settings, look)
    if not name:
        yield f"{screen.plural(len(lines), 'import')} in {project.home}"
        yield from status_text(lines, now)
        return
    chosen = [line for line in lines if line["import"] == name]
    if not chosen:
        project.require(name)
    yield from import_text(chosen[0], now)


def _gather(
    settings: Settings, look: Callable[[Project, datetime], Overview]
) -> tuple[Project, list[dict[str, Any]], datetime]:
    from ingest_pipelines.actions.target import now
    from ingest_pipelines.config import read_project

    project, at = read_project(settings.home), now()
    overview = look(project, at)
    seen = overview.survey
    lines = import_lines(
        project, seen.states, seen.summaries, at, open_items=seen.open_items, running=seen.running,
        ticks=overview.ticks, checks=seen.source_checks, kept_rows=seen.kept_rows,
    )  # fmt: skip
    return project, lines, at
