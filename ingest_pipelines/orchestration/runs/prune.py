"""Old partitions and runs are deleted from Dagster, as far as the ledger says the same.

An item that the ledger has not settled keeps its partition and its runs, and every partition keeps its last
materialization.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.dagster_plus import is_dagster_plus
from ingest_pipelines.orchestration.runs.tags import CHECK_TAG, IMPORT_TAG, gave_way, is_dry_run, is_run_of
from ingest_pipelines.orchestration.site import Site

KEPT_PARTITIONS = 1_000
"""Per import, the newest ones."""

KEPT_RUNS = timedelta(days=90)

REMOVED_PER_TICK = 100
"""Of partitions, and of runs; the next tick goes on with the rest."""

_SETTLED = {"committed", "skipped"}
_USELESS = {DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


def prune_partitions(site: Site, imports: Sequence[BoundImport], instance: DagsterInstance) -> int:
    """Deletes partitions beyond the newest KEPT_PARTITIONS of an import whose items are settled; how many."""
    deleted = 0
    for bound in imports:
        if bound.spec.source.window is not None:
            continue
        name = partitions_name(bound)
        keys = instance.get_dynamic_partitions(name)
        old = keys[: max(0, len(keys) - KEPT_PARTITIONS)]
        if not old:
            continue
        with site.target.session() as connection:
            states = ledger.item_states(connection, bound.name, old)
        settled = {str(state.key) for state in states if state.status in _SETTLED}
        for key in [key for key in old if key in settled][: REMOVED_PER_TICK - deleted]:
            instance.delete_dynamic_partition(name, key)
            deleted += 1
    return deleted


def prune_runs(site: Site, instance: DagsterInstance, now: datetime, *, after: str = "") -> tuple[int, str]:
    """Deletes some old runs: dry runs, checks, failed runs of settled items, and those of deleted partitions.

    Runs younger than KEPT_RUNS are left alone, and so are all in Dagster+, which deletes its runs by itself.

    Args:
        after: id of the last run that an earlier call kept.

    Returns:
        How many were deleted, and the id of the last run that was kept; "" after the newest one.
    """
    if is_dagster_plus(instance):
        return 0, ""
    statuses = [*_USELESS, DagsterRunStatus.SUCCESS]
    old = RunsFilter(statuses=statuses, updated_before=now - KEPT_RUNS)
    records = instance.get_run_records(old, limit=REMOVED_PER_TICK, ascending=True, cursor=after or None)
    if not records:
        return 0, ""

    @cache
    def partitions(name: str) -> set[str]:
        return set(instance.get_dynamic_partitions(name))

    def is_shown(name: str, key: str) -> bool:
        bound = site.project.imports.get(name)
        return bound is None or bound.spec.source.window is not None or key in partitions(partitions_name(bound))

    deleted = 0
    with site.target.session() as connection:
        for record in records:
            run = record.dagster_run
            name, key = run.tags.get(IMPORT_TAG, ""), run.tags.get(PARTITION_NAME_TAG, "")
            state = ledger.find_item_state(connection, name, key)
            settled = state is not None and state.status in _SETTLED
            useless = run.status in _USELESS or not is_shown(name, key)
            own = is_run_of(run, site.project.placement)
            loads_none = is_dry_run(run.tags) or CHECK_TAG in run.tags or gave_way(run.tags)
            if own and (loads_none or (settled and useless)):
                instance.delete_run(run.run_id)
                deleted += 1
            else:
                after = run.run_id
    return deleted, after
