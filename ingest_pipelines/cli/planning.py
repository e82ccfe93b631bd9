"""`ingest plan`: the real load, rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.actions.planning import plan_here, plan_json
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import IngestError, LoadError, RejectsAboveLimit, UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.model import LoadReport


def plan(
    name: ImportName,
    item: Annotated[str, typer.Argument(metavar="[ITEM]", help="The item to plan; default: the newest file.")] = "",
    file: Annotated[Path | None, typer.Option("--file", metavar="F", help="Plan the load of this local file.")] = None,
    in_dagster: Annotated[
        bool, typer.Option("--in-dagster", help="Plan in a Dagster run, visible in its UI; nothing is committed.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a load would do: counts, rejects, DDL. Runs the real load, then rolls it back."""
    if item and file is not None:
        raise UsageError("ITEM and --file exclude each other", hint="use only one of them")
    if in_dagster and file is not None:
        raise UsageError("--in-dagster cannot plan a local file", hint=f"leave it out: ingest plan {name} --file F")
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.site import Site

    settings = read_settings()
    project = read_project(settings.home)
    bound = project.require(name)
    with screen.progress(name) as show:
        report = (
            _run(settings, project, name, item, show)
            if in_dagster
            else plan_here(Site(settings, project), name, show, item=item, file=file)
        )
    if json:
        screen.as_json(plan_json(report))
    else:
        _print(report, bound, " ".join([f"ingest run {name}", *_choice(item, file)]))
    if report.status != "committed":
        allowed = bound.spec.rejects.allows(report.counts.rejected, report.counts.read)
        problem: type[IngestError] = LoadError if allowed else RejectsAboveLimit
        reason, *hint = report.reason.splitlines()
        steps = "" if problem is RejectsAboveLimit else "\n".join(map(str.strip, hint))  # a plan's rejects are not kept
        raise problem(f"this load would not commit: {reason}", hint=steps)


def _run(settings: Settings, project: Project, name: str, item: str, show: screen.Show) -> LoadReport:
    """Plans in a Dagster run."""
    from ingest_pipelines.cli.loading import launcher

    with launcher(settings, project) as launch:
        report = launch(name, item_key=item or None, dry_run=True, on_stage=show).report
    assert report is not None
    return report


def _choice(item: str, file: Path | None) -> list[str]:
    """The options with which `ingest run` loads what was planned."""
    return ["--item", item] if item else ["--file", screen.quoted(file)] if file is not None else []


def _print(report: LoadReport, bound: BoundImport, command: str) -> None:
    """Prints what the load would do. Whether it would commit is printed once: here, or by the error that follows."""
    from ingest_pipelines.cli.loading import print_codes, print_counts, print_waiting
    from ingest_pipelines.cli.reports import cleaned_words
    from ingest_pipelines.model import item_name

    screen.say(f"{screen.painted('plan', 'strong')}: import {bound.name}, item {item_name(report.item_key)}")
    commits = report.status == "committed"
    what = "what a load would do now" if commits else "how far a load would get now"
    screen.say(f"  this is {what}; everything was rolled back")
    screen.say()
    print_counts(report.counts, bound, suppressed=report.suppressed, absent=report.absent)
    print_waiting(report.kept, report.healed)
    if report.codes:
        screen.say()
        print_codes(report.codes, report.samples)
    screen.say()
    for statement in report.ddl:
        screen.say(f"  ddl: {screen.wrapped(statement, 7)}")
    if words := cleaned_words(report.cleaned):
        screen.say(f"  cleaned cells: {screen.wrapped(words, 17)}")
    for warning in report.warnings:
        screen.say(f"  {screen.painted('warning', 'warn')}: {screen.wrapped(warning, 11)}")
    waited = report.seconds.get("lock", 0.0)
    if waited >= 1:
        screen.say(f"  waited {waited:.1f} s for another load of {bound.database.table}")
    if commits:
        screen.say(f"  {command}    loads it")
