"""The address of `RunStorage` in dagster.yaml files."""

from ingest_pipelines.orchestration.dagster_internals.storage import RunStorage

__all__ = ["RunStorage"]
