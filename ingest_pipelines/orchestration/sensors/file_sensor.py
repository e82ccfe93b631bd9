"""The sensor of a file import.

A tick writes new items to the ledger; then Dagster adds their partitions and launches their runs. If the daemon is
killed in between, the next tick requests the same runs under the same run keys, so no run starts twice. A file whose
runs all ended without a result is requested again (`runs.run_requests`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from dagster import (
    AddDynamicPartitionsRequest,
    DagsterInstance,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import SourceDenied, SourceUnavailable
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration.assets.markdown import plain
from ingest_pipelines.orchestration.assets.partitions import asset_key, partitions_name
from ingest_pipelines.orchestration.automation import WHEN_STOPPED, own_file_sensor, starts_running, why_stopped
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.resources.connections import client_of, resource_keys
from ingest_pipelines.orchestration.runs.run_requests import next_requests, run_request
from ingest_pipelines.orchestration.sensors.file_items import list_folder, register_files, registered_items
from ingest_pipelines.orchestration.sensors.listings import FolderListing, Listings, StillListing, period_of
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.base import Client

RUNS_PER_TICK = 50
"""Dagster needs a tenth of a second to launch a run, and a tick has sixty seconds."""


def file_sensor(site: Site, bound: BoundImport, listings: Listings) -> SensorDefinition:
    """The sensor that launches a run for each new file of the import."""

    @sensor(
        name=own_file_sensor(bound),
        description=f"{plain(f'New files {bound.spec.source.file} at {bound.connection_name}')}. {WHEN_STOPPED}",
        asset_selection=[asset_key(bound)],
        required_resource_keys=set(resource_keys(bound)),
        minimum_interval_seconds=int(period_of(bound).total_seconds()),
        default_status=DefaultSensorStatus.RUNNING if starts_running(site, bound) else DefaultSensorStatus.STOPPED,
    )
    @without_stack
    def watch(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        stopped = why_stopped(site, bound)
        if stopped:
            return SkipReason(stopped)
        take_over_history(site, bound, context.instance, "sensor")
        client = client_of(context.resources, bound)
        files = look_for_files(site, bound, listings, context.instance, client, _read_cursor(context.cursor))
        cursor = context.cursor if files.is_under_way else _write_cursor(files.unsettled)
        if not files.due:
            return SensorResult(skip_reason=files.why_nothing, cursor=cursor)
        return request_runs(bound, dict(islice(files.due.items(), RUNS_PER_TICK)), context.instance, cursor=cursor)

    return watch


@dataclass(frozen=True)
class FilesLook:
    """What a tick's look at an import's folder showed.

    Attributes:
        due: per item of which a run is to be requested now its run key, in order.
        why_nothing: why no run is requested, for the tick's page.
        unsettled: files that may still be changing, by fingerprint: when each was first seen in its present state.
        waiting: whether an item waits for its run, or for its next one.
        listed: the listing; None: the look is under way.
    """

    due: Mapping[ItemKey, str]
    why_nothing: str
    unsettled: Mapping[str, datetime]
    waiting: bool
    listed: FolderListing | None

    @property
    def is_under_way(self) -> bool:
        """Whether the next tick sees what the look shows."""
        return self.listed is None


def look_for_files(
    site: Site,
    bound: BoundImport,
    listings: Listings,
    instance: DagsterInstance,
    client: Client | None,
    first_seen: Mapping[str, datetime],
) -> FilesLook:
    """The import's files at the source, which are in the ledger then, and what is to be done about them.

    Args:
        first_seen: `unsettled` of the last look.

    Raises:
        SourceUnavailable, SourceDenied, TargetUnavailable: nothing is lost, the next look sees the same files.
    """
    listed, still = None, ""
    try:
        listed = list_folder(site, bound, listings, client)
        file_items = register_files(site, bound, listed, bound.settle, first_seen)
    except StillListing as look:  # an earlier look may have found files after its ticks had left
        file_items, still = registered_items(site, bound), look.message
    except (SourceUnavailable, SourceDenied) as error:
        since = listings.failing_since(bound)
        fails = f", which fails since {since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else ""
        error.message = f"connection {bound.connection_name}{fails}, at the step {error.step}: {error.message}"
        raise
    now = site.clock()
    requests = next_requests(bound, file_items.waiting, file_items.states, instance, now)
    due = {key: request.run_key for key, request in requests.items() if request.is_due(now)}
    words = "" if due else still or file_items.why_nothing(bound, requests)
    return FilesLook(due, words, file_items.unsettled, bool(file_items.waiting), listed)


def request_runs(
    bound: BoundImport,
    run_keys: Mapping[ItemKey, str],
    instance: DagsterInstance,
    *,
    by: str = "sensor",
    cursor: str | None = None,
) -> SensorResult:
    """Requests for the partitions and runs of items that are in the ledger.

    Args:
        run_keys: per item, in order.
    """
    added: list[str] = []
    if bound.spec.source.window is None:
        partitions = set(instance.get_dynamic_partitions(partitions_name(bound)))
        added = [str(key) for key in run_keys if key not in partitions]
    return SensorResult(
        run_requests=[run_request(bound, key, by, instance, run_key=run_key) for key, run_key in run_keys.items()],
        dynamic_partitions_requests=[AddDynamicPartitionsRequest(partitions_name(bound), added)] if added else [],
        cursor=cursor,
    )


def _read_cursor(cursor: str | None) -> dict[str, datetime]:
    """Files that were still changing at the last tick, the only state of a sensor; the ledger has the rest."""
    try:
        return {key: datetime.fromisoformat(seen) for key, seen in json.loads(cursor or "{}").items()}
    except (ValueError, AttributeError, TypeError):
        return {}  # a person edited it in the UI


def _write_cursor(unsettled: Mapping[str, datetime]) -> str:
    return json.dumps({key: seen.isoformat() for key, seen in unsettled.items()})
