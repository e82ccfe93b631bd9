"""Schedules: a tick finds what is due, writes it to the ledger, adds its partition, requests its run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagster import (
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets.partitions import add_partitions, asset_key
from ingest_pipelines.orchestration.resources.connections import client_of, resource_keys
from ingest_pipelines.orchestration.runs.signed_tags import sealed
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, is_dry_run, run_tags
from ingest_pipelines.orchestration.schedules.cron import crons_of, outside
from ingest_pipelines.orchestration.schedules.query_items import due_items
from ingest_pipelines.orchestration.sensors.file_items import Listings, look
from ingest_pipelines.orchestration.sensors.file_sensor import WHEN_STOPPED, has_run, starts_running, why_stopped
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.base import Client

_GOING_ON = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


MOST_JOBS = 5_000
"""A schedule that its asset's page shows costs a job: 35 KB of definitions, and a fifth of a millisecond for each asset
that there is. Above so many jobs times assets none is shown there; the list of automations shows them all."""


def import_schedule(site: Site, bound: BoundImport, listings: Listings, *, own_job: bool = True) -> ScheduleDefinition:
    """The import's schedule.

    Args:
        own_job: shown as the asset's automation on its page; else only in the list of schedules.
    """
    plan = bound.spec.schedule
    assert plan is not None
    target: Any = {"target": AssetSelection.assets(asset_key(bound))} if own_job else {"job_name": "__ASSET_JOB"}

    @schedule(
        cron_schedule=crons_of(plan),
        name=f"{bound.asset_name}__schedule",
        description=f"{plan.words[:1].upper()}{plan.words[1:]}. {WHEN_STOPPED}",
        execution_timezone=plan.timezone,
        required_resource_keys=set(resource_keys(bound)) if bound.reads_files else None,
        **target,
        default_status=DefaultScheduleStatus.RUNNING if starts_running(site) else DefaultScheduleStatus.STOPPED,
    )
    def tick(context: ScheduleEvaluationContext) -> list[RunRequest] | SkipReason:
        moment = context.scheduled_execution_time
        why_not = outside(plan, moment) or why_stopped(site, bound) or _overlap(bound, context.instance)
        if why_not:
            return SkipReason(why_not)
        client = client_of(context.resources, bound) if bound.reads_files else None
        return requests(site, bound, listings, context.instance, by="schedule", tick=moment.isoformat(), client=client)

    return tick


def requests(
    site: Site,
    bound: BoundImport,
    listings: Listings,
    instance: DagsterInstance,
    *,
    by: str,
    tick: str,
    client: Client | None = None,
) -> list[RunRequest] | SkipReason:
    """Runs for what is due: the last file that came, the query's open item or a new one, the windows that ended.

    Args:
        tick: when, so that a tick that is evaluated twice requests the same runs.
        client: makes the source's client; the source itself if it is not given.
    """
    if bound.reads_files:
        arrivals = look(site, bound, listings, client=client)
        waiting = [item for item in arrivals.waiting if not has_run(item, instance)]
        if not waiting:
            return SkipReason(arrivals.why_nothing(bound))
        due: Iterable[Item] = waiting if bound.spec.source.pick == "all" else waiting[-1:]
        again = False
    else:
        found = due_items(site, bound)
        due, again = found.items, found.again
        if not found.items:
            return SkipReason("no window has ended since the last tick")
    keys = [str(item.key) for item in due]
    add_partitions(bound, keys, instance)
    return [
        RunRequest(
            run_key=f"{key}@{tick}" if again else key,
            partition_key=key,
            asset_selection=[asset_key(bound)],
            tags=run_tags(bound) | sealed(bound, key, by, instance),
        )
        for key in keys
    ]


def _overlap(bound: BoundImport, instance: DagsterInstance) -> str:
    """Why the tick is skipped: the import's last run is not over. Empty where it is."""
    going_on = instance.get_runs(RunsFilter(tags={IMPORT_TAG: bound.name}, statuses=_GOING_ON))
    run = next((run for run in going_on if not is_dry_run(run.tags)), None)
    if run is None:
        return ""
    return f"run {run.run_id[:8]} of this import is still {run.status.value.lower()}; the next tick looks again"
