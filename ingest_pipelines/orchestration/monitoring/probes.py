"""Looks at daemon, webserver, ticks, queue, target, sources and project, never through a code server.

Each probe reads what it needs, and `health` judges it. A probe may hang or fail: `steps.BoundedStep` gives it a thread
and a deadline of its own.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from dagster import DagsterInstance, DagsterRunStatus, RunRecord

from ingest_pipelines import ledger
from ingest_pipelines.config import Project, read_current_project
from ingest_pipelines.ledger import ImportState, SourceCheck
from ingest_pipelines.orchestration.automation import (
    ACTIVATION,
    ALERTS,
    CHECK_NOW_SENSOR,
    HOUSEKEEPING,
    own_file_sensor,
    shared_file_sensor,
    shares_file_sensors,
)
from ingest_pipelines.orchestration.dagster_internals.run_slots import active_runs, queued_runs, startable
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG
from ingest_pipelines.orchestration.dagster_internals.ticks import Instigator, list_failing_ticks, list_instigators
from ingest_pipelines.orchestration.monitoring.health import (
    QUEUE_PATIENCE,
    TICK_PATIENCE,
    HealthFinding,
    StuckRun,
    Ticking,
    judge_daemon,
    judge_project,
    judge_queue,
    judge_sources,
    judge_ticks,
    sensor_overdue,
)
from ingest_pipelines.orchestration.monitoring.source_troubles import down_sources, waiting_imports
from ingest_pipelines.orchestration.runs import run_locks
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG
from ingest_pipelines.orchestration.schedules.cron import crons_of, why_no_tick
from ingest_pipelines.orchestration.schedules.ticks import ticks
from ingest_pipelines.orchestration.site import Site

FAILED_TICKS_FROM = timedelta(minutes=15)
CANCELING_PATIENCE = timedelta(minutes=10)
ANSWER_SECONDS = 5.0
"""How long the webserver may take."""

_PROJECT_SENSORS = (HOUSEKEEPING, ACTIVATION, ALERTS)


def look_at_daemon(instance: DagsterInstance, now: datetime) -> HealthFinding:
    """From the heartbeats in Dagster's storage."""
    beats = instance.get_daemon_heartbeats()
    needed = instance.get_required_daemon_types()
    return judge_daemon(
        {name: datetime.fromtimestamp(beats[name].timestamp, UTC) if name in beats else None for name in needed}, now
    )


@dataclass
class TickProbe:
    """Whether sensors and schedules tick, and their ticks reach the code server.

    Attributes:
        started: when this process began: what nobody ran before that is not overdue yet.
    """

    started: datetime
    _due: dict[str, tuple[datetime, datetime | None]] = field(default_factory=dict)

    def look(self, site: Site, instance: DagsterInstance, now: datetime) -> tuple[HealthFinding, tuple[datetime, ...]]:
        """The finding, and when ticks did not reach the code server."""
        failing = {one.selector_id: one for one in list_failing_ticks(instance, now - FAILED_TICKS_FROM)}
        expected = _expected(site.project)
        ticking: list[Ticking] = []
        unreached: list[datetime] = []
        for instigator in list_instigators(instance):
            if not instigator.on or instigator.name not in expected:
                continue
            failed = failing.get(instigator.selector_id)
            if failed is not None and failed.unreachable:
                unreached.append(failed.last_at)
                failed = None
            overdue_at = self._overdue_at(site, expected[instigator.name], instigator, now)
            ticking.append(
                Ticking(instigator.name, instigator.ticked_at, overdue_at, failed.count if failed else 0,
                        failed.first_at if failed else None)
            )  # fmt: skip
        return judge_ticks(ticking, now), tuple(unreached)

    def _overdue_at(self, site: Site, name: str, instigator: Instigator, now: datetime) -> datetime | None:
        if instigator.ticked_at is None:
            return None
        since = max(instigator.ticked_at, self.started)
        if instigator.period is not None:
            return sensor_overdue(since, instigator.period)
        remembered = self._due.get(instigator.name)
        if remembered is None or remembered[0] != since:
            remembered = self._due[instigator.name] = (since, _next_due(site, name, since))
        due = remembered[1]
        return due + 3 * TICK_PATIENCE if due is not None else None


def _next_due(site: Site, name: str, since: datetime) -> datetime | None:
    bound = site.project.imports.get(name)
    plan = bound.spec.schedule if bound is not None else None
    if plan is None:
        return None
    due = next(iter(ticks(crons_of(plan), plan.timezone, since + timedelta(seconds=1))), None)
    return None if due is None or why_no_tick(plan, due) else due.astimezone(UTC)


def _expected(project: Project) -> dict[str, str]:
    """Import by the name of its sensor and of its schedule; "" for sensors of the whole project."""
    ends = ("__schedule", "__after")
    own = {f"{bound.asset_name}{end}": name for name, bound in project.imports.items() for end in ends}
    if shares_file_sensors(project):
        own |= {shared_file_sensor(bound): "" for bound in project.imports.values()}
    else:
        own |= {own_file_sensor(bound): name for name, bound in project.imports.items()}
    of_project = [*map(project.placement.named, _PROJECT_SENSORS), project.placement.named(CHECK_NOW_SENSOR)]
    return {**dict.fromkeys(of_project, ""), **own}


@dataclass
class QueueProbe:
    """Whether runs go on: from the queue, the runs' status and the locks of their processes."""

    _seen: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def look(self, site: Site, instance: DagsterInstance, now: datetime) -> HealthFinding:
        """The finding. What is wrong counts once it was so for two minutes."""
        active, queued = active_runs(instance), queued_runs(instance)
        suspects = {
            (record.dagster_run.run_id, why): (record, since) for record, why, since in _suspects(
                site, instance, active, queued, now)
        }  # fmt: skip
        self._seen = {key: self._seen.get(key, since or now) for key, (_, since) in suspects.items()}
        stuck = [
            StuckRun(run_id, record.dagster_run.tags.get(IMPORT_TAG, ""), self._seen[run_id, why], why)
            for (run_id, why), (record, _) in suspects.items()
            if now - self._seen[run_id, why] > QUEUE_PATIENCE
        ]
        return judge_queue(stuck, len(queued), len(active))


def _suspects(
    site: Site, instance: DagsterInstance, active: Sequence[RunRecord], queued: Sequence[RunRecord], now: datetime
) -> list[tuple[RunRecord, str, datetime | None]]:
    """Runs that may be stuck, with the reason, and since when if that is known."""
    start_patience = timedelta(seconds=instance.run_monitoring_start_timeout_seconds)
    busy = {_table(site, record) for record in active} - {None}
    suspects: list[tuple[RunRecord, str, datetime | None]] = [
        (record, "waits in the queue although a slot is free", None)
        for record in startable(instance, active, queued)
        if _table(site, record) not in busy
    ]
    for record in active:
        run, changed = record.dagster_run, record.update_timestamp.replace(tzinfo=UTC)
        if run.status is DagsterRunStatus.STARTING and now - changed > start_patience:
            suspects.append((record, "was launched, and its process has not begun", changed))
        elif run.status is DagsterRunStatus.CANCELING and now - changed > CANCELING_PATIENCE:
            suspects.append((record, "was terminated, and does not end", changed))
        elif run.status is DagsterRunStatus.STARTED and run_locks.life_of(site.settings.state, run.run_id) == "dead":
            suspects.append((record, "counts as running, and its process is dead", None))
    return suspects


def _table(site: Site, record: RunRecord) -> tuple[str, str] | None:
    """The table that the run writes to, whose pool lets one run in at a time."""
    tags = record.dagster_run.tags
    bound = site.project.imports.get(tags.get(IMPORT_TAG, "")) if PARTITION_NAME_TAG in tags else None
    return bound.database.schema_and_table if bound is not None else None


@dataclass(frozen=True)
class LedgerFacts:
    """What the ledger says of imports and their sources."""

    states: Mapping[str, ImportState]
    checks: Mapping[str, SourceCheck]


def look_at_target(site: Site) -> LedgerFacts:
    """Reads the ledger; the target answers if this returns.

    Raises:
        IngestError: it does not.
    """
    with site.target_as_it_is.ledger() as connection:
        return LedgerFacts(ledger.list_imports(connection), ledger.list_source_checks(connection))


def look_at_sources(site: Site, facts: LedgerFacts) -> HealthFinding:
    """From the last look that sensors, schedules and runs had at each live import's source."""
    imports = {**site.project.partial, **site.project.imports}
    live = live_imports(site.project, facts.states)
    connections = {name: imports[name].connection_name for name in live if name in imports}
    known = sum(1 for name in live if name in facts.checks)
    return judge_sources(down_sources(waiting_imports(facts.checks, connections)), known)


def live_imports(project: Project, states: Mapping[str, ImportState]) -> set[str]:
    """Names of the imports that should load: not drafts, not paused; also those whose YAML has mistakes."""
    live = set()
    for name in {*project.imports, *project.broken}:
        bound = project.imports.get(name) or project.partial.get(name)
        state = states.get(name)
        if state is not None and state.status is not None:
            wanted = state.status == "active"
        elif bound is not None:
            wanted = bound.spec.status == "active"
        else:
            wanted = state is not None  # it has loaded, or was activated, before its file broke
        if wanted:
            live.add(name)
    return live


@dataclass
class ProjectProbe:
    """The project as its files are now, and since when they have mistakes."""

    home: Path
    project: Project
    _broken_since: datetime | None = None

    def look(self) -> Project:
        """The project.

        Raises:
            ConfigError: its folder is gone.
        """
        self.project = read_current_project(self.home)
        return self.project

    def judge(self, states: Mapping[str, ImportState], now: datetime) -> HealthFinding:
        """Whether every live import's YAML is usable."""
        live = live_imports(self.project, states)
        mistakes = {name: error.mistakes[0] for name, error in self.project.broken.items() if name in live}
        self._broken_since = (self._broken_since or now) if mistakes else None
        return judge_project(mistakes, self._broken_since)


_LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"


@dataclass(frozen=True)
class WebserverAnswer:
    """What the webserver says.

    Attributes:
        words: why it is not well; "" if it is.
        load_error: it has no definitions.
    """

    words: str
    load_error: bool = False


def look_at_webserver(url: str) -> WebserverAnswer:
    """Whether it answers, and whether it has the definitions. It answers both from memory."""
    try:
        status, _ = _ask(url, "GET", "/server_info")
        if status >= 500:
            return WebserverAnswer(f"it answers with status {status}")
        status, body = _ask(url, "POST", "/graphql", json.dumps({"query": _LOCATIONS}))
    except TimeoutError:
        return WebserverAnswer(f"it does not answer within {ANSWER_SECONDS:.0f} s")
    except (OSError, http.client.HTTPException):
        return WebserverAnswer("nothing answers at its address")
    return WebserverAnswer("", status == 200 and b"PythonError" in body)


def _ask(url: str, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind: Callable[..., http.client.HTTPConnection] = (
        http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    )
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=ANSWER_SECONDS)
    # By its name on its own machine: it answers for that one everywhere.
    headers = {"Content-Type": "application/json", **({} if parts.scheme == "https" else {"Host": "localhost"})}
    try:
        connection.request(method, f"{parts.path.rstrip('/')}{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(100_000)
    finally:
        connection.close()


def judge_webserver(answer: WebserverAnswer) -> HealthFinding:
    """Whether it answers."""
    if not answer.words:
        return HealthFinding("webserver", True, "it answers")
    return HealthFinding("webserver", False, f"the webserver: {answer.words}", None, "restart it; see its log")
