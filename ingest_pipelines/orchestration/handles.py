"""Handles on disk, so that a retry, or a re-execution from the failed step, finds what earlier steps made.

    <spool>/<run id>/   the landed bytes
    <spill>/<run id>/   accepted rows, rejects, and one small pickle per step output

The bytes and rows go once the load is decided for good (committed, skipped); else they stay for a
re-execution, until they are older than `KEEP`.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dagster import InputContext, IOManager, OutputContext

from ingest_pipelines.model import Landing, LoadReport, Validated

KEEP = timedelta(days=7)
"""How long the files of a run wait for its re-execution."""

_REPORT = "report"


class HandleIOManager(IOManager):
    """Step outputs as pickles of a few hundred bytes in the run's spill folder."""

    def __init__(self, spill: Path) -> None:
        self._spill = spill

    def handle_output(self, context: OutputContext, obj: Landing | Validated) -> None:
        """Writes the handle."""
        write_handle(self._spill, context.run_id, context.step_key, obj)

    def load_input(self, context: InputContext) -> Any:
        """The handle that the upstream step of this run, or of the run it re-executes, wrote."""
        upstream = context.upstream_output
        assert upstream is not None
        return read_handle(self._spill, upstream.run_id, upstream.step_key)


def write_handle(spill: Path, run_id: str, step_key: str, handle: object) -> None:
    """`handle` is on disk, whole."""
    path = _path(spill, run_id, step_key)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(pickle.dumps(handle))
    draft.replace(path)


def read_handle(spill: Path, run_id: str, step_key: str) -> Any:
    """The handle that a step wrote.

    Raises:
        FileNotFoundError: it is purged, or the step never finished.
    """
    return pickle.loads(_path(spill, run_id, step_key).read_bytes())  # noqa: S301  # our own file


def write_report(spill: Path, run_id: str, report: LoadReport) -> None:
    """What the run's load did is on disk, for the checks after it and for whoever started the run."""
    write_handle(spill, run_id, _REPORT, report)


def read_report(spill: Path, run_id: str) -> LoadReport | None:
    """What the run's load did; None where it did not get that far."""
    try:
        report: LoadReport = read_handle(spill, run_id, _REPORT)
    except FileNotFoundError:
        return None
    return report


def forget_rows(validated: Validated) -> None:
    """The landed bytes and judged rows are gone; the handles stay."""
    landing = validated.landing
    for path in (landing.path, *validated.accepted, *([validated.rejects] if validated.rejects else [])):
        path.unlink(missing_ok=True)
    for folder in {landing.path.parent, *(path.parent for path in validated.accepted)}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def forget_run(spool: Path, spill: Path, run_id: str) -> None:
    """What the run landed and judged here is gone, however far it came; the handles stay."""
    shutil.rmtree(spool / run_id, ignore_errors=True)
    for folder in (spill / run_id).glob("*/"):  # handles lie beside the folders with rows
        shutil.rmtree(folder, ignore_errors=True)


def purge_runs(folders: tuple[Path, ...], now: datetime) -> int:
    """Folders of runs that nobody touched for KEEP are gone; how many."""
    old = list(_older(folders, now - KEEP))
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def _older(folders: tuple[Path, ...], limit: datetime) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from (run for run in folder.iterdir() if run.is_dir() and run.stat().st_mtime < limit.timestamp())


def _path(spill: Path, run_id: str, step_key: str) -> Path:
    return spill / run_id / f"{step_key}.handle"
