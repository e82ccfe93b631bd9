"""The sensor that tells people: it compares what the ledger and Dagster say with what it has told them."""

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
from ingest_pipelines.orchestration.alerts.alert_book import TARGET, AlertBook, Condition, Message, Route, routes_of
from ingest_pipelines.orchestration.alerts.notifier import send
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.checks.anomaly_checks import due_within, lateness
from ingest_pipelines.orchestration.checks.asset_checks import VOLUME, findings
from ingest_pipelines.orchestration.dagster_internals.tags import PARTITION_NAME_TAG, WILL_RETRY_TAG
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG, ITEM_TAG, is_dry_run
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.rules.codes import CODES

MESSAGES_PER_TICK = 20
"""A mail takes a second, and a tick has sixty."""

REJECTS_NAMED = 5
"""Broken rules that a message names; `ingest rejects list` has them all."""

LOOK_BACK = timedelta(days=1)
"""Runs that died longer ago are history."""

_SETTLED = {"committed", "skipped"}
_BROKEN = {"failed", "refused"}


@dataclass(frozen=True)
class _Facts:
    """What the ledger and Dagster say now."""

    summaries: Mapping[str, ImportSummary]
    states: Mapping[str, ImportState]
    dead: Mapping[str, RunRecord]


def alert_sensor(site: Site) -> SensorDefinition | None:
    """The sensor; None where nobody wants to be told anything."""
    routes = _routes(site)
    if not any(routes.values()):
        return None

    @sensor(
        name="alerts",
        description="Tells people what failed, what is late, what is far from the usual, and when it is well again.",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING if site.settings.automation else DefaultSensorStatus.STOPPED,
    )
    def alerts(context: SensorEvaluationContext) -> SensorResult:
        book = AlertBook.read(context.cursor)
        outcome = tell(site, context.instance, book, routes)
        if outcome.unsent:
            context.log.error("%s", outcome.words)
        return SensorResult(skip_reason=outcome.words, cursor=book.write())

    return alerts


@dataclass(frozen=True)
class Outcome:
    """What a tick told, and what it could not."""

    sent: tuple[str, ...]
    unsent: tuple[str, ...]

    @property
    def words(self) -> str:
        """For the list of ticks."""
        told = f"told: {'; '.join(self.sent)}" if self.sent else "nothing new to tell"
        return f"{told}. Not sent, and tried again: {'; '.join(self.unsent)}" if self.unsent else told


def tell(
    site: Site, instance: DagsterInstance, book: AlertBook, routes: Mapping[str, list[Route]] | None = None
) -> Outcome:
    """Everything new is told, and the book knows it."""
    routes = routes if routes is not None else _routes(site)
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
    for message in list(book.messages(routes, site.settings.ui_url, pages))[:MESSAGES_PER_TICK]:
        reason = send(message.route.address, message.title, message.body)
        if reason:
            unsent.append(f"{message.title} to {message.route.name}: {reason}")
        else:
            book.sent(message)
            sent.append(_said(message))
    book.forget_what_is_over(routes)
    return Outcome(tuple(sent), tuple(unsent))


def _said(message: Message) -> str:
    return f"{message.title} to {message.route.name}"


def _routes(site: Site) -> dict[str, list[Route]]:
    """Whom to tell, per import; of the target's own troubles everybody who is told of failures."""
    project = site.project
    routes = {name: routes_of([*bound.spec.notify, *project.notify]) for name, bound in project.imports.items()}
    everybody = [*project.notify, *(entry for bound in project.imports.values() for entry in bound.spec.notify)]
    return {**routes, TARGET: routes_of(everybody)}


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
    """The import's last load failed, or its last run died without a word in the ledger, and no load ended since."""
    since = book.open_since(name, "failed")
    if dead is not None and (summary is None or summary.started_at < dead.create_timestamp):
        item = dead.dagster_run.tags.get(PARTITION_NAME_TAG, "")
        words = "the run ended before it could say why: was its process killed? Nothing of it was committed."
        yield Condition(name, "failed", words, item, f"ingest run {name} --item {item}", dead.dagster_run.run_id)
    elif summary is not None and summary.status in _BROKEN:
        words = summary.error + _first_rejects(connection, summary, book, "failed")
        yield Condition(name, "failed", words, summary.item, f"ingest report {name}", summary.run_id)
    elif since is not None and (summary is None or summary.finished_at is None or summary.finished_at <= since):
        yield Condition(name, "failed", "")


def _rejects(
    connection: psycopg.Connection, name: str, summary: ImportSummary | None, book: AlertBook
) -> Iterator[Condition]:
    """The last committed item left rows behind. A failed one since then says nothing about that."""
    if summary is None:
        return
    if summary.status == "committed" and summary.rejected:
        words = f"{summary.rejected:,} of {summary.read:,} rows were rejected; the others are in place"
        words += _first_rejects(connection, summary, book, "rejected")
        yield Condition(name, "rejected", words, summary.item, f"ingest rejects list {name}", summary.run_id)
    elif summary.status != "committed" and book.is_open(name, "rejected"):
        yield Condition(name, "rejected", "", summary.item)


def _first_rejects(connection: psycopg.Connection, summary: ImportSummary, book: AlertBook, kind: AlertKind) -> str:
    """Where the first rejects of the load are and which rules they broke, below the message; never a value.

    A reason may name a profile or a value that rows share; a rule's meaning names none.
    """
    if not summary.rejected or book.is_open(summary.import_name, kind):  # told before: the words are not used
        return ""
    found = ledger.list_rejects(connection, summary.import_name, load=summary.load, limit=REJECTS_NAMED + 1)
    lines = [
        f"line {reject.line}, {printable(reject.field)}: {reject.code}, {CODES[reject.code][1]}"
        for reject in found[:REJECTS_NAMED]
        if reject.code in CODES
    ]
    more = [f"and more: ingest rejects list {summary.import_name}"] if len(found) > REJECTS_NAMED else []
    return "".join(f"\n  {line}" for line in (*lines, *more))


def _late(bound: BoundImport, summary: ImportSummary | None, now: datetime) -> Iterator[Condition]:
    due, plan = due_within(bound), bound.spec.schedule
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
        words, step = f"{finding.words}; they are in place", f"ingest report {bound.name}"
        yield Condition(bound.name, "volume", words, summary.item, step, summary.run_id)


def _dead_runs(connection: psycopg.Connection, instance: DagsterInstance, now: datetime) -> dict[str, RunRecord]:
    """Per import its last run, where that failed and Dagster will not try it again.

    A replay is no delivery: the person who started it was told how it ended.
    Nor is a run without a partition: it has no item that failed, and its page says what is wrong.
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
