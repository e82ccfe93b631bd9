"""A run that left no load says why it ended: from Dagster's events, in our words, never in a server's."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
from dagster import DagsterInstance, DagsterRun, job
from dagster._core.events import EngineEventData, JobFailureData, RunFailureReason
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from ingest_pipelines.orchestration.dagster_internals.run_failures import run_failures
from ingest_pipelines.orchestration.monitoring.dead_run_reasons import reason_of
from ingest_pipelines.orchestration.runs.fail_dead_run import DIED, fail_dead_run

SECRET = "postgres://shop:hunter2@db.example.com"


class DagsterUserCodeUnreachableError(Exception):
    """Named like Dagster's."""


class DagsterUserCodeProcessError(Exception):
    """Named like Dagster's."""


@dataclass(frozen=True)
class Fault:
    """What Dagster logs of a run that ends without a load, and what our reason says."""

    reason: str
    message: str | None = None
    kind: RunFailureReason | None = None
    error: Exception | None = None


FAULTS = [
    Fault("Dagster could not reach the code server", error=DagsterUserCodeUnreachableError(SECRET)),
    Fault(
        "the code server had no such import or partition",
        error=DagsterUserCodeProcessError(f"(DagsterInvalidSubsetError) - AssetKey(s) {{{SECRET}}} were selected"),
    ),
    Fault("the code server could not build the run", error=DagsterUserCodeProcessError(SECRET)),
    Fault("it ran longer than 6 h", message="Exceeded maximum runtime of 21600 seconds."),
    Fault("did not begin within 180 s", message="Run timed out due to taking longer than 180 seconds to start."),
    Fault(DIED, message=f"Detected run worker status UNKNOWN {SECRET}. Marking run 1a2b as failed."),
    Fault("did not begin in time", message=SECRET, kind=RunFailureReason.START_TIMEOUT),
    Fault("started twice", kind=RunFailureReason.RUN_WORKER_RESTART),
    Fault("a step failed, and the ledger could not record why", message=SECRET, kind=RunFailureReason.STEP_FAILURE),
    Fault("ended before it began; its page in Dagster has the error", message=SECRET),
    Fault("ended before it began; its page in Dagster has the error", error=ValueError(SECRET)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason[:30])
def test_the_reason_comes_from_dagster_s_events_without_a_server_s_words(
    instance: DagsterInstance, fault: Fault
) -> None:
    run = _new_run(instance)
    if fault.error is not None:
        instance.report_engine_event("Dropping it", run, EngineEventData.engine_error(_error_info(fault.error)))
    data = JobFailureData(error=None, failure_reason=fault.kind) if fault.kind is not None else None
    instance.report_run_failed(run, fault.message, data)
    reason = _reason(instance, run)
    assert fault.reason in reason
    assert "hunter2" not in reason


def test_a_run_that_we_found_dead_says_so_in_our_own_words(instance: DagsterInstance) -> None:
    run = _new_run(instance)
    fail_dead_run(instance, run.run_id)
    assert _reason(instance, run) == DIED


def test_the_reasons_of_many_runs_come_with_one_query(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [_new_run(instance) for _ in range(60)]
    for run in runs:
        instance.report_run_failed(run, "Exceeded maximum runtime of 60 seconds.")
    queries: list[str] = []
    storage = instance.event_log_storage
    connect = storage.index_connection  # type: ignore[attr-defined]

    def counted() -> object:
        queries.append("query")
        return connect()

    monkeypatch.setattr(storage, "index_connection", counted)
    assert len(run_failures(instance, [run.run_id for run in runs])) == 60
    assert queries == ["query"]


@job
def nothing() -> None:
    """A job without steps."""


def _new_run(instance: DagsterInstance) -> DagsterRun:
    return instance.create_run_for_job(nothing)


def _reason(instance: DagsterInstance, run: DagsterRun) -> str:
    return reason_of(run_failures(instance, [run.run_id]).get(run.run_id), run.run_id, began=False)


def _error_info(error: Exception) -> SerializableErrorInfo:
    try:
        raise error
    except Exception:
        return serializable_error_info_from_exc_info(sys.exc_info())
