"""The run queue: every run, whoever asked for it, carries the names by which runs are held back.

The UI and its backfills give a run nothing but an asset and a partition. With its import and its connection on it,
`dagster.yaml` can limit both: an import's runs go one after the other, in the order in which they were asked for, and
no vendor's server sees more than a few of us, also when 400 windows are read again at once.
"""

from __future__ import annotations

from dagster import DagsterRun
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from ingest_pipelines.orchestration.runs.run_context import CONNECTION_TAG, IMPORT_TAG

PRIORITY_TAG = "dagster/priority"
RETRY_TAG = "dagster/retry_number"


class ImportQueue(QueuedRunCoordinator):
    """Dagster's queue, with the tags that its limits need."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """The run waits its turn."""
        run = context.dagster_run
        missing = {name: value for name, value in _names(context).items() if run.tags.get(name) != value}
        if missing:
            self._instance.add_run_tags(run.run_id, missing)
        return super().submit_run(context)


def _names(context: SubmitRunContext) -> dict[str, str]:
    """The run's import and connection, as its asset's tags have them; a retry goes before what came later."""
    run = context.dagster_run
    first = {PRIORITY_TAG: "1"} if RETRY_TAG in run.tags and PRIORITY_TAG not in run.tags else {}
    graph = context.workspace.asset_graph
    for key in run.asset_selection or ():
        if graph.has(key):
            tags = graph.get(key).tags
            return {**first, **{name: tags[name] for name in (IMPORT_TAG, CONNECTION_TAG) if name in tags}}
    return first
