"""What the asset's page and its events show of an item that is not in the table.

A failed run leaves no event of its asset, so the pages would have nothing to say. An observation with the reason and
the next step takes the place of the missing materialization: it does not make the partition green.
"""

from __future__ import annotations

from datetime import datetime

from dagster import AssetObservation, MetadataValue

from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import LoadReport
from ingest_pipelines.orchestration.assets.metadata import findings_metadata
from ingest_pipelines.orchestration.assets.partitions import asset_key

STATUS, RUN, SINCE = "status", "run", "since"
"""Keys of the metadata by which `runs.partition_events` sees whether a state was shown."""


def failed_item(
    bound: BoundImport,
    partition: str,
    state: str,
    reason: str,
    next_step: str,
    *,
    report: LoadReport | None = None,
    uri: str = "",
    run_id: str = "",
    since: datetime | None = None,
) -> AssetObservation:
    """An observation of the partition: its state, why, and what to do next.

    Args:
        state: `failed`, `refused`, `dropped` or `terminated`.
        reason: why; never a row's value.
        next_step: what a person does or types next.
        report: of the load, if the ledger has one: its counts and samples of its rejects are shown.
        uri: where the item is.
        run_id: the run, where the observation is not part of it.
        since: when the item came into the state, where that was not just now.
    """
    reason = reason.removeprefix(f"import {bound.name}, item {partition}: ")  # the page's own headline
    next_step = next_step or f"ingest report {bound.name}"
    shown: dict[str, MetadataValue] = {
        STATUS: MetadataValue.text(state),
        "reason": MetadataValue.text(reason),
        "next": MetadataValue.text(next_step),
    }
    if uri:
        shown["uri"] = MetadataValue.text(uri)
    if run_id:
        shown[RUN] = MetadataValue.dagster_run(run_id)
    if since is not None:
        shown[SINCE] = MetadataValue.timestamp(since)
    if report is not None:
        shown |= {name: value for name, value in findings_metadata(report, bound).items() if name != "reason"}
        if report.load_id is not None:
            shown["load"] = MetadataValue.int(report.load_id)
    return AssetObservation(
        asset_key(bound),
        partition=partition,
        description=f"{state}: {reason}\n  next: {next_step}",
        metadata=shown,
    )
