"""The Dagster entry point: `dagster dev -w workspace.yaml` serves the project in INGEST_HOME."""

from dagster import Definitions

from ingest_pipelines.config import read_project, read_settings
from ingest_pipelines.orchestration.build import build
from ingest_pipelines.orchestration.site import Site


def _definitions() -> Definitions:
    settings = read_settings()
    return build(Site(settings, read_project(settings.home)))


defs = _definitions()
