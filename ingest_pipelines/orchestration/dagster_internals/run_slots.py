"""Which queued runs the queue should start now, by the limits in dagster.yaml.

Waits for: a public question why a queued run waits. Dagster's queue logs it and keeps it nowhere.
If the counter, the settings or the list of statuses move: the watcher cannot tell whether the queue moves, and says so
at /healthz. `monitoring/test_probes.py` fails first.
"""

from __future__ import annotations

from collections.abc import Sequence

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter
from dagster._utils.tags import TagConcurrencyLimitsCounter

from ingest_pipelines.orchestration.dagster_internals.retry_order import ACTIVE_RUN_STATUSES

_MOST_RUNS = 500
"""Of a longer queue only the oldest runs are looked at: those are next."""


def active_runs(instance: DagsterInstance) -> Sequence[RunRecord]:
    """Runs that the queue counts as in progress, the retries that it waits for included."""
    return instance.get_run_records(RunsFilter(statuses=ACTIVE_RUN_STATUSES))


def queued_runs(instance: DagsterInstance) -> Sequence[RunRecord]:
    """The oldest queued runs, oldest first."""
    queued = RunsFilter(statuses=[DagsterRunStatus.QUEUED])
    return instance.get_run_records(queued, limit=_MOST_RUNS, ascending=True)


def startable(instance: DagsterInstance, active: Sequence[RunRecord], queued: Sequence[RunRecord]) -> list[RunRecord]:
    """The queued runs that no limit on runs holds back. Pools, which belong to steps, are not looked at."""
    settings = instance.get_concurrency_config().run_queue_config
    if settings is None:
        return []
    runs = [record.dagster_run for record in active]
    counter = TagConcurrencyLimitsCounter(list(settings.tag_concurrency_limits), runs)
    free = settings.max_concurrent_runs - len(runs) if settings.max_concurrent_runs != -1 else len(queued)
    next_runs: list[RunRecord] = []
    for record in queued:
        if len(next_runs) >= free:
            break
        if not counter.is_blocked(record.dagster_run):
            counter.update_counters_with_launched_item(record.dagster_run)
            next_runs.append(record)
    return next_runs
