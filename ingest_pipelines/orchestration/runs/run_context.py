"""What a run works on: its import, its item, and who asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from logging import Logger

from dagster import DagsterInstance, DagsterRun

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import UsageError
from ingest_pipelines.merge.early_load import Destination
from ingest_pipelines.model import Item, Run, Workspace
from ingest_pipelines.orchestration.assets.partitions import window_item
from ingest_pipelines.orchestration.runs.signed_tags import proven
from ingest_pipelines.orchestration.runs.tags import is_dry_run
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_query


@dataclass(frozen=True)
class Work:
    """One item of one import, being applied by one run."""

    site: Site
    bound: BoundImport
    item: Item
    run: Run

    @property
    def destination(self) -> Destination | None:
        """Where the process that validates will also load; None where another one does, or none."""
        if self.run.dry_run or not self.site.in_process:
            return None
        return Destination(self.site.target, self.run, self.site.clock())

    @property
    def workspace(self) -> Workspace:
        """The run's folders."""
        return self.site.workspace(self.run.id)


def find_work(
    site: Site, step_key: str, partition: str, run: DagsterRun, attempt: int, instance: DagsterInstance, log: Logger
) -> Work:
    """The work of a step, from the names that Dagster gives it and the ledger.

    Args:
        log: told which of the run's tags are not believed.

    Raises:
        UsageError: the ledger does not know the item: the partition was added by hand.
    """
    bound = site.bound(step_key.partition(".")[0])
    known = proven(run, bound, partition, site, instance)
    if known.unproven:
        log.warning(
            "Not believed, for `ingest run` did not set them: the tags %s. To force an item: ingest run %s --item %s "
            "--force",
            ", ".join(known.unproven),
            bound.name,
            known.item,
        )
    item_key = known.item
    with site.target.session() as connection:
        item = ledger.find_item(connection, bound.name, item_key)
    if item is None and bound.spec.source.window is not None:
        item = window_item(bound, item_key, open_query(bound.connection).uri(), site.clock())
    if item is None:
        raise UsageError(
            f"import {bound.name}: the ledger knows no item {item_key}; was its partition added by hand?",
            hint=f"let the sensor find the file, or run: ingest run {bound.name} --file F",
        )
    dry_run = is_dry_run(run.tags)
    return Work(site, bound, item, Run(run.run_id, attempt, by=known.by, forced=known.forced, dry_run=dry_run))
