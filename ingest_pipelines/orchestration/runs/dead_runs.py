"""What a dead run leaves behind is cleared up: its place in a pool, its status in Dagster, its item, its files.

Every `ingest run`, every run that waits for a pool and the housekeeping sensor look for dead runs; none needs a daemon.
A run is dead where the kernel ended the lock that its process held, see `run_locks`. A live run loses nothing, nor does
one of which this machine knows nothing.
"""

from __future__ import annotations

import logging
import shutil
from datetime import datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.errors import IngestError, LoadError
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.dagster_internals.tags import GRPC_INFO_TAG, PARTITION_NAME_TAG, WILL_RETRY_TAG
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.fail_dead_run import DIED, fail_dead_run
from ingest_pipelines.orchestration.runs.run_context import find_work
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, is_dry_run
from ingest_pipelines.orchestration.site import Site

_LOG = logging.getLogger(__name__)

NEVER_BEGAN = "its process did not begin in time: it was killed, or the machine went down"

UNKNOWN_FOR = timedelta(days=1)
"""How long the lock of a dead process is kept whose run this Dagster does not know."""


def sweep(site: Site, instance: DagsterInstance) -> list[str]:
    """All that dead runs of this state folder left is cleared up; their ids.

    A run that Dagster will try again keeps its files for the retry, and its item says nothing before that has ended.
    """
    state = site.settings.state
    swept = []
    for run_id in run_locks.runs_with_locks(state):
        with run_locks.claim_dead(state, run_id) as is_dead:
            if is_dead and _clear_up(site, instance, run_id):
                run_locks.forget(state, run_id)
                swept.append(run_id)
    return [*swept, *_end_unborn(instance, site.clock())]


def _clear_up(site: Site, instance: DagsterInstance, run_id: str) -> bool:
    """Whether nothing is left to do."""
    settings = site.settings
    if not run_id.startswith(run_locks.PLAN_PREFIX):
        if instance.get_run_by_id(run_id) is None:
            held = run_locks.holder_of(settings.state, run_id)
            return held is None or site.clock() - datetime.fromisoformat(held.since) > UNKNOWN_FOR
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
    """Whether the ledger says that the dead run failed, or need not: a plan, and a load that has ended, stay as is."""
    run = record.dagster_run
    bound = site.project.imports.get(run.tags.get(IMPORT_TAG, ""))
    partition = run.tags.get(PARTITION_NAME_TAG, "")
    if bound is None or is_dry_run(run.tags) or run.tags.get(ITEM_TAG, partition) != partition:
        return True  # an item that is not its partition's is named by a tag, which proves nothing
    try:
        work = find_work(site, bound.asset_name, partition, run, 1, instance, _LOG)
        item = work.item
        if item.kind == "cursor":
            item = pipeline.next_chunk(item, bound, site.target, work.run)
        if _is_open(site, item, record):
            error = LoadError(
                f"import {bound.name}, item {item.key}: run {run.run_id[:8]} is dead: {DIED}",
                hint=f"what it had not committed is not in the table; next: ingest run {bound.name} --item {item.key}",
            )
            pipeline.record_failure(error, item, item, bound, site.target, work.run, site.clock())
    except IngestError as problem:
        _LOG.warning("run %s is dead, and the ledger could not be told: %s", run.run_id, problem.message)
        return not problem.retryable
    return True


def _is_open(site: Site, item: Item, record: RunRecord) -> bool:
    """Whether no load says yet how the run ended: neither one of its own, nor a later one of its import."""
    with site.target.session() as connection:
        own = ledger.loads_of_run(connection, record.dagster_run.run_id)
        newest = next(iter(ledger.recent_loads(connection, item.import_name, last=1)), None)
    if any(item.kind != "cursor" or load.cursor_from == item.cursor_from for load in own):
        return False
    return newest is None or bool(own) or newest.started_at <= record.create_timestamp


def _end_unborn(instance: DagsterInstance, now: datetime) -> list[str]:
    """Runs are failed that were launched as processes, and did not begin in the time that Dagster allows.

    A process that is slower finds its run ended and does nothing.
    """
    patience = timedelta(seconds=instance.run_monitoring_start_timeout_seconds)
    late = RunsFilter(statuses=[DagsterRunStatus.STARTING], updated_before=now - patience)
    unborn = [
        record.dagster_run for record in instance.get_run_records(late) if GRPC_INFO_TAG in record.dagster_run.tags
    ]
    for run in unborn:
        instance.report_run_failed(run, f"The run is dead: {NEVER_BEGAN}. Nothing of it was committed.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in unborn]
