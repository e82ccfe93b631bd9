"""A process holds its run's lock from the run's start until the storage has its end, and a terminated run stays so.

A person may mark a run as canceled while its process lives on ("force termination"). That process ends the run again:
as failed, or as succeeded. Dagster would take its word, and the run would look as if no person had ended it.

Waits for: a hook around a run in the process that executes it. Run status sensors and run launchers act in other
processes, and op hooks begin after the run has begun.
If `handle_run_event` goes: runs of the daemon hold no lock, so a killed one is cleared up by Dagster's run monitoring
only, which needs a daemon and some minutes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus, RunsFilter
from dagster._core.storage.runs import SqlRunStorage

from ingest_pipelines.orchestration.runs.run_locks import hold, release

_ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}

_PROCESS_ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE}


def _is_canceled(storage: SqlRunStorage, run_id: str) -> bool:
    runs = storage.get_runs(RunsFilter(run_ids=[run_id], statuses=[DagsterRunStatus.CANCELED]))
    return bool(runs)


def hold_lock_while_running(storage: SqlRunStorage, state: Path) -> None:
    """Replaces `handle_run_event`: the storage's process locks each run that starts in it, until the run has ended.

    Args:
        state: the state folder, with the lock files.
    """
    original = storage.handle_run_event

    def handle_run_event(run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        if event.event_type is DagsterEventType.RUN_START:
            hold(state, run_id)
        if event.event_type not in _PROCESS_ENDS or not _is_canceled(storage, run_id):
            original(run_id, event, update_timestamp)
        if event.event_type in _ENDS:
            release(state, run_id)

    storage.handle_run_event = handle_run_event  # type: ignore[method-assign]
