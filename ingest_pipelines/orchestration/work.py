"""What a run works on: its import, its item, and who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import UsageError
from ingest_pipelines.model import Item, ItemKey, Run
from ingest_pipelines.orchestration.partitions import window_item
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.pipeline import Destination, Workspace
from ingest_pipelines.sources import open_query

BY_TAG = "ingest/by"
FORCED_TAG = "ingest/forced"
IMPORT_TAG = "ingest/import"
CONNECTION_TAG = "ingest/connection"
ITEM_TAG = "ingest/item"
STATUS_TAG = "ingest/status"
"""Tags of a run. A re-run from the UI has none of them: everything a load depends on is in the ledger. Only an item
that cannot be a partition, such as a replay of a window import, is named by ITEM_TAG."""

DRY_RUN_TAG = "ingest/dry_run"
"""A run with it plans: it does all that a load does, and takes it back."""

PLAN_TAG = "ingest/plan"
"""What a plan found, in two words, for the list of runs."""


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
        if self.run.dry_run or not self.site.loads_where_it_judges:
            return None
        return Destination(self.site.target, self.run, self.site.clock())

    @property
    def workspace(self) -> Workspace:
        """The run's folders."""
        return self.site.workspace(self.run.id)


def find_work(site: Site, step_key: str, item_key: str, run_id: str, attempt: int, tags: Mapping[str, str]) -> Work:
    """The work of a step, from the names that Dagster gives it and the ledger.

    Raises:
        UsageError: the ledger does not know the item: the partition was added by hand.
    """
    bound = site.bound(step_key.partition(".")[0])
    item_key = tags.get(ITEM_TAG, item_key)
    with site.target.session() as connection:
        item = ledger.find_item(connection, bound.name, ItemKey(item_key))
    if item is None and bound.spec.source.window is not None:
        item = window_item(bound, item_key, open_query(bound.connection).uri(), site.clock())
    if item is None:
        raise UsageError(
            f"import {bound.name}: the ledger knows no item {item_key}; was its partition added by hand?",
            hint=f"let the sensor find the file, or run: ingest run {bound.name} --file F",
        )
    run = Run(
        run_id, attempt, by=tags.get(BY_TAG, "dagster"), forced=tags.get(FORCED_TAG) == "true", dry_run=is_dry_run(tags)
    )
    return Work(site, bound, item, run)


def run_tags(bound: BoundImport, by: str, *, forced: bool = False, dry_run: bool = False) -> dict[str, str]:
    """Tags for a run of the import."""
    tags = {IMPORT_TAG: bound.name, CONNECTION_TAG: bound.connection_name, BY_TAG: by}
    return tags | ({FORCED_TAG: "true"} if forced else {}) | ({DRY_RUN_TAG: "true"} if dry_run else {})


def is_dry_run(tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags plans. Whatever a person writes beside the tag, but `false`, means that."""
    return tags.get(DRY_RUN_TAG, "false").strip().lower() != "false"
