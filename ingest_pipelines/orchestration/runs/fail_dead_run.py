"""Marks a run whose process died as failed in Dagster."""

from __future__ import annotations

from dagster import DagsterInstance

from ingest_pipelines.orchestration.dagster_internals.planned_events import plan_partition

DIED = "its process ended before the run did: it was killed, or the machine went down"


def fail_dead_run(instance: DagsterInstance, run_id: str, reason: str = DIED) -> None:
    """Marks the run as failed, which its partition shows, and frees its slots in pools."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        plan_partition(instance, run)
        instance.report_run_failed(run, f"The run is dead: {reason}. What it had not committed is not in the table.")
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
