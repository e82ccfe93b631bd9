"""Items that wait and that no sensor or schedule asks for: the housekeeping sensor requests a run for each.

A crash loses the run of an item that is in the ledger already; a run ends before it reaches the ledger; a source is
down for longer than a run tries. And an import with `run_now` begins without any item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunRequest, RunsFilter, SkipReason

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines.orchestration.assets.partitions import window_item
from ingest_pipelines.orchestration.automation import watches_files, why_stopped, why_stopped_by
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.renames import earlier_names
from ingest_pipelines.orchestration.runs.item_runs import runs_of_items
from ingest_pipelines.orchestration.runs.run_requests import NextRequest, next_request
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run, is_run_of
from ingest_pipelines.orchestration.schedules.cron import why_no_tick
from ingest_pipelines.orchestration.schedules.import_schedule import due_run_requests
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_query

LOST_AFTER = timedelta(minutes=5)
"""So long the import's own sensor or schedule has to request a run; then it does not, and housekeeping does."""

WINDOWS_LOOKED_FOR = timedelta(days=2)
"""A backfill's windows whose runs ended earlier than this, and never reached the ledger, are not looked for."""

_RUNS_LOOKED_AT = 2_000


def lost_items(site: Site, instance: DagsterInstance, now: datetime) -> list[tuple[Item, NextRequest]]:
    """Items in the ledger to request a run for, oldest first: see `next_request`."""
    with site.target.session() as connection:
        states = ledger.list_imports(connection)
        waiting = ledger.waiting_items(connection)
    active = {name for name, bound in site.project.imports.items() if not why_stopped_by(site, bound, states.get(name))}
    waiting = [each for each in waiting if each.item.import_name in active]
    places = [(each.item.import_name, each.item.key) for each in waiting]
    runs = runs_of_items(places, site.project.placement, instance, now)
    found = []
    for each in waiting:
        item = each.item
        request = next_request(each.state, item.kind, runs.get((item.import_name, item.key)))
        others_first = item.kind == "file" or request.standing == "never ran"
        if request.is_due(now, after=LOST_AFTER if others_first else timedelta(0)):
            found.append((item, request))
    return found


def register_lost_windows(site: Site, instance: DagsterInstance, now: datetime) -> list[Item]:
    """Windows whose runs ended before the ledger had them, registered as items.

    A backfill launches runs of windows that no tick has registered; such a run registers its window when it loads it.
    Runs of the name that an import had before (`renamed_from`) count as its own.
    """
    windowed = {name: bound for name, bound in site.project.imports.items() if bound.spec.source.window is not None}
    if not windowed:
        return []
    names = {name: name for name in windowed}
    names |= {old: name for old, name in earlier_names(site.project.imports).items() if name in windowed}
    ended = RunsFilter(
        statuses=[DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED],
        tags={IMPORT_TAG: list(names)},
        updated_after=now - WINDOWS_LOOKED_FOR,
    )
    tagged = {
        (run.tags[IMPORT_TAG], ItemKey(run.tags[PARTITION_NAME_TAG]))
        for run in instance.get_runs(ended, limit=_RUNS_LOOKED_AT)
        if PARTITION_NAME_TAG in run.tags and not is_dry_run(run.tags) and is_run_of(run, site.project.placement)
    }
    of_old = [(name, key) for name, key in tagged if name not in windowed]
    of_old_names = runs_of_items(of_old, site.project.placement, instance, now)
    ended_by_a_person = {place for place, runs in of_old_names.items() if runs.end == "terminated"}
    keys = {(names[name], key) for name, key in tagged - ended_by_a_person}
    uris = {name: open_query(windowed[name].connection).uri() for name in {name for name, _ in keys}}
    items = []
    for name, key in sorted(keys):
        try:
            items.append(window_item(windowed[name], key, uris[name], now))
        except UsageError:
            continue  # the import's windows are others by now
    with site.target.session() as connection:
        newest = ledger.newest_window_ends(connection, sorted(uris))
        items = [item for item in items if not _comes_by_schedule(item, windowed[item.import_name], newest)]
        ledger.register_items(connection, items, now)
    return items


def _comes_by_schedule(window: Item, bound: BoundImport, newest: Mapping[str, datetime]) -> bool:
    """Whether the next tick registers the window, together with those that ended before it."""
    assert window.window_end is not None
    last = newest.get(bound.name)
    return bound.spec.has_ticks and last is not None and window.window_end > last


def imports_without_items(site: Site, imports: Sequence[BoundImport]) -> list[BoundImport]:
    """Imports with `run_now` that have no item in the ledger yet."""
    now = site.clock()
    plans = [(bound, bound.spec.schedule) for bound in imports]
    eager = [bound for bound, plan in plans if plan is not None and plan.run_now and not why_no_tick(plan, now)]
    if not eager:
        return []
    with site.target.session() as connection:
        fresh = ledger.imports_without_items(connection, [bound.name for bound in eager])
    return [bound for bound in eager if bound.name in fresh]


def missed_looks(site: Site, imports: Sequence[BoundImport]) -> list[BoundImport]:
    """Imports of files without a sensor whose schedule could not see their source: its next tick may be a day away."""
    only_scheduled = [bound for bound in imports if bound.spec.schedule is not None and not watches_files(bound)]
    if not any(bound.reads_files for bound in only_scheduled):
        return []
    with site.target.session() as connection:
        checks = ledger.list_source_checks(connection)
    return [
        bound
        for bound in only_scheduled
        if bound.reads_files and bound.name in checks and checks[bound.name].trouble is not None
    ]


def first_runs(
    site: Site, bound: BoundImport, instance: DagsterInstance, listings: Listings, *, tick: str = "first"
) -> Iterator[RunRequest]:
    """The runs that `run_now` requests, or that a schedule missed, if the import is active and its source answers."""
    if why_stopped(site, bound):
        return
    try:
        run_requests = due_run_requests(site, bound, listings, instance, by="schedule", tick=tick)
    except IngestError:
        return  # the source is not ready; the ticks of the import's schedule show the error
    if not isinstance(run_requests, SkipReason):
        yield from run_requests
