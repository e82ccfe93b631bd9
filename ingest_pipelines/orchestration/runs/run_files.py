"""The files of runs: landed bytes and validated rows. They go when the load is settled, or when no run needs them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import DagsterInstance, RunsFilter

from ingest_pipelines import ledger
from ingest_pipelines.config import Settings
from ingest_pipelines.landing.land import PART
from ingest_pipelines.model import ItemKey, Validated
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.runs.item_runs import runs_of_items
from ingest_pipelines.orchestration.runs.run_locks import life_of
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_run_of
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.owner_only import private_file

_LOG = logging.getLogger(__name__)

KEEP = timedelta(days=7)
"""How long the files of a run are kept for its re-execution."""

UNKNOWN_FOR = timedelta(days=1)
"""How long files without a run in Dagster are kept: `ingest plan` may be using them."""


TO_FORGET = "forget"
"""A file in a run's folder: somebody was forgotten meanwhile, so the folder, and what the run has in the bucket of
INGEST_SPILL_URI, is deleted as soon as the run has ended."""


def forget_rows(validated: Validated) -> None:
    """Deletes the landed bytes and the validated rows; the handles stay."""
    landing = validated.landing
    for path in (*landing.paths, *validated.accepted, *([validated.rejects] if validated.rejects else [])):
        path.unlink(missing_ok=True)
    for folder in {landing.path.parent, *(path.parent for path in validated.accepted)}:
        (folder / TO_FORGET).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def forget_run(spool: Path, spill: Path, run_id: str) -> None:
    """Deletes what the run landed and validated on this machine, however far it got; the handles stay."""
    shutil.rmtree(spool / run_id, ignore_errors=True)
    for folder in (spill / run_id).glob("*/"):  # handles lie beside the folders with rows
        shutil.rmtree(folder, ignore_errors=True)


def forget_people(
    settings: Settings, instance: DagsterInstance, others: Collection[str], *, plan: bool = False
) -> tuple[int, int]:
    """Deletes all files of runs that may hold rows of people who were forgotten; (of how many runs, how many run yet).

    Also handles and reports: they have samples. Files of a run in progress are deleted once it has ended.

    Args:
        others: imports whose runs hold nothing of these people.
        plan: only count.
    """
    erased = running = 0
    for run_id in runs_with_files(settings, instance, others):
        dagster_run = instance.get_run_by_id(run_id)
        life = life_of(settings.state, run_id)
        runs_yet = dagster_run is not None and not dagster_run.is_finished and life != "dead"
        if life == "alive" or runs_yet:
            running += 1
        else:
            erased += 1
        for folder in (settings.spool / run_id, settings.spill / run_id):
            if plan or not folder.is_dir():
                continue
            if life == "alive" or runs_yet:
                private_file(folder / TO_FORGET)
            else:
                _remove(folder)
    return erased, running


def forget_settled_runs(site: Site, instance: DagsterInstance) -> int:
    """Deletes what ended runs had landed and validated of items that no run will go on with; of how many runs.

    Such an item is in the table by another run, a person skips it, or a newer version of the file replaced it. What was
    landed of a replay stays: its file may be gone.
    """
    settings, now = site.settings, site.clock()
    ids = [run_id for run_id in _ids_with_rows(settings) if life_of(settings.state, run_id) != "alive"]
    ended: dict[str, tuple[str, ItemKey]] = {}
    for run in instance.get_runs(RunsFilter(run_ids=ids)) if ids else ():
        if run.is_finished and IMPORT_TAG in run.tags and is_run_of(run, site.project.placement):
            ended[run.run_id] = (run.tags[IMPORT_TAG], ItemKey(run.tags.get(PARTITION_NAME_TAG, "")))
    if not ended:
        return 0
    with site.target.session() as connection:
        unsettled = {(item.import_name, item.key) for item in ledger.unsettled_items(connection)}
        over = {
            place
            for place in {*ended.values()} - unsettled
            if (item := ledger.find_item(connection, *place)) is not None and item.kind != "replay"
        }
    runs = runs_of_items(over, site.project.placement, instance, now)
    needless = [run_id for run_id, place in ended.items() if place in over and not runs[place].in_progress]
    for run_id in needless:
        forget_run(settings.spool, settings.spill, run_id)
    return len(needless)


def runs_with_files(settings: Settings, instance: DagsterInstance, others: Collection[str]) -> list[str]:
    """Ids of runs that have files here, and that may be of another import than these."""
    ids = sorted({run.name for folder in (settings.spool, settings.spill) for run in _runs_in(folder)})
    found = []
    for run_id in ids:
        dagster_run = instance.get_run_by_id(run_id)
        if dagster_run is None or dagster_run.tags.get(IMPORT_TAG) not in others:
            found.append(run_id)
    return found


def _ids_with_rows(settings: Settings) -> list[str]:
    """Runs that have more here than handles."""
    landed = {run.name for run in _runs_in(settings.spool)}
    return sorted(landed | {run.name for run in _runs_in(settings.spill) if next(run.glob("*/"), None) is not None})


def purge_runs(settings: Settings, now: datetime, instance: DagsterInstance) -> int:
    """Deletes files that no re-execution needs; of how many runs.

    A run that was killed while it landed its item has no step to go on from, so all its files go. A landed item is
    kept for a re-execution until its files are older than KEEP. A run in progress keeps all of its files.
    """
    purged = 0
    for purge, folder in ((_purge_landed, settings.spool), (_purge_validated, settings.spill)):
        for run in _runs_in(folder):
            with suppress(FileNotFoundError):  # the run has just ended, and its process removes its files itself
                purged += purge(run, settings, now, instance)
    return purged


def _purge_landed(run: Path, settings: Settings, now: datetime, instance: DagsterInstance) -> bool:
    landed = any((settings.spill / run.name).glob("*.land.handle")) and not (run / TO_FORGET).exists()
    left = list(run.glob(f"{PART}*")) if landed and now - _touched(run) < KEEP else [run]
    if not left or _in_use(run, settings, now, instance):
        return False
    for path in left:
        _remove(path)
    return True


def _purge_validated(run: Path, settings: Settings, now: datetime, instance: DagsterInstance) -> bool:
    forgotten = (run / TO_FORGET).exists()
    if not (forgotten or now - _touched(run) >= KEEP) or _in_use(run, settings, now, instance):
        return False
    if forgotten and not _forget_elsewhere(settings, run.name):
        return False
    _remove(run)
    return True


def _forget_elsewhere(settings: Settings, run_id: str) -> bool:
    """Deletes what the run has in the bucket, if there is one; whether it is gone. The next tick tries again."""
    from ingest_pipelines.orchestration.io_managers.remote_spill import RemoteSpill

    if settings.remote_spill is not None:
        try:
            RemoteSpill(settings.remote_spill, settings).forget_run(run_id)
        except OSError as problem:
            _LOG.warning("the files of run %s stay at INGEST_SPILL_URI: %s", run_id, type(problem).__name__)
            return False
    return True


def _in_use(run: Path, settings: Settings, now: datetime, instance: DagsterInstance) -> bool:
    """Whether the run may be in progress: a process of it is alive, or Dagster says so and it wrote within KEEP.

    The age counts because a run on another machine that died may be in progress for Dagster for ever.
    """
    if life_of(settings.state, run.name) == "alive":
        return True
    dagster_run = instance.get_run_by_id(run.name)
    idle = now - _touched(run)
    return idle < UNKNOWN_FOR if dagster_run is None else not dagster_run.is_finished and idle < KEEP


def _runs_in(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (run for run in folder.iterdir() if run.is_dir())


def _touched(run: Path) -> datetime:
    """The time of the last write in the run's folder."""
    newest = run.stat().st_mtime
    for path in run.iterdir():
        with suppress(FileNotFoundError):  # the run is in progress
            newest = max(newest, path.stat().st_mtime)
    return datetime.fromtimestamp(newest, UTC)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
