"""A failed step: tried again where that may help, else recorded in the ledger and told in full."""

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
from ingest_pipelines.orchestration.runs.run_context import Work

RETRIES = 3
FIRST_PAUSE_SECONDS = 5.0
"""Then twice as long each time, and up to half of it added at random."""


@contextmanager
def file_errors_told() -> Iterator[None]:
    """What the file system refuses in the block, as an error of ours."""
    try:
        yield
    except OSError as error:
        known = file_error(error)
        if known is None:
            raise
        raise known from error


@contextmanager
def failures_told(work: Work, log: Logger, reached: Item | Landing | Validated | None = None) -> Iterator[None]:
    """Errors of the block as Dagster takes them.

    Args:
        reached: how far the load came before the block.

    Raises:
        RetryRequested: a retryable error, and tries are left.
        Failure: any other IngestError; the load is in the ledger as `failed` or `refused`, a plan is not.
    """
    try:
        with file_errors_told():
            yield
    except IngestError as error:
        _retry(error, work.run.attempt, log)
        if isinstance(error.reached, Item | Landing | Validated):
            reached = error.reached
        report = None if work.run.dry_run else _record(error, reached, work, log)
        raise Failure(_told(error, work), failure_metadata(error, report, work), allow_retries=False) from error


@contextmanager
def search_told(attempt: int, log: Logger) -> Iterator[None]:
    """Errors of finding a step's work as Dagster takes them; there is no load to record yet."""
    try:
        yield
    except IngestError as error:
        _retry(error, attempt, log)
        raise Failure(str(error), allow_retries=False) from error


def failure_metadata(error: IngestError, report: LoadReport | None, work: Work) -> dict[str, MetadataValue]:
    """What the run's page shows beside the failure."""
    shown: dict[str, MetadataValue] = {"item": MetadataValue.text(work.item.key)}
    if error.hint:
        shown["next"] = MetadataValue.text(error.hint)
    return {**shown, **(report_metadata(report, work.bound) if report is not None else {})}


def _retry(error: IngestError, attempt: int, log: Logger) -> None:
    if error.retryable and attempt <= RETRIES:
        log.warning("%s\nTrying again: attempt %d of %d.", error, attempt + 1, RETRIES + 1)
        raise RetryRequested(max_retries=RETRIES, seconds_to_wait=_pause(attempt)) from Failure(str(error))


def _pause(attempt: int) -> float:
    return FIRST_PAUSE_SECONDS * float(2 ** (attempt - 1)) * random.uniform(1.0, 1.5)


def _record(
    error: IngestError, reached: Item | Landing | Validated | None, work: Work, log: Logger
) -> LoadReport | None:
    """The load in the ledger as failed; None where the ledger itself is out of reach."""
    try:
        report = pipeline.record_failure(
            error, reached, work.item, work.bound, work.site.target, work.run, work.site.clock()
        )
    except (IngestError, psycopg.Error) as second:
        log.error(
            "The failure could not be written to the ledger (%s); this run's page is its record.", type(second).__name__
        )
        return None
    write_report(work.site.settings.spill, work.run.id, report)
    return report


def _told(error: IngestError, work: Work) -> str:
    where = f"import {work.bound.name}, item {work.item.key}"
    return str(error) if where in error.message else f"{where}: {error}"
