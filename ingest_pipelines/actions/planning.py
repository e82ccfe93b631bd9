"""The real load of an import, rolled back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import BoundImport
    from ingest_pipelines.model import Item, ItemKind, LoadReport
    from ingest_pipelines.orchestration.site import Site
    from ingest_pipelines.sources.base import FileSource
    from ingest_pipelines.sources.parts import FileSet


def plan_here(
    site: Site, name: str, show: Callable[[str], None], *, item: str = "", file: Path | None = None
) -> LoadReport:
    """Plans in this process; Dagster does not see it.

    Args:
        item: its key; "": the newest file, or what is due.
        file: a local file in place of one at the source.
    """
    bound = site.project.require(name)
    with site.target.session() as connection:
        chosen = choose_item(connection, site, bound, item, file)
    return rehearse(site, bound, chosen, show)


def choose_item(connection: psycopg.Connection, site: Site, bound: BoundImport, key: str, file: Path | None) -> Item:
    """The item to plan. A new one is not registered, so the daemon does not load it.

    Raises:
        UsageError: there is none.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.sources import open_files, upload_item
    from ingest_pipelines.sources.files import item_of, pick_files
    from ingest_pipelines.sources.near_misses import near_misses
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


def rehearse(site: Site, bound: BoundImport, item: Item, show: Callable[[str], None]) -> LoadReport:
    """Runs the load without its commit and deletes its files afterwards."""
    from ingest_pipelines import pipeline
    from ingest_pipelines.actions.launcher import user
    from ingest_pipelines.merge import earlier_time, refuse_early, require_ended_window
    from ingest_pipelines.model import Run
    from ingest_pipelines.orchestration.runs.run_context import with_created_types
    from ingest_pipelines.orchestration.runs.run_locks import PLAN_PREFIX, holding

    run = Run(id=f"{PLAN_PREFIX}{os.getpid()}-{site.clock():%Y%m%dT%H%M%S%f}", by=user(), dry_run=True)
    with site.target.session() as connection:
        bound = with_created_types(connection, bound)
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


def plan_json(report: LoadReport) -> dict[str, object]:
    """What the load would do, as `ingest plan --json` prints it."""
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
