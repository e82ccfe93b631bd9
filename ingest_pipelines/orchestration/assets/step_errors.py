"""Errors of steps: Dagster retries the step, or the ledger records the load as failed and the pages say why.

A failed item is shown where a person looks for it: on the run's page by the error, and on the asset's page and in the
panel of its partition by an observation, because Dagster shows nothing there of a partition without a materialization.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import Logger
from typing import TypeAlias

import psycopg
from dagster import AssetCheckEvaluation, DagsterEvent, DagsterRun, OpExecutionContext, OutputContext

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, LoadError, file_error
from ingest_pipelines.merge import verdict
from ingest_pipelines.model import Item, Landing, LoadReport, Validated
from ingest_pipelines.orchestration.assets.failed_item import failed_item
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.assets.receipts import write_answer
from ingest_pipelines.orchestration.checks.asset_checks import results_without_a_step
from ingest_pipelines.orchestration.dagster_internals.expected_errors import ExpectedFailure, ExpectedRetry
from ingest_pipelines.orchestration.io_managers.step_outputs import write_report
from ingest_pipelines.orchestration.monitoring.source_looks import record_failed_look, record_look
from ingest_pipelines.orchestration.runs.run_context import RunContext
from ingest_pipelines.orchestration.runs.tags import is_dry_run
from ingest_pipelines.orchestration.site import Site

RETRIES = 3
FIRST_PAUSE_SECONDS = 5.0
"""Doubled for each retry, with up to half of it added at random."""


StepContext: TypeAlias = OpExecutionContext | OutputContext


@contextmanager
def as_ingest_errors() -> Iterator[None]:
    """Turns errors of the file system in the block into IngestError."""
    try:
        yield
    except OSError as error:
        known = file_error(error)
        if known is None:
            raise
        raise known from error


@contextmanager
def recording_errors(
    run_context: RunContext, context: StepContext, reached: Item | Landing | Validated | None = None
) -> Iterator[None]:
    """Errors of the block, as Dagster expects them.

    Args:
        reached: the result of the load's last step before the block.

    Raises:
        ExpectedRetry: the error is retryable, and retries are left.
        ExpectedFailure: any other IngestError. The ledger has the load as `failed` or `refused`, and the partition has
            an observation that says why, unless it is a dry run.
    """
    try:
        with as_ingest_errors():
            yield
    except IngestError as error:
        _retry(error, run_context.run.attempt, context.log)
        if isinstance(error.reached, Item | Landing | Validated):
            reached = error.reached
        bound, item = run_context.bound, run_context.item
        report = None if run_context.run.dry_run else _record(error, reached, run_context, context.log)
        if isinstance(error, LoadError) and pipeline.is_answered(error):
            landing = reached.landing if isinstance(reached, Validated) else reached
            answered = landing.item if isinstance(landing, Landing) else item
            write_answer(run_context, context, answered, report, error=error)
        observation = failed_item(
            bound, context.partition_key, verdict(error), error.message, error.hint, report=report, uri=item.uri
        )
        if not run_context.run.dry_run:
            context.log_event(observation)
            _log_checks(context, run_context.site, bound, reached)
        raise ExpectedFailure(_with_place(error, run_context), observation.metadata) from error


@contextmanager
def recording_look(run_context: RunContext) -> Iterator[None]:
    """The ledger has whether the import's source answered in the block; of a dry run and of local files it has not."""
    site, bound = run_context.site, run_context.bound
    if run_context.run.dry_run or run_context.item.kind in {"upload", "replay"}:
        yield
        return
    began = site.clock()
    try:
        yield
    except IngestError as error:
        with suppress(IngestError, psycopg.Error):  # the load's own error is the one to tell
            record_failed_look(site, bound, error, since=began)
        raise
    record_look(site, bound)


@contextmanager
def retrying_errors(
    site: Site, bound: BoundImport, run: DagsterRun, attempt: int, context: StepContext
) -> Iterator[None]:
    """Errors of the block, as Dagster expects them, before there is a load to record."""
    try:
        yield
    except IngestError as error:
        _retry(error, attempt, context.log)
        if context.has_partition_key and not is_dry_run(run.tags):
            context.log_event(failed_item(bound, context.partition_key, "failed", error.message, error.hint))
            _log_checks(context, site, bound, None)
        raise ExpectedFailure(str(error)) from error


def _retry(error: IngestError, attempt: int, log: Logger) -> None:
    if error.retryable and attempt <= RETRIES:
        log.warning("%s\nRetrying: attempt %d of %d.", error, attempt + 1, RETRIES + 1)
        raise ExpectedRetry(str(error), max_retries=RETRIES, seconds_to_wait=_pause(attempt)) from error


def _pause(attempt: int) -> float:
    return FIRST_PAUSE_SECONDS * float(2 ** (attempt - 1)) * random.uniform(1.0, 1.5)


def _record(
    error: IngestError, reached: Item | Landing | Validated | None, run_context: RunContext, log: Logger
) -> LoadReport | None:
    """Records the load as failed; None if the ledger cannot be reached."""
    try:
        report = pipeline.record_failure(
            error,
            reached,
            run_context.item,
            run_context.bound,
            run_context.site.target,
            run_context.run,
            run_context.site.clock(),
        )
    except (IngestError, psycopg.Error) as second:
        log.error(
            "The failure could not be written to the ledger (%s); only this run's page has it.", type(second).__name__
        )
        return None
    try:
        write_report(run_context.site.settings.spill, run_context.run.id, report)
    except OSError:  # a folder that cannot be written, or a full disk, may be the very failure
        log.warning("The report of the failure could not be written to the state folder; the ledger has it.")
    return report


def _log_checks(
    context: StepContext, site: Site, bound: BoundImport, reached: Item | Landing | Validated | None
) -> None:
    """Logs the import's checks here: their own step will not run, and Dagster would show them as failed."""
    step = context.step_context if isinstance(context, OutputContext) else context.get_step_execution_context()
    for result in results_without_a_step(site, bound, reached if isinstance(reached, Validated) else None):
        evaluation = AssetCheckEvaluation(
            asset_key=asset_key(bound),
            check_name=result.check_name or "",
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=dict(result.metadata),
        )
        DagsterEvent.asset_check_evaluation(step, evaluation)  # an IO manager's context takes observations only


def _with_place(error: IngestError, run_context: RunContext) -> str:
    where = f"import {run_context.bound.name}, item {run_context.item.key}"
    return str(error) if where in error.message else f"{where}: {error}"
