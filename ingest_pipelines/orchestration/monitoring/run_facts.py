"""The last run of each item, from Dagster's storage, as `item_state` reads it. Dry runs are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from ingest_pipelines.orchestration.dagster_internals.run_failures import run_failures
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG, WILL_RETRY_TAG
from ingest_pipelines.orchestration.monitoring.dead_run_reasons import reason_of
from ingest_pipelines.orchestration.monitoring.item_state import RunEnd, RunFacts
from ingest_pipelines.orchestration.runs.item_runs import ItemRuns, imports_of
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, gave_way, is_dry_run

ItemOfImport = tuple[str, str]
"""An import's name and an item's key."""

KEYS_PER_QUERY = 1_000
ENDED_RUNS = 1_000
"""At most so many ended runs of windows that the ledger does not have are looked at, the newest ones."""

STEPS_ASKED = 25
"""Each running run is one query; installations seldom have more at once."""

LOOK_BACK = timedelta(days=30)
"""Of windows that the ledger does not have, runs that ended longer ago are forgotten."""

_QUEUED = {DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED}
_RUNNING = {DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING}
_ENDS: Mapping[DagsterRunStatus, RunEnd] = {
    DagsterRunStatus.SUCCESS: "succeeded",
    DagsterRunStatus.FAILURE: "failed",
    DagsterRunStatus.CANCELED: "canceled",
}

_NEVER_FAILED: Mapping[DagsterRunStatus, str] = {
    DagsterRunStatus.CANCELED: "Dagster cancelled its backfill: the code server did not have the import then",
    DagsterRunStatus.NOT_STARTED: "it was created and never queued: Dagster's daemon died in between",
}
"""Why runs ended that Dagster has not as failed, and that no person ended."""


def item_of_run(run: DagsterRun) -> ItemOfImport | None:
    """The item that the run works on; None where its tags name none, or it loads none."""
    item = run.tags.get(ITEM_TAG) or run.tags.get(PARTITION_NAME_TAG)
    name = run.tags.get(IMPORT_TAG)
    loads_none = is_dry_run(run.tags) or gave_way(run.tags)
    return None if item is None or name is None or loads_none else (name, item)


def items_of_run(run: DagsterRun, imports: Container[str]) -> list[ItemOfImport]:
    """The items that the run was launched for: one per import that a person chose.

    Args:
        imports: names of the project's imports, which an asset must have to be one.
    """
    own = item_of_run(run)
    item = run.tags.get(ITEM_TAG) or run.tags.get(PARTITION_NAME_TAG)
    if item is None or is_dry_run(run.tags) or gave_way(run.tags):
        return []
    others = sorted(name for name in imports_of(run) if name in imports)
    return [*([own] if own is not None else []), *((name, item) for name in others if (name, item) != own)]


def runs_in_progress(instance: DagsterInstance) -> list[RunRecord]:
    """Every run that is queued or running, the oldest first."""
    in_progress = RunsFilter(statuses=sorted(_QUEUED | _RUNNING, key=lambda status: status.value))
    return list(instance.get_run_records(in_progress, ascending=True))


def runs_of(instance: DagsterInstance, items: Iterable[str]) -> list[RunRecord]:
    """Runs of items with these keys, in any state."""
    keys = sorted(set(items))
    records: list[RunRecord] = []
    for first in range(0, len(keys), KEYS_PER_QUERY):
        for tag in (PARTITION_NAME_TAG, ITEM_TAG):
            records += instance.get_run_records(RunsFilter(tags={tag: keys[first : first + KEYS_PER_QUERY]}))
    return records


def broken_runs(instance: DagsterInstance, imports: Sequence[str], now: datetime) -> list[RunRecord]:
    """The newest runs of these imports that failed or were cancelled."""
    if not imports:
        return []
    broken = RunsFilter(
        tags={IMPORT_TAG: list(imports)},
        statuses=[DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED],
        updated_after=now - LOOK_BACK,
    )
    return list(instance.get_run_records(broken, limit=ENDED_RUNS))


def last_runs(
    records: Iterable[RunRecord],
    names: Mapping[str, str] = MappingProxyType({}),
    still_there: Container[ItemOfImport] = (),
    imports: Container[str] = (),
) -> dict[ItemOfImport, RunRecord]:
    """Per item its run in progress, else its newest one.

    Args:
        names: per earlier name of an import its name now, which the item then has.
        still_there: items that still have the earlier name.
        imports: names of the project's imports.
    """
    last: dict[ItemOfImport, RunRecord] = {}
    for record in records:
        for tagged in items_of_run(record.dagster_run, imports):
            item = tagged if tagged in still_there else (names.get(tagged[0], tagged[0]), tagged[1])
            if item not in last or _order(record) > _order(last[item]):
                last[item] = record
    return last


def _order(record: RunRecord) -> tuple[bool, bool, int]:
    status = record.dagster_run.status
    return status in _RUNNING, status in _QUEUED, record.storage_id


def facts_of(
    record: RunRecord,
    history: ItemRuns | None,
    reasons: Mapping[str, str],
    waits: Mapping[str, str],
    steps: Mapping[str, str] = MappingProxyType({}),
) -> RunFacts:
    """The run as `item_state` reads it.

    Args:
        history: the runs of its item: who ended a cancelled run, and whether a created run can still be queued.
        reasons: why runs failed, by their id.
        waits: what runs wait for, by their id.
        steps: the step that running runs are at, by their id.
    """
    run, created_at = record.dagster_run, _utc(record.create_timestamp)
    started_at, ended_at = _moment(record.start_time), _moment(record.end_time)
    facts = RunFacts(
        run_id=run.run_id,
        state="queued",
        created_at=created_at,
        since=created_at,
        began=started_at is not None,
        reason=reasons.get(run.run_id, ""),
        waits_for=waits.get(run.run_id, ""),
        step=steps.get(run.run_id, ""),
        is_retried=run.tags.get(WILL_RETRY_TAG) == "true",
    )
    if run.status in _RUNNING:
        return replace(facts, state="running", since=started_at or created_at)
    ended_at = ended_at or _utc(record.update_timestamp)
    own_history = history if history is not None and history.newest == run.run_id else None
    if own_history is not None and own_history.end == "failed" and run.status in _NEVER_FAILED:
        return replace(facts, state="failed", since=ended_at, reason=_NEVER_FAILED[run.status])
    if run.status in _ENDS:
        return replace(facts, state=_ENDS[run.status], since=ended_at)
    return facts


def failure_reasons(instance: DagsterInstance, records: Iterable[RunRecord]) -> dict[str, str]:
    """Why runs failed, by their id; runs that did not fail are left out."""
    failed = {
        record.dagster_run.run_id: record.start_time is not None
        for record in records
        if record.dagster_run.status is DagsterRunStatus.FAILURE
    }
    failures = run_failures(instance, failed)
    return {run_id: reason_of(failures.get(run_id), run_id, began=began) for run_id, began in failed.items()}


def steps_of(instance: DagsterInstance, in_progress: Iterable[RunRecord]) -> dict[str, str]:
    """Per running run the step that it began last: `step land since 12:01:30 UTC`; of the oldest runs only."""
    running = [record.dagster_run.run_id for record in in_progress if record.dagster_run.status in _RUNNING]
    steps: dict[str, str] = {}
    for run_id in running[:STEPS_ASKED]:
        events = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_START, limit=1, ascending=False)
        for entry in (record.event_log_entry for record in events.records):
            step = (entry.step_key or "").rpartition(".")[2]
            steps[run_id] = f"step {step} since {datetime.fromtimestamp(entry.timestamp, UTC):%H:%M:%S} UTC"
    return steps


def reasons_to_wait(
    instance: DagsterInstance, in_progress: Sequence[RunRecord], pools: Mapping[str, str]
) -> dict[str, str]:
    """Per run what it waits for: a queued run for the run queue, a running one for its table's pool.

    Args:
        in_progress: every run that is queued or running, the oldest first.
        pools: per import the pool of its table.
    """
    config = instance.get_concurrency_config().run_queue_config
    running = [record.dagster_run for record in in_progress if record.dagster_run.status in _RUNNING]
    waits = _pool_waits(instance, running, pools)
    ahead = list(running)
    most = config.max_concurrent_runs if config is not None else -1
    for record in in_progress:
        run = record.dagster_run
        if run.status not in _QUEUED:
            continue
        limits = [
            (str(limit["key"]), int(limit["limit"]))
            for limit in (config.tag_concurrency_limits if config is not None else ())
            if isinstance(limit.get("value"), Mapping) and limit["key"] in run.tags
        ]
        waits[run.run_id] = _reason_to_wait(run, running, ahead, limits, most)
        ahead.append(run)
    return waits


def _pool_waits(instance: DagsterInstance, running: Sequence[DagsterRun], pools: Mapping[str, str]) -> dict[str, str]:
    """Per running run that waits for its table's pool, which run holds it. Only pools of two runs are looked at."""
    by_id = {run.run_id: run for run in running}
    per_pool = Counter(pools[name] for run in running if (name := run.tags.get(IMPORT_TAG, "")) in pools)
    waits: dict[str, str] = {}
    for pool in (pool for pool, runs in per_pool.items() if runs > 1):
        info = instance.event_log_storage.get_concurrency_info(pool)
        holder = next((by_id[run_id] for run_id in sorted(info.active_run_ids) if run_id in by_id), None)
        for run_id in info.pending_run_ids - info.active_run_ids:
            if holder is not None:
                waits[run_id] = f"waits for pool {pool}: {described(holder)} holds it"
    return waits


def _reason_to_wait(
    run: DagsterRun,
    running: Sequence[DagsterRun],
    ahead: Sequence[DagsterRun],
    limits: Sequence[tuple[str, int]],
    most: int,
) -> str:
    for tag, limit in limits:
        holders = [other for other in running if other.tags.get(tag) == run.tags[tag]]
        if len(holders) < limit:
            continue
        if tag == IMPORT_TAG:
            return f"waits for {described(holders[0])}: an import's runs go one after the other"
        return f"waits for one of {len(holders)} runs at {run.tags[tag]}, the most at once"
    if 0 <= most <= len(running):
        return f"waits for one of {len(running)} runs, the most at once"
    before = next((other for other in ahead if other.tags.get(IMPORT_TAG) == run.tags.get(IMPORT_TAG)), None)
    if before is not None:
        return f"waits for {described(before)}, which was requested before it"
    return "waits for Dagster's daemon to start it"


def described(run: DagsterRun) -> str:
    """`run 1a2b3c4d of import loyalty, item 2026-01-31`."""
    item = item_of_run(run)
    return f"run {run.run_id[:8]}" + (f" of import {item[0]}, item {item[1]}" if item is not None else "")


def is_in_progress(run: RunFacts) -> bool:
    """Whether the run is queued or running."""
    return run.state in {"queued", "running"}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
