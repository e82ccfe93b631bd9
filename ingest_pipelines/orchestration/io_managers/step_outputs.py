"""Handles on disk, so that a retry, or a re-execution from the failed step, finds what earlier steps made.

    <spool>/<run id>/   the landed bytes
    <spill>/<run id>/   accepted rows, rejects, and one small pickle per step output

The bytes and rows go once the load is decided for good (committed, skipped); else they stay for a re-execution, until
they are older than `KEEP`. A killed run cannot tidy up: the housekeeping sensor does, every two minutes, and
so does every `ingest run`; what a dead run left goes at once, see `dead_runs`.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, Failure, InputContext, IOManager, OutputContext

from ingest_pipelines.config import Settings
from ingest_pipelines.landing.land import PART
from ingest_pipelines.model import Landing, LoadReport, Validated
from ingest_pipelines.orchestration.runs.run_locks import life_of
from ingest_pipelines.owner_only import private_folder, write_private

KEEP = timedelta(days=7)
"""How long the files of a run wait for its re-execution."""

UNKNOWN_FOR = timedelta(days=1)
"""How long files without a run in Dagster are left alone: `ingest plan` may be at work on them."""

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
        try:
            return read_handle(self._spill, upstream.run_id, upstream.step_key)
        except FileNotFoundError:
            raise Failure(
                "what an earlier step made is gone: its run died, or ended long ago\n  re-execute all steps of the run",
                allow_retries=False,
            ) from None


def write_handle(spill: Path, run_id: str, step_key: str, handle: object) -> None:
    """`handle` is on disk, whole."""
    path = _path(spill, run_id, step_key)
    private_folder(path.parent)
    write_private(path, pickle.dumps(handle))


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


def purge_runs(settings: Settings, now: datetime, instance: DagsterInstance) -> int:
    """What runs left that nobody will ask for is gone; of how many.

    Of a run that was killed while it landed its item, that is all it wrote: there is no step to go on from. What a
    run had landed waits for its re-execution, until nobody touched it for KEEP. A run that is under way keeps all.
    """
    purged = 0
    for run in _runs_in(settings.spool):
        landed = any((settings.spill / run.name).glob("*.land.handle"))
        left = list(run.glob(f"{PART}*")) if landed and now - _touched(run) < KEEP else [run]
        if left and not _in_use(run, settings, now, instance):
            purged += 1
            for path in left:
                _remove(path)
    for run in _runs_in(settings.spill):
        if now - _touched(run) >= KEEP and not _in_use(run, settings, now, instance):
            purged += 1
            _remove(run)
    return purged


def _in_use(run: Path, settings: Settings, now: datetime, instance: DagsterInstance) -> bool:
    """Whether the run may still be at work: a process of it lives, or Dagster says so, and it wrote in the last week.

    `dead_runs` and run monitoring end runs whose process died. Where neither can tell, a run is under way for ever.
    """
    if life_of(settings.state, run.name) == "alive":
        return True
    known = instance.get_run_by_id(run.name)
    idle = now - _touched(run)
    return idle < UNKNOWN_FOR if known is None else not known.is_finished and idle < KEEP


def _runs_in(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (run for run in folder.iterdir() if run.is_dir())


def _touched(run: Path) -> datetime:
    """When something in the run's folder was written last."""
    newest = run.stat().st_mtime
    for path in run.iterdir():
        with suppress(FileNotFoundError):  # its run is at work
            newest = max(newest, path.stat().st_mtime)
    return datetime.fromtimestamp(newest, UTC)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _path(spill: Path, run_id: str, step_key: str) -> Path:
    return spill / run_id / f"{step_key}.handle"
