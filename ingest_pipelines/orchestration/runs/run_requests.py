"""Requests for runs, as sensors and schedules return them."""

from __future__ import annotations

from dagster import DagsterInstance, RunRequest, RunsFilter

from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.runs.signed_tags import signed_tags
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run, run_tags


def run_request(
    bound: BoundImport, key: str, by: str, instance: DagsterInstance, *, run_key: str | None = None
) -> RunRequest:
    """A request for a run of the item with that key.

    Args:
        by: the requester: `sensor`, `schedule` or `housekeeping`.
        run_key: Dagster launches one run per run key and sensor or schedule; by default the item's key.
    """
    return RunRequest(
        run_key=run_key or key,
        partition_key=key,
        asset_selection=[asset_key(bound)],
        tags=run_tags(bound) | signed_tags(bound, key, by, instance),
    )


def has_run(item: Item, instance: DagsterInstance) -> bool:
    """Whether the item has a run, of any sensor or schedule. Dry runs do not count."""
    tags = {PARTITION_NAME_TAG: str(item.key), IMPORT_TAG: item.import_name}
    return any(not is_dry_run(run.tags) for run in instance.get_runs(RunsFilter(tags=tags)))
