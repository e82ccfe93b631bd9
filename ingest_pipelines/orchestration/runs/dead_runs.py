"""Clears up after dead runs: the slot in a pool, the status in Dagster, the item in the ledger, the files.

Every `ingest run`, every run that waits for a pool, and the housekeeping sensor look for dead runs, so no daemon is
needed. A run is dead if its process lost its lock (`run_locks`). Runs that are alive or unknown are left alone.
"""

from __future__ import annotations

import logging
import shutil
from datetime import datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.errors import IngestError, RunDied
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.dagster_internals.tags import GRPC_INFO_TAG, PARTITION_NAME_TAG, WILL_RETRY_TAG
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.fail_dead_run import DIED, fail_dead_run
from ingest_pipelines.orchestration.runs.item_runs import UNSENT_FOR
from ingest_pipelines.orchestration.runs.run_context import find_run_context
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, is_dry_run, is_run_of
from ingest_pipelines.orchestration.site import Site

_LOG = logging.getLogger(__name__)

NEVER_QUEUED = "the daemon that created it ended before it put it into the queue"

NEVER_STARTED = "its process did not begin in time: it was killed, or the machine went down"

UNKNOWN_FOR = timedelta(days=1)
"""How long the lock file of a dead run is kept if this Dagster has no such run."""


def clear_up_dead_runs(site: Site, instance: DagsterInstance) -> list[str]:
    """Clears up after the dead runs of this state folder; their ids.

    A run that Dagster will retry keeps its files for the retry, which also settles its item.
    """
    state = site.settings.state
    cleared_up = []
    for run_id in run_locks.runs_with_locks(state):
        with run_locks.claim_dead(state, run_id) as is_dead:
            if is_dead and _clear_up(site, instance, run_id):
                run_locks.forget(state, run_id)
                cleared_up.append(run_id)
    return [*cleared_up, *_fail_unstarted(site, instance)]


def _clear_up(site: Site, instance: DagsterInstance, run_id: str) -> bool:
    """Whether everything is cleared up."""
    settings = site.settings
    if not run_id.startswith(run_locks.PLAN_PREFIX):
        if instance.get_run_by_id(run_id) is None:
            holder = run_locks.holder_of(settings.state, run_id)
            return holder is None or site.clock() - datetime.fromisoformat(holder.since) > UNKNOWN_FOR
        fail_dead_run(instance, run_id)
        record = instance.get_run_record_by_id(run_id)
        assert record is not None
        if record.dagster_run.tags.get(WILL_RETRY_TAG) == "true":
            return True
        if record.dagster_run.status is DagsterRunStatus.FAILURE and not _settle_item(site, instance, record):
            return False
    for folder in (settings.spool / run_id, settings.spill / run_id):
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _settle_item(site: Site, instance: DagsterInstance, record: RunRecord) -> bool:
    """Whether the ledger has the dead run's load as failed, or needs no entry: it was a plan, or the load has ended."""
    run = record.dagster_run
    bound = site.project.imports.get(run.tags.get(IMPORT_TAG, "")) if is_run_of(run, site.project.placement) else None
    partition = run.tags.get(PARTITION_NAME_TAG, "")
    if bound is None or is_dry_run(run.tags) or run.tags.get(ITEM_TAG, partition) != partition:
        return True  # only a tag names an item other than the partition's, and tags prove nothing
    try:
        run_context = find_run_context(site, bound.asset_name, partition, run, 1, instance, _LOG)
        item = run_context.item
        if item.kind == "cursor":
            item = pipeline.next_chunk(item, bound, site.target, run_context.run)
        if _is_open(site, item, record):
            error = RunDied(
                f"import {bound.name}, item {item.key}: run {run.run_id[:8]} is dead: {DIED}",
                hint=f"what it had not committed is not in the table; next: ingest run {bound.name} --item {item.key}",
            )
            pipeline.record_failure(error, item, item, bound, site.target, run_context.run, site.clock())
    except IngestError as problem:
        _LOG.warning("run %s is dead, and the ledger could not record it: %s", run.run_id, problem.message)
        return not problem.retryable
    return True


def _is_open(site: Site, item: Item, record: RunRecord) -> bool:
    """Whether the ledger does not say yet how the run ended: by its own load, or by a later load of the import."""
    with site.target.session() as connection:
        own = ledger.loads_of_run(connection, record.dagster_run.run_id)
        newest = next(iter(ledger.recent_loads(connection, item.import_name, last=1)), None)
    if any(item.kind != "cursor" or load.cursor_from == item.cursor_from for load in own):
        return False
    return newest is None or bool(own) or newest.started_at <= record.create_timestamp


def _fail_unstarted(site: Site, instance: DagsterInstance) -> list[str]:
    """Fails our runs whose process did not start in the time that Dagster allows, or that never came into the queue.

    Returns:
        Their ids. A process that starts later finds that its run has ended, and does nothing.
    """
    now, patience = site.clock(), timedelta(seconds=instance.run_monitoring_start_timeout_seconds)
    late = RunsFilter(statuses=[DagsterRunStatus.STARTING], updated_before=now - patience)
    unsent = RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], updated_before=now - UNSENT_FOR)
    unstarted = [(run, NEVER_STARTED) for run in instance.get_runs(late) if GRPC_INFO_TAG in run.tags]
    unstarted += [(run, NEVER_QUEUED) for run in instance.get_runs(unsent)]
    failed: list[str] = []
    for run, reason in unstarted:
        if IMPORT_TAG not in run.tags or not is_run_of(run, site.project.placement):
            continue  # a team's own run, or one that Dagster's monitoring looks after
        fail_dead_run(instance, run.run_id, reason)
        failed.append(run.run_id)
    return failed
