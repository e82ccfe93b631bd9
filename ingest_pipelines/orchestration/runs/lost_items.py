"""Items without a run: the housekeeping sensor launches one for each.

A crash loses the run of an item that is in the ledger already; an import with `run_now` begins without any item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache

from dagster import DagsterInstance, RunRequest, SkipReason

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.automation import why_stopped
from ingest_pipelines.orchestration.runs.run_requests import has_run
from ingest_pipelines.orchestration.schedules.cron import why_no_tick
from ingest_pipelines.orchestration.schedules.import_schedule import due_run_requests
from ingest_pipelines.orchestration.sensors.file_items import Listings
from ingest_pipelines.orchestration.site import Site

LOST_AFTER = timedelta(minutes=5)
"""An item that waits this long has lost its run to a crash."""


def lost_items(site: Site, instance: DagsterInstance, now: datetime) -> list[Item]:
    """Items that are in the ledger and have no run: the process died in between."""

    @cache
    def runs_by_itself(name: str) -> bool:
        bound = site.project.imports.get(name)
        return bound is not None and not why_stopped(site, bound)

    with site.target.session() as connection:
        waiting = ledger.waiting_items(connection, now - LOST_AFTER)
    return [item for item in waiting if runs_by_itself(item.import_name) and not has_run(item, instance)]


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


def first_runs(site: Site, bound: BoundImport, instance: DagsterInstance) -> Iterator[RunRequest]:
    """The runs that `run_now` requests, if the import is active and its source has an item."""
    if why_stopped(site, bound):
        return
    try:
        run_requests = due_run_requests(site, bound, Listings(), instance, by="schedule", tick="first")
    except IngestError:
        return  # the source is not ready; the ticks of the import's schedule show the error
    if not isinstance(run_requests, SkipReason):
        yield from run_requests
