"""Errors of steps: Dagster retries the step, or the ledger records the load as failed and the run's page says why."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger

import psycopg
from dagster import Failure, MetadataValue, RetryRequested

from ingest_pipelines import pipeline
from ingest_pipelines.errors import IngestError, file_error
from ingest_pipelines.model import Item, Landing, LoadReport, Validated
from ingest_pipelines.orchestration.assets.metadata import report_metadata
from ingest_pipelines.orchestration.io_managers.step_outputs import write_report
from ingest_pipelines.orchestration.runs.run_context import RunContext

RETRIES = 3
FIRST_PAUSE_SECONDS = 5.0
"""Doubled for each retry, with up to half of it added at random."""


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
    run_context: RunContext, log: Logger, reached: Item | Landing | Validated | None = None
) -> Iterator[None]:
    """Errors of the block, as Dagster expects them.

    Args:
        reached: the result of the load's last step before the block.

    Raises:
        RetryRequested: the error is retryable, and retries are left.
        Failure: any other IngestError. The ledger has the load as `failed` or `refused`, unless it is a dry run.
    """
    try:
        with as_ingest_errors():
            yield
    except IngestError as error:
        _retry(error, run_context.run.attempt, log)
        if isinstance(error.reached, Item | Landing | Validated):
            reached = error.reached
        report = None if run_context.run.dry_run else _record(error, reached, run_context, log)
        raise Failure(
            _with_place(error, run_context), failure_metadata(error, report, run_context), allow_retries=False
        ) from error


@contextmanager
def retrying_errors(attempt: int, log: Logger) -> Iterator[None]:
    """Errors of the block, as Dagster expects them, before there is a load to record."""
    try:
        yield
    except IngestError as error:
        _retry(error, attempt, log)
        raise Failure(str(error), allow_retries=False) from error


def failure_metadata(
    error: IngestError, report: LoadReport | None, run_context: RunContext
) -> dict[str, MetadataValue]:
    """Metadata that the run's page shows with the failure."""
    shown: dict[str, MetadataValue] = {"item": MetadataValue.text(run_context.item.key)}
    if error.hint:
        shown["next"] = MetadataValue.text(error.hint)
    return {**shown, **(report_metadata(report, run_context.bound) if report is not None else {})}


def _retry(error: IngestError, attempt: int, log: Logger) -> None:
    if error.retryable and attempt <= RETRIES:
        log.warning("%s\nRetrying: attempt %d of %d.", error, attempt + 1, RETRIES + 1)
        raise RetryRequested(max_retries=RETRIES, seconds_to_wait=_pause(attempt)) from Failure(str(error))


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
    write_report(run_context.site.settings.spill, run_context.run.id, report)
    return report


def _with_place(error: IngestError, run_context: RunContext) -> str:
    where = f"import {run_context.bound.name}, item {run_context.item.key}"
    return str(error) if where in error.message else f"{where}: {error}"
