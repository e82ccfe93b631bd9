"""What Dagster knows of the runs of items: whether one is in progress, and how the newest one ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from ingest_pipelines.config.placement import Placement
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.dagster_internals.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, gave_way, is_dry_run, is_run_of

KEYS_PER_QUERY = 500

UNSENT_FOR = timedelta(minutes=5)
"""A run that was created and is not in the queue after this time never will be: its daemon died in between."""

RETRIED_WITHIN = timedelta(minutes=10)
"""Dagster creates a retry some seconds after a run has failed. Some never come: their backfill was cancelled."""

_FAILED_BACKFILL = {"FAILED", "FAILING"}
"""Dagster itself cancelled the backfill's runs, for instance because the asset was gone while its YAML was broken."""

ItemId = tuple[str, ItemKey]
"""The name of an import, and the key of its item."""

RunEnd = Literal["succeeded", "failed", "terminated", "gave way"]
"""`terminated`: a person ended it: the run, its place in the queue, or its backfill. `gave way`: see `runs.turns`."""


@dataclass(frozen=True)
class ItemRuns:
    """The runs of an item, without dry runs.

    Attributes:
        newest: id of the newest run.
        status: its status in Dagster.
        created_at: when it was requested.
        end: how it ended; None: it is in progress, or Dagster will retry it.
        ended_at: when it ended, or was last heard of.
        ended: how many runs have ended, without those that gave way.
    """

    newest: str
    status: DagsterRunStatus
    created_at: datetime
    end: RunEnd | None
    ended_at: datetime
    ended: int

    @property
    def in_progress(self) -> bool:
        """Whether the newest run is queued, starts, runs or is being cancelled, or Dagster will retry it."""
        return self.end is None


def runs_of_items(
    items: Iterable[ItemId], placement: Placement, instance: DagsterInstance, now: datetime
) -> dict[ItemId, ItemRuns]:
    """The runs of those of the items that have one: a query per KEYS_PER_QUERY items, one per cancelled backfill."""
    wanted = set(items)
    records = _records(sorted({key for _, key in wanted}), instance)
    own = (record for record in records if is_run_of(record.dagster_run, placement))
    return summarize_runs(own, wanted, instance, now)


def summarize_runs(
    records: Iterable[RunRecord], items: Collection[ItemId], instance: DagsterInstance, now: datetime
) -> dict[ItemId, ItemRuns]:
    """`runs_of_items`, from records that were read before: a query per cancelled backfill."""
    wanted = set(items)
    by_item: dict[ItemId, dict[int, RunRecord]] = defaultdict(dict)
    for record in records:
        run = record.dagster_run
        key = ItemKey(run.tags.get(ITEM_TAG) or run.tags.get(PARTITION_NAME_TAG, ""))
        for name in () if is_dry_run(run.tags) else imports_of(run):
            if (name, key) in wanted:
                by_item[name, key][record.storage_id] = record

    @cache
    def failed_by_dagster(backfill_id: str) -> bool:
        backfill = instance.get_backfill(backfill_id)
        return backfill is not None and backfill.status.value in _FAILED_BACKFILL

    return {item: _summarize(list(found.values()), now, failed_by_dagster) for item, found in by_item.items()}


def _records(keys: Sequence[ItemKey], instance: DagsterInstance) -> Iterator[RunRecord]:
    for start in range(0, len(keys), KEYS_PER_QUERY):
        tags = {PARTITION_NAME_TAG: [str(key) for key in keys[start : start + KEYS_PER_QUERY]]}
        yield from instance.get_run_records(RunsFilter(tags=tags))


def imports_of(run: DagsterRun) -> set[str]:
    """The run's imports, and assets that may be imports: one by its tag, and all that a person chose in the UI."""
    tagged = {run.tags[IMPORT_TAG]} if IMPORT_TAG in run.tags else set()
    return tagged | {key.path[-1] for key in run.asset_selection or ()}


def _summarize(records: Sequence[RunRecord], now: datetime, failed_by_dagster: Callable[[str], bool]) -> ItemRuns:
    newest = max(records, key=lambda record: record.storage_id)
    ends = [end for record in records if (end := _end_of(record, now, failed_by_dagster)) is not None]
    return ItemRuns(
        newest=newest.dagster_run.run_id,
        status=newest.dagster_run.status,
        created_at=newest.create_timestamp,
        end=_end_of(newest, now, failed_by_dagster),
        ended_at=_last_heard_of(newest),
        ended=sum(end != "gave way" for end in ends),
    )


def _end_of(record: RunRecord, now: datetime, failed_by_dagster: Callable[[str], bool]) -> RunEnd | None:
    run, quiet_for = record.dagster_run, now - _last_heard_of(record)
    match run.status:
        case DagsterRunStatus.SUCCESS:
            return "gave way" if gave_way(run.tags) else "succeeded"
        case DagsterRunStatus.CANCELED:
            backfill_id = run.tags.get(BACKFILL_ID_TAG)
            return "failed" if backfill_id is not None and failed_by_dagster(backfill_id) else "terminated"
        case DagsterRunStatus.FAILURE:
            awaited = run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags
            return None if awaited and quiet_for < RETRIED_WITHIN else "failed"
        case DagsterRunStatus.NOT_STARTED:
            return None if quiet_for < UNSENT_FOR else "failed"
        case _:
            return None


def _last_heard_of(record: RunRecord) -> datetime:
    """When the run ended; of a run without an end the last change of its record."""
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC)
    return record.update_timestamp
