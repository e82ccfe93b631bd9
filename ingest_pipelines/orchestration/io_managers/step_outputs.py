"""Step outputs on disk, so that a retry, or a re-execution from the failed step, finds those of earlier steps.

    <spool>/<run id>/   the landed bytes
    <spill>/<run id>/   accepted rows, rejects, and one small pickle per step output

An output is a handle: it names the files with bytes and rows. These are deleted once the load is committed or skipped;
else they are kept for a re-execution (`runs.run_files`). A killed run cannot delete its files: the housekeeping sensor
does, every two minutes, and so does every `ingest run`.
"""

from __future__ import annotations

import pickle
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dagster import InputContext, IOManager, OutputContext

from ingest_pipelines.model import Counts, Item, Landing, LoadReport, RejectSample, Validated
from ingest_pipelines.orchestration.dagster_internals.expected_errors import ExpectedFailure
from ingest_pipelines.owner_only import private_folder, write_private

_REPORT = "report"

_ONE_MACHINE = frozenset({"in_process", "multiprocess", "multi_or_in_process_executor", "execute_in_process_executor"})
"""Names of Dagster's executors whose steps share a disk, unless a retry of the run is elsewhere."""

_SHAPE = blake2b(
    repr(
        [(kind.__name__, [field.name for field in fields(kind)])
         for kind in (Item, Landing, Validated, LoadReport, Counts, RejectSample)]
    ).encode(), digest_size=8,
).digest()  # fmt: skip
"""Of the handles of this version, and the first bytes of each: another version's are not read as ours."""


class HandleIOManager(IOManager):
    """Step outputs as pickles of a few hundred bytes in the run's spill folder."""

    def __init__(self, spill: Path) -> None:
        self._spill = spill

    def handle_output(self, context: OutputContext, obj: Landing | Validated) -> None:
        """Writes the step's handle."""
        write_handle(self._spill, context.run_id, context.step_key, obj)

    def load_input(self, context: InputContext) -> Any:
        """The handle of the upstream step, of this run or of the run that it re-executes."""
        upstream = context.upstream_output
        assert upstream is not None
        try:
            return read_handle(self._spill, upstream.run_id, upstream.step_key)
        except FileNotFoundError:
            raise ExpectedFailure(_why_missing(context.step_context.job_def.executor_def.name)) from None


def _why_missing(executor: str) -> str:
    """Why a step's output is not there, and what to do. Nothing was merged: the merge reads it first."""
    if executor in _ONE_MACHINE:
        return (
            "the output of an earlier step no longer exists: its run died, ended long ago, or had another version\n"
            "  re-execute all steps of the run"
        )
    return (
        f"the output of an earlier step is not here: the executor '{executor}' runs each step in a place of its own\n"
        "  nothing was merged; give the project a `spill` that every step reaches, such as s3://bucket/prefix, or a\n"
        "  `state` on a volume that all of them mount; then re-execute all steps of the run"
    )


def write_handle(spill: Path, run_id: str, step_key: str, handle: object) -> None:
    """Writes the handle to disk, whole or not at all."""
    path = _path(spill, run_id, step_key)
    private_folder(path.parent)
    write_private(path, packed(handle))


def read_handle(spill: Path, run_id: str, step_key: str) -> Any:
    """The step's handle.

    Raises:
        FileNotFoundError: it was deleted, the step did not finish, or another version wrote it.
    """
    return unpacked(_path(spill, run_id, step_key).read_bytes())


def packed(handle: object) -> bytes:
    """The handle as bytes that only a version with handles of the same shape reads."""
    return _SHAPE + pickle.dumps(handle)


def unpacked(content: bytes) -> Any:
    """The handle in these bytes, which are our own: who writes to the state folder or to the bucket is trusted.

    Raises:
        FileNotFoundError: a version with handles of another shape wrote it.
    """
    if not content.startswith(_SHAPE):
        raise FileNotFoundError("a step's output of another version")
    return pickle.loads(content.removeprefix(_SHAPE))  # noqa: S301  # nosec B301


def write_report(spill: Path, run_id: str, report: LoadReport) -> None:
    """Writes the load's report to disk, for the checks and for the command that started the run."""
    write_handle(spill, run_id, _REPORT, report)


def read_report(spill: Path, run_id: str) -> LoadReport | None:
    """The report of the run's load; None if the run has no load."""
    try:
        report: LoadReport = read_handle(spill, run_id, _REPORT)
    except FileNotFoundError:
        return None
    return report


def _path(spill: Path, run_id: str, step_key: str) -> Path:
    return spill / run_id / f"{step_key}.handle"
