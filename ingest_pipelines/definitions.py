"""The Dagster entry point: `dagster dev -w workspace.yaml` serves the project in INGEST_HOME."""

import gc

from dagster import Definitions

from ingest_pipelines.config import read_project, read_settings
from ingest_pipelines.orchestration.definitions import definitions_of_process
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.owner_only import take_private_umask


def _definitions() -> Definitions:
    take_private_umask()  # whatever Dagster starts for us loads this: code servers, runs, steps
    settings = read_settings()
    gc.disable()  # a thousand imports are millions of objects, and none of them is garbage
    try:
        return definitions_of_process(Site(settings, read_project(settings.home)))
    finally:
        gc.freeze()
        gc.enable()


defs = _definitions()
