"""Schedules: a tick takes the last file that came, writes it to the ledger, adds its partition, requests its run."""

from __future__ import annotations

from dagster import (
    AssetSelection,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.orchestration.arrivals import Listings, look
from ingest_pipelines.orchestration.partitions import asset_key, partitions_name
from ingest_pipelines.orchestration.plans import cron_of, outside
from ingest_pipelines.orchestration.sensors import has_run, starts_running, why_stopped
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.orchestration.work import run_tags


def import_schedule(site: Site, bound: BoundImport, listings: Listings) -> ScheduleDefinition:
    """The import's schedule."""
    plan = bound.spec.schedule
    assert plan is not None

    @schedule(
        cron_schedule=cron_of(plan),
        name=f"{bound.asset_name}__schedule",
        description=f"{bound.name}: every {plan.every}" if plan.every else f"{bound.name}: cron {plan.cron}",
        execution_timezone=plan.timezone,
        target=AssetSelection.assets(asset_key(bound)),
        default_status=DefaultScheduleStatus.RUNNING if starts_running(site, bound) else DefaultScheduleStatus.STOPPED,
    )
    def tick(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        why_not = outside(plan, context.scheduled_execution_time) or why_stopped(site, bound)
        if why_not:
            return SkipReason(why_not)
        arrivals = look(site, bound, listings)
        waiting = [item for item in arrivals.waiting if not has_run(item, context.instance)]
        if not waiting:
            return SkipReason(arrivals.why_nothing(bound))
        key = str(waiting[-1].key)
        context.instance.add_dynamic_partitions(partitions_name(bound), [key])
        return RunRequest(run_key=key, partition_key=key, tags=run_tags(bound, "schedule"))

    return tick
