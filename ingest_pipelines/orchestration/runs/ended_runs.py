"""A run that was ended from outside while its process lives on: the process stops, and commits nothing more."""

from __future__ import annotations

from dagster import DagsterExecutionInterruptedError, DagsterInstance


def stop_if_ended(instance: DagsterInstance, run_id: str) -> None:
    """Stops this process's work on the run if Dagster has its end already.

    A person force-terminated it ("mark as canceled"), or Dagster declared it dead. Another run may load its item.

    Raises:
        DagsterExecutionInterruptedError: the run has ended.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None and run.is_finished:
        raise DagsterExecutionInterruptedError(f"run {run_id[:8]} was ended from outside; nothing more is committed")
