"""Marks a run whose process died as failed in Dagster."""

from __future__ import annotations

from dagster import DagsterInstance

DIED = "its process ended before the run did: it was killed, or the machine went down"


def fail_dead_run(instance: DagsterInstance, run_id: str) -> None:
    """Marks the run as failed and frees its slots in pools."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, f"The run is dead: {DIED}. What it had not committed is not in the table.")
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
