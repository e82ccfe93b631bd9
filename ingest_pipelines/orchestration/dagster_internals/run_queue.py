"""The run queue: every run that is queued carries the tags by which runs are held back.

A run that the UI or a backfill launches has an asset and a partition, and no tags. With its import and its connection
on it, the limits in dagster.yaml hold for it as well: runs of an import go one after the other, in the order in which
they were requested, and a vendor's server sees only a few of them, also when a backfill re-reads 400 windows.

Waits for: run tags that a definition gives to every run of its asset. A custom run coordinator is documented
(attributing runs to their users is the guide's example); `SubmitRunContext` and the base class are not exported.
If they move: dagster.yaml names a class that cannot be imported, and nothing starts. If `_instance` goes: launching a
run in the UI fails.
"""

from __future__ import annotations

from dagster import DagsterRun
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from ingest_pipelines.orchestration.dagster_internals.tags import PRIORITY_TAG, RETRY_NUMBER_TAG
from ingest_pipelines.orchestration.runs.tags import CONNECTION_TAG, IMPORT_TAG, PROJECT_TAG


class ImportQueue(QueuedRunCoordinator):
    """Dagster's queue, with the tags that its limits need."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """The run is queued, with its import, its connection and, for a retry, its priority on it."""
        run = context.dagster_run
        missing = {name: value for name, value in _queue_tags(context).items() if run.tags.get(name) != value}
        if missing:
            self._instance.add_run_tags(run.run_id, missing)
        return super().submit_run(context)


def _queue_tags(context: SubmitRunContext) -> dict[str, str]:
    """The run's import and connection, as its asset's tags have them. A retry goes before newer items."""
    run = context.dagster_run
    priority = {PRIORITY_TAG: "1"} if RETRY_NUMBER_TAG in run.tags and PRIORITY_TAG not in run.tags else {}
    asset_graph = context.workspace.asset_graph
    for key in run.asset_selection or ():
        if asset_graph.has(key):
            tags = asset_graph.get(key).tags
            ours = (IMPORT_TAG, PROJECT_TAG, CONNECTION_TAG)
            return {**priority, **{name: tags[name] for name in ours if name in tags}}
    return priority
