"""`ingest rejects replay`: loads corrected rows as an item of their own and marks their rejects resolved."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.actions.reject_file import Export, read_export
from ingest_pipelines.actions.replay import replay_rows
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import RejectsAboveLimit, printable

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport


def replay(
    name: ImportName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The corrected export.")],
    load: Annotated[
        int | None,
        typer.Option("--load", metavar="N", help="The load of the rejects, if an older version exported FILE."),
    ] = None,
    json: Json = False,
) -> None:
    """Load corrected rows. Rows that pass are marked resolved; it is safe to replay a file twice."""
    from ingest_pipelines.cli.loading import launcher, print_load
    from ingest_pipelines.cli.reports import load_json
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    bound = project.require(name)
    export = read_export(file, name)
    with screen.progress(name) as show:
        replayed = replay_rows(settings, bound, export, load, partial(launcher, settings, project), show, screen.note)
    if replayed.result is None:
        _print_nothing(export, json=json)
        return
    error, report = replayed.result.error, replayed.result.report
    if json:
        screen.as_json(
            [{**load_json(run_load), "resolved": sum(replayed.resolved.values())} for run_load in replayed.loads]
        )
    else:
        for run_load in replayed.loads:
            samples = report.samples if report else ()
            print_load(run_load, samples, bound, reason=error is None, corrected=file)
        _print_resolved(bound, replayed.resolved, replayed.left)
    if isinstance(error, RejectsAboveLimit):
        error.hint = f"nothing was merged; correct these rows in {printable(str(file))}, or remove them"
    if error is not None:
        raise error


def _print_nothing(export: Export, *, json: bool) -> None:
    rows, file = export.row_count, printable(str(export.file))
    what = f"all {screen.plural(rows, 'row')} of {file} are already resolved" if rows else f"{file} has no rows"
    screen.note(f"nothing to replay: {what}")
    if json:
        screen.as_json([])


def _print_resolved(bound: BoundImport, resolved: Mapping[int, int], left: Mapping[int, int]) -> None:
    screen.say()
    for load, rows in resolved.items():
        screen.say(f"  {screen.plural(rows, 'reject')} of load {load} resolved, {screen.number(left[load])} left")
    for load in (load for load in resolved if left[load]):
        screen.say(f"  ingest rejects export {bound.name} --load {load} --output rejects.csv")
