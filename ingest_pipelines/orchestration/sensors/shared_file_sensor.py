"""The file sensor that the imports of a connection share, in a project of many imports that watch for files.

Dagster needs a tenth of a second for a tick, so a thousand sensors take two minutes a round and a core. Here one tick
looks for the files of all imports of a connection. An import keeps its status, its period and what its look shows in
the ledger: `ingest status`, `pause` and `resume` work as before.

An import whose folder shows what it showed before, and which has no item that waits, costs no query of its own: the
tick notes all of them together. Every WHOLE_LOOK it is looked at as a whole, whatever its folder shows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from dagster import (
    AddDynamicPartitionsRequest,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, TargetUnavailable
from ingest_pipelines.orchestration.assets.markdown import plain
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.automation import own_file_sensor, shared_file_sensor, why_stopped_as
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.dagster_internals.switches import take_over_switches
from ingest_pipelines.orchestration.renames import take_over_history
from ingest_pipelines.orchestration.resources.connections import client_of, resource_keys
from ingest_pipelines.orchestration.sensors.file_items import list_folder
from ingest_pipelines.orchestration.sensors.file_sensor import RUNS_PER_TICK, look_for_files, request_runs
from ingest_pipelines.orchestration.sensors.listings import Listings, StillListing, period_of
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.base import Client, Listing

TICK_SECONDS = 25.0
"""A tick that has taken so long leaves the rest of its imports to the next one. Dagster ends a tick after sixty."""

WHOLE_LOOK = timedelta(minutes=15)
"""Between two looks at an import whose folder does not change that ask the ledger about each of its files."""

MOST_NAMED = 3
"""So many imports are named on a tick's page."""


@dataclass(frozen=True)
class _AtRest:
    """A folder's listing when each of an import's files in it was settled, and when that was asked."""

    listing: Listing
    at: datetime


@dataclass
class _Cursor:
    """What a tick leaves to the next one.

    Attributes:
        looked: per import the time of its last look, in seconds since 1970.
        unsettled: per import the files that may still be changing, by fingerprint: when each was first seen, in ISO
            form.
    """

    looked: dict[str, int] = field(default_factory=dict)
    unsettled: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> _Cursor:
        try:
            kept = json.loads(text or "{}")
            looked = {str(name): int(at) for name, at in kept.get("looked", {}).items()}
            unsettled = {
                str(name): {str(file): datetime.fromisoformat(seen).isoformat() for file, seen in files.items()}
                for name, files in kept.get("unsettled", {}).items()
            }
            return cls(looked, unsettled)
        except (ValueError, AttributeError, TypeError):
            return cls()  # a person edited it in the UI

    def write(self) -> str:
        return json.dumps(asdict(self))

    def first_seen(self, name: str) -> dict[str, datetime]:
        return {file: datetime.fromisoformat(seen) for file, seen in self.unsettled.get(name, {}).items()}

    def keep(self, name: str, unsettled: Mapping[str, datetime]) -> None:
        self.unsettled.pop(name, None)
        if unsettled:
            self.unsettled[name] = {file: seen.isoformat() for file, seen in unsettled.items()}


def shared_file_sensors(site: Site, imports: Iterable[BoundImport], listings: Listings) -> list[SensorDefinition]:
    """A sensor for each connection of the imports.

    Args:
        imports: those that watch for files.
        listings: shared with the imports' schedules and with housekeeping.
    """
    by_connection: dict[str, list[BoundImport]] = {}
    for bound in imports:
        by_connection.setdefault(bound.connection_name, []).append(bound)
    return [_sensor_of(site, together, listings) for together in by_connection.values()]


def _sensor_of(site: Site, imports: Sequence[BoundImport], listings: Listings) -> SensorDefinition:
    shortest = min(map(period_of, imports))
    at_rest: dict[str, _AtRest] = {}
    own_sensors = {own_file_sensor(bound): bound for bound in imports}
    is_first_tick = [True]  # of this process

    @sensor(
        name=shared_file_sensor(imports[0]),
        description=plain(
            f"New files of {len(imports):,} imports at {imports[0].connection_name}. To stop one of them: ingest pause."
        ),
        asset_selection=[asset_key(bound) for bound in imports],
        required_resource_keys=set(resource_keys(imports[0])),
        minimum_interval_seconds=int(shortest.total_seconds()),
        default_status=DefaultSensorStatus.RUNNING if site.settings.automation else DefaultSensorStatus.STOPPED,
    )
    @without_stack
    def watch(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if is_first_tick:
            _pause_what_was_switched_off(site, context, own_sensors)
            is_first_tick.clear()
        now, cursor = site.clock(), _Cursor.read(context.cursor)
        due = [bound for bound in imports if _is_due(bound, cursor.looked.get(bound.name), now, shortest)]
        due.sort(key=lambda bound: cursor.looked.get(bound.name, 0))
        tick = _Tick(site, context, listings, client_of(context.resources, imports[0]), cursor, at_rest, now)
        return tick.look_at(due)

    return watch


def _is_due(bound: BoundImport, looked: int | None, now: datetime, shortest: timedelta) -> bool:
    """Whether the import's period is over at this tick; ticks come a little early and a little late."""
    if looked is None or period_of(bound) == shortest:
        return True
    last = datetime.fromtimestamp(looked, UTC)
    return not last <= now < last + period_of(bound) - shortest / 2


def _pause_what_was_switched_off(
    site: Site, context: SensorEvaluationContext, own_sensors: Mapping[str, BoundImport]
) -> None:
    """Pauses active imports whose own sensor a person had switched off in the UI, before imports shared sensors."""

    def pause(sensor_name: str) -> None:
        bound, now = own_sensors[sensor_name], site.clock()
        with site.target.session() as connection:
            status = ledger.import_statuses(connection, [bound.name]).get(bound.name, bound.spec.status)
            if status == "active":
                ledger.set_import_status(connection, bound.name, bound.database_name, "paused", now)
                ledger.record_audit(connection, "sensor", "paused", now, import_name=bound.name)

    take_over_switches(context, own_sensors, pause)


@dataclass
class _Tick:
    """One tick.

    Attributes:
        at_rest: per import the listing in which it has nothing to do; kept from tick to tick.
    """

    site: Site
    context: SensorEvaluationContext
    listings: Listings
    client: Client | None
    cursor: _Cursor
    at_rest: dict[str, _AtRest]
    now: datetime
    runs: list[RunRequest] = field(default_factory=list)
    partitions: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = field(default_factory=list)
    quiet: list[BoundImport] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    errors: dict[str, IngestError] = field(default_factory=dict)

    def look_at(self, imports: Sequence[BoundImport]) -> SensorResult:
        """Looks for the files of each import, while there is time.

        Raises:
            SourceUnavailable, SourceDenied: all of them failed.
        """
        began, names = time.monotonic(), [bound.name for bound in imports]
        with self.site.target.session() as connection:
            statuses = ledger.import_statuses(connection, names)
            waiting = ledger.imports_with_waiting_items(connection, names)
        looked = 0
        for bound in imports:
            if time.monotonic() - began > TICK_SECONDS or len(self.runs) >= RUNS_PER_TICK:
                break
            self.cursor.looked[bound.name] = int(self.now.timestamp())
            looked += 1
            stopped = why_stopped_as(self.site, bound, statuses.get(bound.name, bound.spec.status))
            if stopped:
                self.words[bound.name] = stopped
                continue
            try:
                self._look_at(bound, waits=bound.name in waiting)
            except TargetUnavailable:
                raise
            except IngestError as error:
                self.at_rest.pop(bound.name, None)
                self.errors[bound.name] = error
        if self.quiet:
            with self.site.target.session() as connection:
                quiet = [bound.name for bound in self.quiet]
                ledger.record_unchanged_looks(connection, quiet, self.quiet[0].connection_name, self.now)
        if self.errors and len(self.errors) == looked:
            raise next(iter(self.errors.values()))
        return SensorResult(
            run_requests=self.runs,
            skip_reason=None if self.runs else SkipReason(self._why_nothing(looked, len(imports) - looked)),
            dynamic_partitions_requests=self.partitions,
            cursor=self.cursor.write(),
        )

    def _look_at(self, bound: BoundImport, *, waits: bool) -> None:
        rest = self.at_rest.get(bound.name)
        if rest is not None and not waits and abs(self.now - rest.at) < WHOLE_LOOK:
            try:
                listed = list_folder(self.site, bound, self.listings, self.client)
            except StillListing as look:
                self.words[bound.name] = look.message
                return
            if listed.listing == rest.listing:
                self.quiet.append(bound)
                return
        take_over_history(self.site, bound, self.context.instance, "sensor")
        seen = self.cursor.first_seen(bound.name)
        files = look_for_files(self.site, bound, self.listings, self.context.instance, self.client, seen)
        self.at_rest.pop(bound.name, None)
        if files.listed is not None:
            self.cursor.keep(bound.name, files.unsettled)
            if not files.unsettled and not files.waiting and bound.spec.source.parts is None:
                self.at_rest[bound.name] = _AtRest(files.listed.listing, self.now)
        if files.due:
            run_keys = dict(islice(files.due.items(), RUNS_PER_TICK - len(self.runs)))
            result = request_runs(bound, run_keys, self.context.instance)
            self.runs += result.run_requests or ()
            self.partitions += result.dynamic_partitions_requests or ()
        else:
            self.words[bound.name] = files.why_nothing

    def _why_nothing(self, looked: int, left: int) -> str:
        """What the tick did, for its page: counts, and the words of a few imports."""
        words = [f"{looked:,} imports looked at"]
        words += [f"{left:,} are left to the next tick"] if left else []
        words += [f"{len(self.quiet):,} have no new file"] if self.quiet else []
        words += [f"{len(self.errors):,} failed"] if self.errors else []
        some = [*((name, error.message) for name, error in self.errors.items()), *self.words.items()]
        words += [f"{name}: {what}" for name, what in some[:MOST_NAMED]]
        words += [f"and {len(some) - MOST_NAMED:,} more"] if len(some) > MOST_NAMED else []
        return "; ".join(words)
