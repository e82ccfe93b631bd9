"""A failed run that will be retried keeps its import's place in the run queue until its retry is queued.

Dagster fails a run whose process died, and creates its retry some seconds later. In between, no run of the import is in
progress, so the queue would start the run of a newer item; the retry would then be refused as stale.

Waits for: a run queue that counts a run which is to be retried as in progress, or keeps runs of one tag in order. No
Dagster issue asks for it; the nearest is 25743, on tag limits beside other limits.
If `get_run_records`, its filter on these statuses or the retry tags change: after a crash a newer item may be
loaded before the retry, which is then refused as stale. No data is lost. `test_run_queue.py` fails first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from dagster import DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.runs import SqlRunStorage

from ingest_pipelines.orchestration.dagster_internals.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

ACTIVE_RUN_STATUSES = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
"""What the queue asks the storage for: runs in progress. Dagster's own name of the list differs between versions."""

PATIENCE = timedelta(minutes=2)
"""How long a failed run waits for its retry, which Dagster creates within five seconds. Some never come, for instance
because their backfill was cancelled; the queue then goes on without them."""

_LOOK_BACK = timedelta(days=1)
"""A retry also goes first after a night without a daemon."""

_UNTAGGED = timedelta(seconds=10)
"""Dagster fails a run first, and a moment later tags it with whether it will be retried."""

_UNSENT = [DagsterRunStatus.NOT_STARTED]


def count_retries_as_active(storage: SqlRunStorage, clock: Callable[[], float] = monotonic) -> None:
    """Replaces `get_run_records`: the run queue also counts runs that are about to be retried as in progress.

    Args:
        clock: seconds of a clock that never goes back.
    """
    original = storage.get_run_records
    waiting_since: dict[str, float] = {}

    def get_run_records(filters: RunsFilter | None = None, *rest: Any, **more: Any) -> Sequence[RunRecord]:
        records = original(filters, *rest, **more)
        if filters != RunsFilter(statuses=ACTIVE_RUN_STATUSES):
            return records
        now = clock()
        waiting = {record.dagster_run.run_id: record for record in _to_be_retried(storage, original)}
        first_seen = {run_id: waiting_since.get(run_id, now) for run_id in waiting}
        waiting_since.clear()
        waiting_since.update(first_seen)
        patience = PATIENCE.total_seconds()
        return [*records, *(waiting[run_id] for run_id, since in waiting_since.items() if now - since < patience)]

    storage.get_run_records = get_run_records  # type: ignore[method-assign]


def _to_be_retried(storage: SqlRunStorage, get_run_records: Callable[..., Sequence[RunRecord]]) -> list[RunRecord]:
    """Failed runs whose retry is missing: not created yet, or created and not in the queue yet."""
    now, failed = datetime.now(UTC), [DagsterRunStatus.FAILURE]
    retried = get_run_records(
        RunsFilter(statuses=failed, tags={WILL_RETRY_TAG: "true"}, updated_after=now - _LOOK_BACK)
    )
    retries = [tags[AUTO_RETRY_RUN_ID_TAG] for record in retried if AUTO_RETRY_RUN_ID_TAG in (tags := _tags(record))]
    unsent = {run.run_id for run in storage.get_runs(RunsFilter(run_ids=retries, statuses=_UNSENT))} if retries else ()
    just_failed = get_run_records(RunsFilter(statuses=failed, updated_after=now - _UNTAGGED))
    return [
        *(
            record
            for record in retried
            if (retry := _tags(record).get(AUTO_RETRY_RUN_ID_TAG)) is None or retry in unsent
        ),
        *(record for record in just_failed if WILL_RETRY_TAG not in _tags(record)),
    ]


def _tags(record: RunRecord) -> Mapping[str, str]:
    return record.dagster_run.tags
