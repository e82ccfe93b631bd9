"""Why a run failed that left no load, in our words: Dagster's own may hold what a server said. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from ingest_pipelines.orchestration.dagster_internals.run_failures import RunFailure
from ingest_pipelines.orchestration.runs.fail_dead_run import DIED

_OURS = "The run is dead: "
_MAX_RUNTIME = re.compile(r"Exceeded maximum runtime of (\d+) seconds")
_START_TIMEOUT = re.compile(r"taking longer than (\d+) seconds to start")
_ERROR_CLASS = re.compile(r"\bDagster\w+(?:Error|Exception)\b|\bPartition\w+Error\b")

_NO_SUCH_IMPORT = (
    "when the run was to start, the code server had no such import or partition:"
    " its YAML was broken, or it was renamed or removed"
)
_ERRORS: Mapping[str, str] = {
    "DagsterUserCodeUnreachableError": "Dagster could not reach the code server, and dropped the run from its queue",
    "DagsterInvalidSubsetError": _NO_SUCH_IMPORT,
    "DagsterInvalidDefinitionError": _NO_SUCH_IMPORT,
    "DagsterUnknownPartitionError": _NO_SUCH_IMPORT,
    "DagsterCodeLocationNotFoundError": "Dagster's workspace had no code location of that name",
    "DagsterCodeLocationLoadError": "the code server could not load the project",
    "DagsterRunNotFoundError": "the run was deleted before it began",
    "DagsterLaunchFailedError": "Dagster could not start the run's process",
    "DagsterUserCodeProcessError": "the code server could not build the run",
}
"""By the class of the error that Dagster met; the first one that occurs decides."""

_KINDS: Mapping[str, str] = {
    "START_TIMEOUT": "its process did not begin in time",
    "RUN_WORKER_RESTART": "its process was started twice, and Dagster ended the run",
    "UNEXPECTED_TERMINATION": DIED,
    "STEP_FAILURE": "a step failed, and the ledger could not record why",
    "JOB_INITIALIZATION_FAILURE": "its process could not load the project",
}


def reason_of(failure: RunFailure | None, run_id: str, *, began: bool) -> str:
    """Why the run failed, without a capital and a full stop."""
    failure = failure or RunFailure()
    if failure.message.startswith(_OURS):
        return failure.message.removeprefix(_OURS).partition(". ")[0].rstrip(".")
    if failure.step_message:
        return failure.step_message
    if (most := _MAX_RUNTIME.search(failure.message)) is not None:
        allowed = timedelta(seconds=int(most[1]))
        return f"it ran longer than {_spoken(allowed)}, the most that max_runtime_seconds in dagster.yaml allows"
    if (limit := _START_TIMEOUT.search(failure.message)) is not None:
        return f"its process did not begin within {limit[1]} s"
    if failure.message.startswith("Detected run worker status"):
        return DIED
    named = {name for text in failure.errors for name in _ERROR_CLASS.findall(text)}
    known = next((words for name, words in _ERRORS.items() if name in named), _KINDS.get(failure.kind, ""))
    if known:
        return known
    return f"run {run_id[:8]} {'failed' if began else 'ended before it began'}; its page in Dagster has the error"


def _spoken(duration: timedelta) -> str:
    hours = duration / timedelta(hours=1)
    return f"{hours:g} h" if hours >= 1 else f"{duration / timedelta(minutes=1):g} min"
