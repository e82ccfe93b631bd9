"""The sensor that sends alerts: it compares the state of ledger and Dagster with the alerts that it has sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

import psycopg
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.notify import AlertKind
from ingest_pipelines.errors import IngestError, TargetDenied, Unavailable, printable
from ingest_pipelines.ledger import ImportState, ImportSummary
from ingest_pipelines.orchestration.alerts.alert_book import (
    TARGET,
    AlertBook,
    Condition,
    Message,
    Recipient,
    recipients_of,
)
from ingest_pipelines.orchestration.alerts.notifier import send
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.checks.anomaly_checks import expected_within, lateness
from ingest_pipelines.orchestration.checks.asset_checks import VOLUME, findings
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG, WILL_RETRY_TAG
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, is_dry_run
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.rules.codes import CODES

MESSAGES_PER_TICK = 20
"""A mail takes a second, and a tick has sixty."""

REJECTS_NAMED = 5
"""Rejects that a message names; `ingest rejects list` has them all."""

LOOK_BACK = timedelta(days=1)
"""Runs that died longer ago raise no alert."""

_SETTLED = {"committed", "skipped"}
_BROKEN = {"failed", "refused"}


@dataclass(frozen=True)
class _Facts:
    """The present state of ledger and Dagster, per import."""

    summaries: Mapping[str, ImportSummary]
    states: Mapping[str, ImportState]
    dead: Mapping[str, RunRecord]


def alert_sensor(site: Site) -> SensorDefinition | None:
    """The sensor; None if no alert has a recipient."""
    recipients = _recipients(site)
    if not any(recipients.values()):
        return None

    @sensor(
        name="alerts",
        description="Sends alerts: an import failed, is late, has unusual volume or rejects, or has recovered.",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING if site.settings.automation else DefaultSensorStatus.STOPPED,
    )
    def alerts(context: SensorEvaluationContext) -> SensorResult:
        book = AlertBook.read(context.cursor)
        outcome = send_alerts(site, context.instance, book, recipients)
        if outcome.unsent:
            context.log.error("%s", outcome.words)
        return SensorResult(skip_reason=outcome.words, cursor=book.write())

    return alerts


@dataclass(frozen=True)
class SentAlerts:
    """The alerts that a tick sent, and those that it could not send."""

    sent: tuple[str, ...]
    unsent: tuple[str, ...]

    @property
    def words(self) -> str:
        """For the list of ticks."""
        sent = f"sent: {'; '.join(self.sent)}" if self.sent else "no new alerts"
        return f"{sent}. Not sent, the next tick tries again: {'; '.join(self.unsent)}" if self.unsent else sent


def send_alerts(
    site: Site, instance: DagsterInstance, book: AlertBook, recipients: Mapping[str, list[Recipient]] | None = None
) -> SentAlerts:
    """Sends every new alert, and notes it in the book."""
    recipients = recipients if recipients is not None else _recipients(site)
    now = site.clock()
    try:
        with site.target.session() as connection:
            conditions = list(_conditions(connection, site, instance, book, now))
        unsure: set[tuple[str, AlertKind]] = set()
    except (Unavailable, TargetDenied, psycopg.OperationalError) as error:
        words = error.message if isinstance(error, IngestError) else "the target Postgres does not answer"
        conditions = [Condition(TARGET, "failed", words, next_step="ingest status")]
        unsure = {(name, kind) for name in site.project.imports for kind in get_args(AlertKind)}
    book.update(conditions, now, unsure)
    sent: list[str] = []
    unsent: list[str] = []
    pages = {name: f"/assets/{'/'.join(asset_key(bound).path)}" for name, bound in site.project.imports.items()}
    for message in list(book.messages(recipients, site.settings.ui_url, pages))[:MESSAGES_PER_TICK]:
        reason = send(message.recipient.address, message.title, message.body)
        if reason:
            unsent.append(f"{message.title} to {message.recipient.name}: {reason}")
        else:
            book.sent(message)
            sent.append(_summary(message))
    book.delete_ended(recipients)
    return SentAlerts(tuple(sent), tuple(unsent))


def _summary(message: Message) -> str:
    return f"{message.title} to {message.recipient.name}"


def _recipients(site: Site) -> dict[str, list[Recipient]]:
    """Recipients per import. Problems with the target go to every recipient of the project."""
    project = site.project
    recipients = {name: recipients_of([*bound.spec.notify, *project.notify]) for name, bound in project.imports.items()}
    all_entries = [*project.notify, *(entry for bound in project.imports.values() for entry in bound.spec.notify)]
    return {**recipients, TARGET: recipients_of(all_entries)}


def _conditions(
    connection: psycopg.Connection, site: Site, instance: DagsterInstance, book: AlertBook, now: datetime
) -> Iterator[Condition]:
    facts = _Facts(ledger.summaries(connection), ledger.list_imports(connection), _dead_runs(connection, instance, now))
    newest = book.seen_load
    for name, bound in site.project.imports.items():
        summary = facts.summaries.get(name)
        status = facts.states[name].status if name in facts.states else None
        if (status or bound.spec.status) == "draft":
            continue
        yield from _failure(connection, name, summary, facts.dead.get(name), book)
        yield from _rejects(connection, name, summary, book)
        if (status or bound.spec.status) == "active":
            yield from _late(bound, summary, now)
        if summary is not None and summary.load > book.seen_load:
            newest = max(newest, summary.load)
            yield from _volume(connection, site, bound, summary)
        elif summary is not None and book.is_open(name, "volume"):
            yield Condition(name, "volume", "", summary.item)
    book.seen_load = newest


def _failure(
    connection: psycopg.Connection,
    name: str,
    summary: ImportSummary | None,
    dead: RunRecord | None,
    book: AlertBook,
) -> Iterator[Condition]:
    """The import's last load failed, or its last run died without a load, and no load has ended since."""
    since = book.open_since(name, "failed")
    if dead is not None and (summary is None or summary.started_at < dead.create_timestamp):
        item = dead.dagster_run.tags.get(PARTITION_NAME_TAG, "")
        words = "the run ended without an error: its process was probably killed. Nothing of it was committed."
        yield Condition(name, "failed", words, item, f"ingest run {name} --item {item}", dead.dagster_run.run_id)
    elif summary is not None and summary.status in _BROKEN:
        words = summary.error + _first_rejects(connection, summary, book, "failed")
        yield Condition(name, "failed", words, summary.item, f"ingest report {name}", summary.run_id)
    elif since is not None and (summary is None or summary.finished_at is None or summary.finished_at <= since):
        yield Condition(name, "failed", "")


def _rejects(
    connection: psycopg.Connection, name: str, summary: ImportSummary | None, book: AlertBook
) -> Iterator[Condition]:
    """The last committed item has rejects. A failed load since then does not change that."""
    if summary is None:
        return
    if summary.status == "committed" and summary.rejected:
        words = f"{summary.rejected:,} of {summary.read:,} rows were rejected; the others are in the table"
        words += _first_rejects(connection, summary, book, "rejected")
        yield Condition(name, "rejected", words, summary.item, f"ingest rejects list {name}", summary.run_id)
    elif summary.status != "committed" and book.is_open(name, "rejected"):
        yield Condition(name, "rejected", "", summary.item)


def _first_rejects(connection: psycopg.Connection, summary: ImportSummary, book: AlertBook, kind: AlertKind) -> str:
    """Lines and broken rules of the load's first rejects, for the end of a message; never a value.

    A reject's reason may name a profile or a value, so the rule's meaning stands in its place.
    """
    if not summary.rejected or book.is_open(summary.import_name, kind):  # already sent: the text is not used
        return ""
    rejects = ledger.list_rejects(connection, summary.import_name, load=summary.load, limit=REJECTS_NAMED + 1)
    lines = [
        f"line {reject.line}, {printable(reject.field)}: {reject.code}, {CODES[reject.code][1]}"
        for reject in rejects[:REJECTS_NAMED]
        if reject.code in CODES
    ]
    more = [f"and more: ingest rejects list {summary.import_name}"] if len(rejects) > REJECTS_NAMED else []
    return "".join(f"\n  {line}" for line in (*lines, *more))


def _late(bound: BoundImport, summary: ImportSummary | None, now: datetime) -> Iterator[Condition]:
    due, plan = expected_within(bound), bound.spec.schedule
    if due is None or summary is None or (plan is not None and plan.ends_on is not None and now.date() > plan.ends_on):
        return
    last = summary.finished_at if summary.status in _SETTLED else summary.committed_at
    finding = lateness(last, due, now)
    if not finding.passed:
        yield Condition(bound.name, "late", finding.words, next_step=f"ingest check {bound.name} --connect")


def _volume(
    connection: psycopg.Connection, site: Site, bound: BoundImport, summary: ImportSummary
) -> Iterator[Condition]:
    finding = findings(connection, bound, ledger.recent_loads(connection, bound.name, last=1), site).get(VOLUME)
    if finding is not None and not finding.passed:
        words, step = f"{finding.words}; they are in the table", f"ingest report {bound.name}"
        yield Condition(bound.name, "volume", words, summary.item, step, summary.run_id)


def _dead_runs(connection: psycopg.Connection, instance: DagsterInstance, now: datetime) -> dict[str, RunRecord]:
    """Per import its last run, if that failed and Dagster will not retry it.

    Not a replay: the person who started it saw how it ended. Not a run without a partition: it has no item, and its
    page says what is wrong.
    """
    newest: dict[str, RunRecord] = {}
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK)
    for record in instance.get_run_records(failed, limit=500):
        run = record.dagster_run
        name = None if is_dry_run(run.tags) or PARTITION_NAME_TAG not in run.tags else run.tags.get(IMPORT_TAG)
        if name is None or name in newest or run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        item = ledger.find_item(connection, name, run.tags.get(ITEM_TAG) or run.tags.get(PARTITION_NAME_TAG, ""))
        if item is None or item.kind != "replay":
            newest[name] = record
    return newest
