"""A run's import, item and origin, as every step of the run needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from logging import Logger

import psycopg
from dagster import DagsterInstance, DagsterRun

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.retyped import keep_types
from ingest_pipelines.errors import UsageError
from ingest_pipelines.ledger import WaitingItem
from ingest_pipelines.merge.early_load import Destination
from ingest_pipelines.model import Item, Run, Workspace
from ingest_pipelines.orchestration.assets.partitions import window_item
from ingest_pipelines.orchestration.runs.signed_tags import verified_origin
from ingest_pipelines.orchestration.runs.tags import is_dry_run
from ingest_pipelines.orchestration.schedules.query_items import keep_due_windows
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_query
from ingest_pipelines.suppression import NOBODY, Suppressed


@dataclass(frozen=True)
class RunContext:
    """One item of one import, applied by one run.

    Attributes:
        before: items of the import that come before it and may be loaded; only where the step asked for them.
        suppressed: whom the import's table keeps out; only where the step asked for it.
    """

    site: Site
    bound: BoundImport
    item: Item
    run: Run
    before: Sequence[WaitingItem] = ()
    suppressed: Suppressed = NOBODY

    @property
    def destination(self) -> Destination | None:
        """Where this process will load the item that it validates; None if another process does, or none does."""
        if self.run.dry_run or not self.site.in_process:
            return None
        return Destination(self.site.target, self.run, self.site.clock())

    @property
    def workspace(self) -> Workspace:
        """The run's folders."""
        return self.site.workspace(self.run.id)


def find_run_context(
    site: Site,
    step_key: str,
    partition: str,
    run: DagsterRun,
    attempt: int,
    instance: DagsterInstance,
    log: Logger,
    *,
    in_line: bool = False,
    with_suppressed: bool = False,
) -> RunContext:
    """The context of a step, from the names that Dagster gives it and from the ledger.

    Args:
        log: gets a warning that names the run's tags that are ignored.
        in_line: read which items come before the run's own.
        with_suppressed: read whom the import's table keeps out.

    Raises:
        UsageError: the ledger has no such item: the partition was added by hand.
    """
    bound = site.bound(step_key.partition(".")[0])
    origin = verified_origin(run, bound, partition, site, instance)
    if origin.untrusted_tags:
        log.warning(
            "Ignored the tags %s: `ingest run` did not set them. To force an item: ingest run %s --item %s --force",
            ", ".join(origin.untrusted_tags),
            bound.name,
            origin.item,
        )
    with site.target.session() as connection:
        item, before = _find_in_line(connection, site, bound, origin.item, in_line=in_line and site.asked is None)
        bound = with_created_types(connection, bound)
        table = bound.database.qualified_table
        suppressed = ledger.find_suppressed(connection, table) if with_suppressed else NOBODY
    if item is None:
        raise UsageError(
            f"import {bound.name}: the ledger has no item {origin.item}; was its partition added by hand?",
            hint=f"let the sensor find the file, or run: ingest run {bound.name} --file F",
        )
    dry_run = is_dry_run(run.tags)
    if in_line and item.kind == "window" and not dry_run:
        keep_due_windows(site, bound, item)
    of_run = Run(run.run_id, attempt, by=origin.by, forced=origin.forced, dry_run=dry_run)
    return RunContext(site, bound, item, of_run, before, suppressed)


def with_created_types(connection: psycopg.Connection, bound: BoundImport) -> BoundImport:
    """The import with the types that its fields were created with: to retype one in databases.yaml stops no import."""
    registered = ledger.registered_fields(connection, bound.database_name)
    return keep_types(bound, {name: field.type for name, field in registered.items()})


def find_item(site: Site, bound: BoundImport, key: str) -> Item | None:
    """The item with that key: the ledger's, or a window that no run has read yet; None: there is none.

    Raises:
        UsageError: the import has windows, and none with that key has ended.
    """
    with site.target.session() as connection:
        return _find_in_line(connection, site, bound, key, in_line=False)[0]


def _find_in_line(
    connection: psycopg.Connection, site: Site, bound: BoundImport, key: str, *, in_line: bool
) -> tuple[Item | None, Sequence[WaitingItem]]:
    """The item, and those before it."""
    item = ledger.find_item(connection, bound.name, key)
    if item is None and bound.spec.source.window is not None:
        item = window_item(bound, key, open_query(bound.connection).uri(), site.clock())
    before = ledger.waiting_before(connection, item) if in_line and item is not None else ()
    return item, before
