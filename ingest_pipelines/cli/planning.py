"""`ingest plan`: the real load, rolled back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import IngestError, LoadError, RejectsAboveLimit, UsageError

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.model import Item, ItemKind, LoadReport
    from ingest_pipelines.orchestration.site import Site
    from ingest_pipelines.sources.base import FileSource
    from ingest_pipelines.sources.parts import FileSet


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

    settings = read_settings()
    project = read_project(settings.home)
    bound = project.require(name)
    with screen.progress(name) as show:
        report = (
            _run(settings, project, name, item, show)
            if in_dagster
            else _here(settings, project, name, item, file, show)
        )
    if json:
        screen.as_json(_report_json(report))
    else:
        _print(report, bound, " ".join([f"ingest run {name}", *_choice(item, file)]))
    if report.status != "committed":
        allowed = bound.spec.rejects.allows(report.counts.rejected, report.counts.read)
        problem: type[IngestError] = LoadError if allowed else RejectsAboveLimit
        reason, *hint = report.reason.splitlines()
        steps = "" if problem is RejectsAboveLimit else "\n".join(map(str.strip, hint))  # a plan's rejects are not kept
        raise problem(f"this load would not commit: {reason}", hint=steps)


def _here(
    settings: Settings, project: Project, name: str, item: str, file: Path | None, show: screen.Show
) -> LoadReport:
    """Plans in this process; Dagster does not see it."""
    from ingest_pipelines.orchestration.site import Site

    site, bound = Site(settings, project), project.require(name)
    with site.target.session() as connection:
        chosen = _choose(connection, site, bound, item, file)
    return _rehearse(site, bound, chosen, show)


def _run(settings: Settings, project: Project, name: str, item: str, show: screen.Show) -> LoadReport:
    """Plans in a Dagster run."""
    from ingest_pipelines.cli.loading import launcher

    with launcher(settings, project) as launch:
        report = launch(name, item_key=item or None, dry_run=True, on_stage=show).report
    assert report is not None
    return report


def _choose(connection: psycopg.Connection, site: Site, bound: BoundImport, key: str, file: Path | None) -> Item:
    """The item to plan. A new one is not registered, so the daemon does not load it.

    Raises:
        UsageError: there is none.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.sources import open_files, upload_item
    from ingest_pipelines.sources.files import item_of, near_misses, pick_files
    from ingest_pipelines.sources.parts import file_sets

    if file is not None:
        return upload_item(bound.name, file, bound.spec.source.parts)
    if key:
        registered = ledger.find_item(connection, bound.name, key)
        if registered is None:
            raise UsageError(f"import {bound.name} has no item {key}", hint=f"ingest report {bound.name}")
        return registered
    if not bound.reads_files:
        return _due(site, bound)
    wanted, pattern = bound.spec.source.file, bound.spec.source.pattern
    endings = bound.spec.source.endings
    if wanted is None:
        raise UsageError(f"import {bound.name} reads uploads", hint=f"name the file: ingest plan {bound.name} --file F")
    with open_files(bound.connection) as source:
        folder = wanted.strip("/").rpartition("/")[0]
        listing = source.listing(folder, nested=False)
        if (parts := bound.spec.source.parts) is not None:
            return _newest_file_set(bound, source, file_sets(listing, folder, parts))
        picked = pick_files(listing, wanted, "last", site.clock(), timedelta(0), pattern=pattern, endings=endings).files
        if not picked:
            alike = near_misses(listing, wanted, pattern, endings)
            raise UsageError(f"import {bound.name}: there is no file {wanted} at {bound.connection_name} yet{alike}")
        return item_of(
            bound.name, picked[-1], source.uri(picked[-1].path), source=wanted, pattern=pattern, endings=endings
        )


def _newest_file_set(bound: BoundImport, source: FileSource, found: Sequence[FileSet]) -> Item:
    """The newest delivery of several files, whole.

    Raises:
        UsageError: there is none, or it is not complete.
    """
    from ingest_pipelines.sources.parts import require_whole

    if not found:
        raise UsageError(f"import {bound.name}: no file at {bound.connection_name} fits source.parts.pattern yet")
    require_whole(found[-1], source, bound.name)
    return found[-1].item(bound.name, source.uri(found[-1].parts[0].path))


def _due(site: Site, bound: BoundImport) -> Item:
    """The item that a query import would read now: the whole query, the cursor's next chunk, or the last window."""
    from ingest_pipelines.model import Item, ItemKey
    from ingest_pipelines.sources import open_query

    uri = open_query(bound.connection).uri()
    if bound.spec.source.window is None:
        kind: ItemKind = "query" if bound.spec.source.cursor is None else "cursor"
        return Item(bound.name, ItemKey(f"{site.clock():%Y-%m-%dT%H-%M-%SZ}_plan"), kind, uri=uri)
    from ingest_pipelines.orchestration.assets.partitions import ended_windows, window_item

    ended = ended_windows(bound, site.clock(), after=None)
    if not ended:
        raise UsageError(f"import {bound.name}: its first window has not ended yet")
    return window_item(bound, ended[-1], uri, site.clock())


def _rehearse(site: Site, bound: BoundImport, item: Item, show: screen.Show) -> LoadReport:
    """Runs the load without its commit and deletes its files afterwards."""
    from ingest_pipelines import pipeline
    from ingest_pipelines.actions.launcher import user
    from ingest_pipelines.merge import earlier_time, refuse_early, require_ended_window
    from ingest_pipelines.model import Run
    from ingest_pipelines.orchestration.runs.run_locks import PLAN_PREFIX, holding

    run = Run(id=f"{PLAN_PREFIX}{os.getpid()}-{site.clock():%Y%m%dT%H%M%S%f}", by=user(), dry_run=True)
    with holding(site.settings.state, run.id):  # if this is killed, the next run removes its files
        workspace = site.workspace(run.id)
        refuse_early(site.target, bound)
        require_ended_window(site.target, item, site.clock())
        try:
            show("land")
            if item.kind == "cursor":
                item = pipeline.next_chunk(item, bound, site.target, run)
            landing = pipeline.land(item, bound, workspace, earlier_time(site.target, item, site.clock()))
            show("validate")
            suppressed = pipeline.find_suppressed(site.target, bound)
            validated = pipeline.validate(landing, bound, workspace, suppressed=suppressed)
            show("merge")
            return pipeline.load(validated, bound, site.target, run, site.clock(), workspace=workspace)
        finally:
            shutil.rmtree(workspace.spool, ignore_errors=True)
            shutil.rmtree(workspace.spill, ignore_errors=True)


def _report_json(report: LoadReport) -> dict[str, object]:
    counts = report.counts
    return {
        "import": report.import_name, "item": report.item_key, "status": report.status, "read": counts.read,
        "inserted": counts.inserted, "updated": counts.updated, "unchanged": counts.unchanged,
        "unmatched": counts.unmatched, "skipped": counts.skipped, "rejected": counts.rejected,
        "suppressed": report.suppressed,
        "deleted": counts.deleted, "absent": report.absent,
        "kept": report.kept, "healed": report.healed,
        "codes": dict(report.codes), "cleaned": {name: dict(words) for name, words in report.cleaned.items()},
        "ddl": list(report.ddl), "warnings": list(report.warnings),
        "seconds": dict(report.seconds), "error": report.reason, "dry_run": True,
    }  # fmt: skip


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
