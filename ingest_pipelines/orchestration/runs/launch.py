"""`ingest run`: one run of one import in this process, which the Dagster UI shows like any other run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import DagsterExecutionInterruptedError, DagsterInstance, Failure, RunsFilter

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, InternalError, UsageError
from ingest_pipelines.model import Item, ItemKind, LoadReport
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key, ended_windows
from ingest_pipelines.orchestration.dagster_internals.in_process_run import create_run, execute_run, new_run_id
from ingest_pipelines.orchestration.dagster_internals.tags import MAX_RETRIES_TAG, PARTITION_NAME_TAG
from ingest_pipelines.orchestration.definitions import build_definitions
from ingest_pipelines.orchestration.instance import LOCATION
from ingest_pipelines.orchestration.io_managers.step_outputs import read_report
from ingest_pipelines.orchestration.monitoring.open_item import BROKEN, OpenItem, OpenState
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.partition_events import report_runs
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.dead_runs import clear_up_dead_runs
from ingest_pipelines.orchestration.runs.run_context import find_item
from ingest_pipelines.orchestration.runs.run_files import forget_run, purge_runs
from ingest_pipelines.orchestration.runs.tags import (
    BY_TAG,
    DRY_RUN_TAG,
    FORCED_TAG,
    ITEM_TAG,
    run_tags,
)
from ingest_pipelines.orchestration.schedules.query_items import find_query_items
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import LOOK_SECONDS, Listings
from ingest_pipelines.orchestration.site import Asked, Site, Stage
from ingest_pipelines.sources import upload_item

_BEFORE_A_RUN: frozenset[OpenState] = frozenset({"due", "queued"})
"""States of an item that no run loads yet."""

_ANY_WINDOW = "name one to read it again: ingest run NAME --item 2026-01-31"


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        report: the load's result; None if the run failed before the ledger had one.
        error: why it failed.
    """

    run_id: str
    item: Item
    report: LoadReport | None
    error: IngestError | None


def run_import(
    site: Site,
    instance: DagsterInstance,
    name: str,
    *,
    item_key: str | None = None,
    file: Path | None = None,
    corrections: Sequence[ledger.Correction] | None = None,
    forced: bool = False,
    dry_run: bool = False,
    by: str = "",
    on_stage: Callable[[Stage], None] | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Applies the item in a run of its own; by default the newest file at the source.

    Args:
        file: a local file to load in place of one at the source.
        corrections: the file is a replay, and its rows correct these rejects.
        dry_run: a plan: the ledger and Dagster have the item afterwards, and nothing else changes.
        by: who requested it, as user@host.
        on_stage: called with each stage as it begins.
        on_rows: called while rows are validated; see `Site.watch_rows`.

    Raises:
        UsageError: no such import, item or file.
        SourceUnavailable, SourceDenied, TargetUnavailable: before there was an item to run.
    """
    bound = site.project.require(name)
    cleared_up = clear_up_dead_runs(site, instance)
    report_runs(site, instance, instance.get_run_records(RunsFilter(run_ids=cleared_up)) if cleared_up else ())
    purge_runs(site.settings, site.clock(), instance)
    take_over_history(site, bound, instance, by)
    item = _choose(site, bound, item_key, file, corrections)
    project = replace(site.project, imports={name: bound}, broken={})
    settings = replace(site.settings, executor="in_process")  # a person waits for this process
    run_id = new_run_id()
    asked = Asked(run_id, item.key, by, forced)
    watch, watch_rows = on_stage or site.watch, on_rows or site.watch_rows
    site = replace(site, settings=settings, project=project, watch=watch, watch_rows=watch_rows, asked=asked)
    job = build_definitions(site).resolve_implicit_global_asset_job_def()
    key = _partition_of(item, bound, site)
    add_partitions(bound, [key], instance)
    with run_locks.holding(site.settings.state, run_id):  # from before the run exists until its report is read
        run = create_run(
            instance,
            job,
            asset_key(bound),
            run_id,
            tags={
                PARTITION_NAME_TAG: key,
                MAX_RETRIES_TAG: "0",  # a person waits, and sees the error
                **run_tags(bound),
                BY_TAG: by,  # for the run's page; the process itself has `Site.asked`
                **({FORCED_TAG: "true"} if forced else {}),
                **({ITEM_TAG: str(item.key)} if key != item.key else {}),
                **({DRY_RUN_TAG: "true"} if dry_run else {}),
            },
            location=LOCATION,
        )
        error: IngestError | None = None
        try:
            execute_run(instance, job, run)
        except Failure as failure:
            if not isinstance(failure.__cause__, IngestError):
                raise
            error = failure.__cause__
        except DagsterExecutionInterruptedError:
            forget_run(site.settings.spool, site.settings.spill, run_id)  # a person starts it again, or does not
            raise KeyboardInterrupt from None
        report = read_report(site.settings.spill, run_id)
    if report is None and error is None:
        raise InternalError(f"run {run_id} of import {name} ended without a report")
    return RunResult(run_id, item, report, error)


def failed_items(site: Site, instance: DagsterInstance, name: str) -> list[Item]:
    """The import's items on the list of open items that a run has to bring, in order: their last load or run failed.

    And files before them that still wait: loaded after them, they would be refused as stale.
    """
    bound = site.project.require(name)
    entries = [entry for entry in open_items(site, instance, site.clock()) if entry.import_name == name]
    broken = _items_of(site, bound, [entry for entry in entries if entry.state in BROKEN])
    waiting = _items_of(site, bound, [entry for entry in entries if entry.state in _BEFORE_A_RUN])
    last = max(map(_age, broken), default=None)
    early = [item for item in waiting if item.modified_at is not None and last is not None and _age(item) < last]
    return sorted([*broken, *early], key=_age)


def _items_of(site: Site, bound: BoundImport, entries: Sequence[OpenItem]) -> list[Item]:
    """Those of the entries that the ledger knows."""
    items = [find_item(site, bound, entry.item) for entry in entries]
    return [item for item in items if item is not None]


def _age(item: Item) -> tuple[bool, datetime, int, str]:
    moment = item.modified_at or item.window_start
    return moment is None, moment or datetime.min.replace(tzinfo=UTC), item.serial or -1, item.key


def _partition_of(item: Item, bound: BoundImport, site: Site) -> str:
    """The partition at which the UI shows the run: the item's own; for a file of a window import the last window."""
    if bound.spec.source.window is None or item.kind == "window":
        return str(item.key)
    ended = ended_windows(bound, site.clock(), after=None)
    if not ended:
        raise UsageError(f"import {bound.name}: its first window has not ended")
    return ended[-1]


def _choose(
    site: Site,
    bound: BoundImport,
    item_key: str | None,
    file: Path | None,
    corrections: Sequence[ledger.Correction] | None,
) -> Item:
    if file is not None:
        kind: ItemKind = "upload" if corrections is None else "replay"
        item = upload_item(bound.name, file, bound.spec.source.parts, kind)
        with site.target.session() as connection:
            ledger.register_items(connection, [item], site.clock())
            ledger.add_corrections(connection, item, corrections or ())
        return item
    if item_key is not None:
        named_item = find_item(site, bound, item_key)
        if named_item is None:
            raise UsageError(
                f"import {bound.name}: there is no item {item_key}", hint=f"list its items: ingest report {bound.name}"
            )
        return named_item
    if not bound.reads_files:
        due = find_query_items(site, bound).items
        if not due:
            raise UsageError(f"import {bound.name}: no window has ended since the last one", hint=_ANY_WINDOW)
        return due[0]
    if bound.spec.source.file is None:
        raise UsageError(f"import {bound.name} takes uploads", hint=f"run: ingest run {bound.name} --file F")
    listings = Listings(patience_seconds=2 * LOOK_SECONDS)  # a person waits until the look is over
    file_items = find_file_items(site, bound, listings, settle=timedelta(0))  # a person says it is whole
    if not file_items.items:
        raise UsageError(f"import {bound.name}: {file_items.why_nothing(bound)}")
    return file_items.items[-1]
