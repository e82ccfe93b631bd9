"""Step outputs on disk, so that a retry, or a re-execution from the failed step, finds those of earlier steps.

    <spool>/<run id>/   the landed bytes
    <spill>/<run id>/   accepted rows, rejects, and one small pickle per step output

An output is a handle: it names the files with bytes and rows. These are deleted once the load is committed or skipped;
else they are kept for a re-execution (`runs.run_files`). A killed run cannot delete its files: the housekeeping sensor
does, every two minutes, and so does every `ingest run`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from dagster import Failure, InputContext, IOManager, OutputContext

from ingest_pipelines.model import Landing, LoadReport, Validated
from ingest_pipelines.owner_only import private_folder, write_private

_REPORT = "report"


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
            raise Failure(
                "the output of an earlier step no longer exists: its run died, or ended long ago\n"
                "  re-execute all steps of the run",
                allow_retries=False,
            ) from None


def write_handle(spill: Path, run_id: str, step_key: str, handle: object) -> None:
    """Writes the handle to disk, whole or not at all."""
    path = _path(spill, run_id, step_key)
    private_folder(path.parent)
    write_private(path, pickle.dumps(handle))


def read_handle(spill: Path, run_id: str, step_key: str) -> Any:
    """The step's handle.

    Raises:
        FileNotFoundError: it was deleted, or the step did not finish.
    """
    return pickle.loads(_path(spill, run_id, step_key).read_bytes())  # noqa: S301  # our own file


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
