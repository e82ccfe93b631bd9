"""The answer to a delivered file, written once its load has ended. A store that refuses it is a warning."""

from __future__ import annotations

from typing import TypeAlias

import psycopg
from dagster import OpExecutionContext, OutputContext

from ingest_pipelines import pipeline
from ingest_pipelines.errors import IngestError, LoadError
from ingest_pipelines.model import Item, LoadReport
from ingest_pipelines.orchestration.runs.run_context import RunContext
from ingest_pipelines.owner_only import private_folder
from ingest_pipelines.sources.base import Client

StepContext: TypeAlias = OpExecutionContext | OutputContext


def write_answer(
    run_context: RunContext, context: StepContext, item: Item, report: LoadReport | None, client: Client | None = None,
    error: LoadError | None = None,
) -> str:  # fmt: skip
    """Writes the item's receipt, if its import has one; returns its path. The load stands, whatever the store says."""
    bound = run_context.bound
    if bound.spec.receipt is None or report is None or run_context.run.dry_run:
        return ""
    try:
        folder = private_folder(run_context.workspace.spool)
        return pipeline.write_receipt(item, report.load_id, bound, run_context.site.target, folder, client, error)
    except (IngestError, psycopg.Error, OSError) as problem:
        said = problem if isinstance(problem, IngestError) else type(problem).__name__
        context.log.warning("The load stands. Its receipt could not be written: %s", said)
        return ""
