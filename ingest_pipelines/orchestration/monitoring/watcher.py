"""The watcher: looks at everything that loads items, from outside of the processes that it looks at.

It opens Dagster's storage and the target by itself and never asks a code server, so that no hung source, daemon or code
server can stop it. Every 15 seconds it looks, sends alerts, clears up after dead runs, and keeps what it saw for
/healthz and /metrics. Each step has a thread and a deadline of its own.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event
from typing import Any

from dagster import DagsterInstance

from ingest_pipelines import ledger
from ingest_pipelines.config import Project, Settings
from ingest_pipelines.errors import IngestError, printable
from ingest_pipelines.ledger import ImportMetrics, OpenItemCount
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.send_alerts import SentAlerts, send_alerts
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines.orchestration.monitoring.deaths import read_deaths
from ingest_pipelines.orchestration.monitoring.health import (
    HealthFinding,
    judge_code_server,
    judge_processes,
)
from ingest_pipelines.orchestration.monitoring.metrics import Snapshot, count_open_items
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.monitoring.probes import (
    ProjectProbe,
    QueueProbe,
    TickProbe,
    WebserverAnswer,
    judge_webserver,
    look_at_daemon,
    look_at_sources,
    look_at_target,
    look_at_webserver,
)
from ingest_pipelines.orchestration.monitoring.steps import BoundedStep
from ingest_pipelines.orchestration.runs.dead_runs import clear_up_dead_runs
from ingest_pipelines.orchestration.site import Site, utc_now

_LOG = logging.getLogger(__name__)

PERIOD_SECONDS = 15.0
LOOK_SECONDS = 10.0
"""How long the quick steps of a round may take; a later one is a finding."""

SLOW_SECONDS = 180.0
"""How long counting, clearing up and sending alerts may take; they do not hold up a round."""

TOLD_AFTER = timedelta(seconds=30)
"""A trouble that is over sooner is shown, and no alert."""

_TOLD_ELSEWHERE = frozenset({"target", "sources", "project", "alerts"})

COUNTING_SHARE = 20
"""Counting a large ledger takes seconds, so it rests 20 times as long."""


@dataclass(frozen=True)
class _Storage:
    """What Dagster's storage says."""

    findings: tuple[HealthFinding, ...]
    unreached: tuple[datetime, ...]


@dataclass(frozen=True)
class _Counts:
    imports: Sequence[ImportMetrics]
    open_items: Sequence[OpenItemCount]
    at: datetime


class Watcher:
    """Looks, and keeps what it saw in `snapshot`."""

    def __init__(
        self,
        settings: Settings,
        project: Project,
        *,
        webserver: str | None = None,
        clock: Callable[[], datetime] = utc_now,
        connect: Callable[[Settings], DagsterInstance] = open_instance,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._site = Site(settings, project, clock=clock)
        self._webserver = webserver
        self._connect = connect
        self._instance: DagsterInstance | None = None
        self._project = ProjectProbe(settings.home, project)
        self._ticks, self._queue = TickProbe(clock()), QueueProbe()
        self._since: dict[str, datetime] = {}
        self._read_project = BoundedStep(self._project.look, LOOK_SECONDS)
        self._target = BoundedStep(lambda: look_at_target(self._site), LOOK_SECONDS)
        self._storage = BoundedStep(self._look_at_storage, LOOK_SECONDS)
        self._asked_webserver = BoundedStep(self._look_at_webserver, LOOK_SECONDS)
        self._counts = BoundedStep(self._count, SLOW_SECONDS)
        self._cleared = BoundedStep(self._clear_up, SLOW_SECONDS)
        self._alerts = BoundedStep(self._send_alerts, SLOW_SECONDS)
        self._conditions: Sequence[Condition] = ()
        self._count_again_at = 0.0

    def run(self, stop: Event) -> None:
        """Looks until it is told to stop."""
        while True:
            begun = time.monotonic()
            try:
                self.look()
            except Exception:  # a round that fails is no end: /healthz says that the snapshot is old
                _LOG.exception("the watcher could not look")
            if stop.wait(max(0.0, PERIOD_SECONDS - (time.monotonic() - begun))):
                return

    def look(self) -> Snapshot:
        """One round, ten seconds at most; the snapshot."""
        quick = (self._read_project, self._target, self._storage, self._asked_webserver)
        for step in quick:
            step.begin()
        until = time.monotonic() + LOOK_SECONDS
        for step in quick:
            step.wait(until)
        project = self._read_project.result
        if project is not None and project is not self._site.project:
            self._site = replace(self._site, project=project)
        now = self._site.clock()
        findings = self._dated(self._findings(now), now)
        self._conditions = conditions_of(findings, now)
        self._begin_slow_steps()
        counts = self._counts.result
        self.snapshot = Snapshot(
            now, findings, counts.imports if counts else (), counts.open_items if counts else (),
            counts.at if counts else None,
        )  # fmt: skip
        return self.snapshot

    def _look_at_storage(self) -> _Storage:
        if self._instance is None:
            self._instance = self._connect(self._site.settings)
        site, instance, now = self._site, self._instance, self._site.clock()
        daemon = look_at_daemon(instance, now)
        queue = self._queue.look(site, instance, now)
        if not daemon.ok:  # nothing ticks, and that is no second trouble
            return _Storage((daemon, queue), ())
        ticks, unreached = self._ticks.look(site, instance, now)
        return _Storage((daemon, ticks, queue), unreached)

    def _look_at_webserver(self) -> WebserverAnswer:
        return look_at_webserver(self._webserver) if self._webserver else WebserverAnswer("")

    def _count(self) -> _Counts:
        """Writes how many items are open into the ledger, and reads all numbers from there: view and /metrics agree."""
        site, instance = self._site, self._instance
        assert instance is not None
        now = site.clock()
        counts = count_open_items(open_items(site, instance, now))
        with site.target_as_it_is.ledger() as connection:
            ledger.record_open_items(connection, socket.gethostname(), counts, now)
            return _Counts(ledger.list_metrics(connection), ledger.list_open_item_counts(connection), now)

    def _clear_up(self) -> list[str]:
        return clear_up_dead_runs(self._site, self._instance) if self._instance is not None else []

    def _send_alerts(self) -> SentAlerts:
        return send_alerts(self._site, self._instance, self._site.clock(), extra=self._conditions)

    def _findings(self, now: datetime) -> list[HealthFinding]:
        findings = [
            _answers("target", self._target, "the target Postgres", "ingest status"),
            _answers("storage", self._storage, "Dagster's storage", "check INGEST_DAGSTER_URL"),
        ]
        storage, facts = self._storage.result, self._target.result
        answer = self._asked_webserver.result or WebserverAnswer("it has not answered yet")
        if findings[1].ok and storage is not None:
            findings += storage.findings
            findings.append(judge_code_server(storage.unreached, answer.load_error, now))
        if self._webserver:
            findings.append(judge_webserver(answer))
        if self._read_project.error is not None:
            findings.append(_failed("project", self._read_project.error, "ingest check"))
        elif facts is not None:
            findings.append(self._project.judge(facts.states, now))
        if facts is not None:
            findings.append(look_at_sources(self._site, facts))
        findings.append(judge_processes(read_deaths(self._site.settings.state), now))
        findings.append(self._judge_alerts())
        for name, step in (("counts", self._counts), ("dead runs", self._cleared)):
            if step.late_by:
                findings.append(
                    HealthFinding(name, False, f"this step of the watcher has run for {step.late_by:.0f} s")
                )
        return findings

    def _judge_alerts(self) -> HealthFinding:
        """Whether the last attempt could send every alert that was due."""
        if self._alerts.late_by:
            words = f"sending alerts has taken {self._alerts.late_by:.0f} s"
            return HealthFinding("alerts", False, words, None, "ingest alerts")
        if self._alerts.error is not None:
            return _failed("alerts", self._alerts.error, "ingest alerts")
        sent = self._alerts.result
        if sent is not None and sent.unsent:
            return HealthFinding("alerts", False, f"not sent: {'; '.join(sent.unsent[:3])}", None, "ingest alerts")
        return HealthFinding("alerts", True, "every alert that was due is sent")

    def _dated(self, findings: Sequence[HealthFinding], now: datetime) -> list[HealthFinding]:
        """Each trouble with since when it is: from what was read, else since this process saw it first."""
        self._since = {
            finding.name: finding.since or self._since.get(finding.name, now) for finding in findings if not finding.ok
        }
        return [finding if finding.ok else replace(finding, since=self._since[finding.name]) for finding in findings]

    def _begin_slow_steps(self) -> None:
        self._alerts.begin()
        if self._instance is None or self._target.result is None:
            return
        if not self._counts.is_running and time.monotonic() >= self._count_again_at:
            self._count_again_at = time.monotonic() + COUNTING_SHARE * self._counts.seconds
            self._counts.begin()
        self._cleared.begin()


def conditions_of(findings: Sequence[HealthFinding], now: datetime) -> list[Condition]:
    """What the watcher alone can tell, once it has been so for half a minute.

    Sources, YAML and the target have alerts of their own.
    """
    return [
        Condition(
            "", "stuck", finding.words, next_step=finding.next_step, reason=f"{finding.name} not well",
            cause=finding.name, since=finding.since,
        )
        for finding in findings
        if not finding.ok and finding.name not in _TOLD_ELSEWHERE
        if finding.since is not None and now - finding.since >= TOLD_AFTER
    ]  # fmt: skip


def _answers(name: str, step: BoundedStep[Any], what: str, next_step: str) -> HealthFinding:
    if step.late_by or (step.is_running and step.result is None and step.error is None):
        return HealthFinding(name, False, f"{what} does not answer within {LOOK_SECONDS:.0f} s", None, next_step)
    if step.error is not None:
        return _failed(name, step.error, next_step)
    return HealthFinding(name, True, "it answers")


def _failed(name: str, error: Exception, next_step: str) -> HealthFinding:
    """The error as a finding, without a server's words."""
    if isinstance(error, IngestError):
        return HealthFinding(name, False, printable(error.message, limit=400), None, next_step)
    return HealthFinding(name, False, f"the watcher could not look: {type(error).__name__}", None, next_step)
