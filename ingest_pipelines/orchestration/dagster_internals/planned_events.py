"""The event that says which partition a run was to materialize, for runs that were killed before they had it.

Dagster stores a run first, and this event after it. Only with the event does it show the partition of a failed run
as failed.

Waits for: `DagsterInstance.create_run` to store both in one transaction, or a public way to report the event.
If `build_asset_materialization_planned_event` changes: the dead runs of a daemon or of `ingest run` are not cleared up.
"""

from __future__ import annotations

from dagster import AssetRecordsFilter, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent

from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG


def plan_partition(instance: DagsterInstance, run: DagsterRun) -> None:
    """Reports which partition the run was to materialize, unless it has said so itself.

    A partition that another run has materialized since stays as it is.
    """
    partition = run.tags.get(PARTITION_NAME_TAG)
    record = instance.get_run_record_by_id(run.run_id)
    if not partition or record is None or not run.asset_selection:
        return
    if instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
        return
    for asset in run.asset_selection:
        later = AssetRecordsFilter(
            asset, asset_partitions=[partition], after_timestamp=record.create_timestamp.timestamp()
        )
        if not instance.fetch_materializations(later, limit=1).records:
            planned = AssetMaterializationPlannedData(asset, partition)
            event = DagsterEvent.build_asset_materialization_planned_event(run.job_name, "", planned)
            instance.report_dagster_event(event, run.run_id)
