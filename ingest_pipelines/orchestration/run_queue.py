"""The address of `ImportQueue` in dagster.yaml files."""

from ingest_pipelines.orchestration.dagster_internals.run_queue import ImportQueue

__all__ = ["ImportQueue"]
