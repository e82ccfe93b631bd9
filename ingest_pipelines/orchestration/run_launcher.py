"""The address of `WarmRunLauncher` in dagster.yaml files."""

from ingest_pipelines.orchestration.dagster_internals.warm_launcher import WarmRunLauncher

__all__ = ["WarmRunLauncher"]
