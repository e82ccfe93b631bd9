"""The Dagster entry point: `dagster dev -w workspace.yaml` serves the project in INGEST_HOME."""

import gc

from dagster import Definitions

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.code_location import ingest_definitions
from ingest_pipelines.owner_only import take_private_umask


def _definitions() -> Definitions:
    take_private_umask()  # whatever Dagster starts for us loads this: code servers, runs, steps
    gc.disable()  # a thousand imports are millions of objects, and none of them is garbage
    try:
        return ingest_definitions(executor=read_settings().executor, alone=True)
    finally:
        gc.freeze()
        gc.enable()


defs = _definitions()
