"""Whose turn it is: a run whose process died keeps its import's place in the queue until its retry stands there.

Dagster fails such a run, and creates its retry some seconds later. Between the two nothing of the import is in
progress, and the run of a newer item would go first; the retry would then be refused as stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from dagster import DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

PATIENCE = timedelta(minutes=2)
"""Dagster creates a retry within five seconds. One that does not come, for instance because its backfill was
cancelled, holds the others back no longer than this."""

_LATELY = timedelta(days=1)
"""Also after a night without a daemon the retry goes first."""

_UNTAGGED = timedelta(seconds=10)
"""A run is failed first, and tagged with whether it will be tried again a moment later."""

_UNSENT = [DagsterRunStatus.NOT_STARTED]


def keep_places(storage: SqlRunStorage, clock: Callable[[], float] = monotonic) -> None:
    """The queue, which asks for the runs in progress before it lets others start, is told of those to be retried, too.

    Args:
        clock: seconds of a clock that never goes back.
    """
    ask = storage.get_run_records
    since: dict[str, float] = {}

    def get_run_records(filters: RunsFilter | None = None, *rest: Any, **more: Any) -> Sequence[RunRecord]:
        found = ask(filters, *rest, **more)
        if filters != RunsFilter(statuses=ACTIVE_RUN_STATUSES):
            return found
        now = clock()
        waiting = {record.dagster_run.run_id: record for record in _to_be_retried(storage, ask)}
        first_seen = {run: since.get(run, now) for run in waiting}
        since.clear()
        since.update(first_seen)
        return [*found, *(waiting[run] for run, first in since.items() if now - first < PATIENCE.total_seconds())]

    storage.get_run_records = get_run_records  # type: ignore[method-assign]


def _to_be_retried(storage: SqlRunStorage, ask: Callable[..., Sequence[RunRecord]]) -> list[RunRecord]:
    """Failed runs whose retries are still to come: not created, or created and not in the queue."""
    now, failed = datetime.now(UTC), [DagsterRunStatus.FAILURE]
    told = ask(RunsFilter(statuses=failed, tags={WILL_RETRY_TAG: "true"}, updated_after=now - _LATELY))
    retries = [tags[AUTO_RETRY_RUN_ID_TAG] for record in told if AUTO_RETRY_RUN_ID_TAG in (tags := _tags(record))]
    unsent = {run.run_id for run in storage.get_runs(RunsFilter(run_ids=retries, statuses=_UNSENT))} if retries else ()
    just_now = ask(RunsFilter(statuses=failed, updated_after=now - _UNTAGGED))
    return [
        *(record for record in told if (retry := _tags(record).get(AUTO_RETRY_RUN_ID_TAG)) is None or retry in unsent),
        *(record for record in just_now if WILL_RETRY_TAG not in _tags(record)),
    ]


def _tags(record: RunRecord) -> Mapping[str, str]:
    return record.dagster_run.tags
