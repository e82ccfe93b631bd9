"""Whether Dagster's partitions say the same as the list of open items and the ledger. Tests ask after every fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from dagster import AssetKey, DagsterInstance, RunsFilter

from ingest_pipelines.config import BoundImport
from ingest_pipelines.orchestration.assets.partitions import partitions_of
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.site import Site

MATERIALIZED, FAILED, IN_PROGRESS, MISSING = "MATERIALIZED", "FAILED", "IN_PROGRESS", "MISSING"

OF_OPEN_ITEMS: Mapping[str, set[str]] = {
    "running": {IN_PROGRESS},
    "queued": {IN_PROGRESS},
    "failed": {FAILED},
    "refused": {FAILED},
    "dropped": {FAILED},
    "terminated": {MISSING, FAILED},  # Dagster shows a cancelled run's partition as it was before
    "due": {MISSING},
    "settling": {MISSING},
    "paused": {MISSING},
    "held": {MISSING, FAILED, IN_PROGRESS},
}
"""Per state of an open item, how Dagster may show its partition."""

OF_THE_OTHERS: Mapping[str | None, set[str]] = {
    "committed": {MATERIALIZED},
    "skipped": {MATERIALIZED, MISSING, FAILED},  # a load found nothing new; or a person will never load it
    "new": {MISSING, FAILED},  # replaced, or planned only
    "failed": {FAILED, MISSING},  # replaced
    "refused": {FAILED, MISSING},  # replaced
    None: {MISSING},
}
"""Per status in the ledger of an item that is not open, how Dagster may show its partition."""


def disagreements(site: Site, instance: DagsterInstance, now: datetime) -> list[str]:
    """One sentence per item whose partition in Dagster contradicts the list; none is what a test wants."""
    listed = {(item.import_name, item.item): item.state for item in open_items(site, instance, now)}
    return [
        sentence
        for name, bound in site.project.imports.items()
        for sentence in _of_import(
            site, instance, bound, now, {k: v for (owner, k), v in listed.items() if owner == name}
        )
    ]


def _of_import(
    site: Site, instance: DagsterInstance, bound: BoundImport, now: datetime, listed: Mapping[str, str]
) -> Iterator[str]:
    shown, ledger = _shown(instance, bound, now), _statuses(site, bound.name)
    for key, partition in shown.items():
        state = listed.get(key)
        allowed = OF_OPEN_ITEMS[state] if state is not None else OF_THE_OTHERS[ledger.get(key, (None, ""))[0]]
        if partition not in allowed and not _loaded_again(instance, bound.name, key, ledger):
            yield (
                f"{bound.name}, {key}: Dagster shows {partition}; the list: {state or 'not open'};"
                f" the ledger: {ledger.get(key, ('no such item', ''))[0]}"
            )
    for key, state in listed.items():
        own_partition = (
            bound.spec.source.window is None or key not in ledger or key in shown
        )  # an upload has none there
        if own_partition and key not in shown and state in {"running", "queued", "failed", "refused", "dropped"}:
            yield f"{bound.name}, {key}: the list has it as {state}, and Dagster has no such partition"


def _shown(instance: DagsterInstance, bound: BoundImport, now: datetime) -> dict[str, str]:
    """Per partition of the import how Dagster's pages show it."""
    partitions = partitions_of(bound)
    keys = partitions.get_partition_keys(current_time=now, dynamic_partitions_store=instance)
    asset = AssetKey([bound.database_name, bound.name])
    statuses = instance.get_status_by_partition(asset, keys, partitions) or {}
    return {key: status.value if (status := statuses.get(key)) is not None else MISSING for key in keys}


def _statuses(site: Site, name: str) -> dict[str, tuple[str | None, str]]:
    """Per item its status in the ledger, and the run that committed it last."""
    with site.target.session() as connection:
        rows = connection.execute(
            """
            SELECT i.key, i.status, COALESCE((
                SELECT l.run_id FROM ingest.loads l WHERE l.import = i.import AND l.item = i.key
                AND l.status = 'committed' ORDER BY l.id DESC LIMIT 1), '')
            FROM ingest.items i WHERE i.import = %s
            """,
            (name,),
        ).fetchall()
    return {key: (status, run) for key, status, run in rows}


def _loaded_again(instance: DagsterInstance, name: str, key: str, ledger: Mapping[str, tuple[str | None, str]]) -> bool:
    """Whether a run of a committed item came after the one that committed it: its partition shows that run's end."""
    status, committed_by = ledger.get(key, (None, ""))
    if status != "committed":
        return False
    runs = instance.get_runs(RunsFilter(tags={"dagster/partition": key, "ingest/import": name}), limit=1)
    return bool(runs) and runs[0].run_id != committed_by
