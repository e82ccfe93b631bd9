"""Sends what is new: the sensor `alerts` and the process `ingest watch` call it, and each alert is sent once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import psycopg
from dagster import DagsterInstance
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from ingest_pipelines import ledger
from ingest_pipelines.config import Project, read_current_project
from ingest_pipelines.errors import ConfigError, IngestError, TargetDenied, TargetForbids, TargetUnavailable
from ingest_pipelines.ledger import AddressTrouble, AlertRoute
from ingest_pipelines.orchestration.alerts.alert import TARGET
from ingest_pipelines.orchestration.alerts.alert_book import AlertBook
from ingest_pipelines.orchestration.alerts.alert_messages import Message
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.earlier_cursor import entries_of_cursor
from ingest_pipelines.orchestration.alerts.facts import Facts
from ingest_pipelines.orchestration.alerts.local_book import only_sender, read_local, write_local
from ingest_pipelines.orchestration.alerts.outbox import Sending, outbox_of
from ingest_pipelines.orchestration.alerts.present_conditions import is_unsure, present_conditions
from ingest_pipelines.orchestration.alerts.recipients import PROJECT, Routes, as_route, notify_mistakes
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.orchestration.dagster_internals.sensor_cursors import cursor_of_sensor
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
from ingest_pipelines.orchestration.monitoring.open_items import open_items
from ingest_pipelines.orchestration.site import Site

T = TypeVar("T")

EARLIER_SENSOR = "alerts"
"""The sensor's name in the version that kept in its cursor which alerts were sent."""

SECONDS = 25.0
"""For sending, per call. A tick of a sensor has sixty, and looks at the ledger before."""

RETRY_HUNG = timedelta(minutes=5)
"""An address that hangs is asked again after so long, whichever process asks."""

LONGEST_RETRY = timedelta(minutes=10)
"""An address that refuses is asked again at once, later after as long as it has refused, at most so long."""


@dataclass(frozen=True)
class SentAlerts:
    """The alerts that a call sent, and those that it could not send.

    Attributes:
        note: why nothing was looked at; "": it was.
    """

    sent: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()
    note: str = ""

    @property
    def words(self) -> str:
        """For the list of ticks."""
        sent = f"sent: {'; '.join(self.sent)}" if self.sent else self.note or "no new alerts"
        return f"{sent}. Not sent, the next tick tries again: {'; '.join(self.unsent)}" if self.unsent else sent


ANOTHER = SentAlerts(note="another process is sending alerts")


def send_alerts(
    site: Site, instance: DagsterInstance | None, now: datetime, *, extra: Sequence[Condition] | None = None
) -> SentAlerts:
    """Sends every alert that is due, and notes it in the ledger.

    Of two processes that call it at once the second sends nothing. A process that dies after a message is sent and
    before it is noted sends it again, one message per address at most; no message is lost.

    Args:
        instance: None: Dagster's storage does not answer; alerts that need it stay as they are.
        extra: what the watcher has found, empty if nothing; only a call with them ends alerts that the watcher began.
    """
    with only_sender(site.settings.state) as alone:
        if not alone:
            return ANOTHER
        project = _project_on_disk(site)
        try:
            with site.target.session() as lock:
                if not ledger.lock_alerts(lock):
                    return ANOTHER
                return _Sender(site, project, now, extra).send(lock, instance)
        except (TargetUnavailable, TargetDenied, TargetForbids, psycopg.OperationalError) as error:
            return _send_without_target(site, project, now, extra, error)


def _send_without_target(
    site: Site, project: Project, now: datetime, extra: Sequence[Condition] | None, error: Exception
) -> SentAlerts:
    """Tells that the target does not answer, and what the watcher has found; the state folder holds what was told."""
    book = AlertBook.of(read_local(site.settings.state).alerts)
    words = error.message if isinstance(error, IngestError) else "the target Postgres does not answer"
    reason = "refuses" if isinstance(error, TargetDenied | TargetForbids) else "does not answer"
    down = Condition("", "failed", words, next_step="ingest status", reason=reason, cause=TARGET)
    book.update([down], now, lambda entry: True)
    if extra is not None:
        book.update(extra, now, lambda entry: False, watched=True)

    def save() -> None:
        write_local(site.settings.state, book, outage=True)

    save()
    return _delivered(site, project, book, Routes(project, {}), now, save, {}, lambda *_: None)


@dataclass(frozen=True)
class _Sender:
    """One look at everything, with the target's answer."""

    site: Site
    project: Project
    now: datetime
    extra: Sequence[Condition] | None

    def send(self, connection: psycopg.Connection, instance: DagsterInstance | None) -> SentAlerts:
        """Notes what is wrong, then sends what is due."""
        kept = ledger.list_alert_routes(connection)
        book = AlertBook.of(ledger.list_alerts(connection, ended=True))
        local = read_local(self.site.settings.state)
        if local.outage:
            book.adopt(AlertBook.of(local.alerts).entries)
        if not kept:
            book.adopt(
                entries_of_cursor(_if_answered(instance, lambda opened: cursor_of_sensor(opened, EARLIER_SENSOR)))
            )
        routes = Routes(self.project, kept)
        items = _if_answered(instance, lambda opened: open_items(self.site, opened, self.now))
        facts = self._facts(connection, kept, items)
        conditions = list(present_conditions(connection, facts, book, self.now))
        book.update(conditions, self.now, lambda entry: is_unsure(facts, entry))
        if self.extra is not None:
            book.update(self.extra, self.now, lambda entry: False, watched=True)
        book.close(routes.of, self.now)
        changed = _changed_routes(facts, routes, kept)

        def save(more: Sequence[AlertRoute] = ()) -> None:
            written, deleted = book.changed()
            if written or deleted or more:
                with self.site.target.session() as session:
                    ledger.save_alerts(session, written)
                    ledger.delete_alerts(session, deleted)
                    ledger.save_alert_routes(session, more)

        def note(recipient: str, error: str, retry_at: datetime) -> None:
            with self.site.target.session() as session:
                ledger.set_address_trouble(session, recipient, error, self.now, retry_at)

        save(changed)
        write_local(self.site.settings.state, book, outage=False)
        troubles = ledger.list_address_troubles(connection)
        outcome = _delivered(self.site, self.project, book, routes, self.now, save, troubles, note)
        write_local(self.site.settings.state, book, outage=False)
        return outcome

    def _facts(
        self, connection: psycopg.Connection, kept: Mapping[str, AlertRoute], items: Sequence[OpenItem] | None
    ) -> Facts:
        summaries, states = ledger.summaries(connection), ledger.list_imports(connection)
        names = [*self.project.imports, *self.project.broken]
        seen = {name: summaries[name].load - 1 for name in names if name in summaries}
        seen |= {name: kept[name].seen_load for name in names if name in kept}
        new: dict[str, list[ledger.CommittedDelivery]] = {}
        for delivery in ledger.committed_since(connection, seen):
            new.setdefault(delivery.import_name, []).append(delivery)
        activated = {name for name, state in states.items() if state.activated_at is not None}
        return Facts(
            project=self.project, items=items, summaries=summaries, states=states,
            checks=ledger.list_source_checks(connection), new=new, live=frozenset({*kept, *activated}),
            had_groups=bool(kept.get(PROJECT) and kept[PROJECT].recipients),
            automation=self.site.settings.automation,
        )  # fmt: skip


def _if_answered(instance: DagsterInstance | None, look: Callable[[DagsterInstance], T]) -> T | None:
    """What Dagster's storage answers; None if it does not answer: that must not keep back the other alerts."""
    try:
        return look(instance) if instance is not None else None
    except (SQLAlchemyError, DagsterPostgresException):
        return None


def _changed_routes(facts: Facts, routes: Routes, kept: Mapping[str, AlertRoute]) -> list[AlertRoute]:
    """What to note of each import: where its alerts go, unless a mistake hides that, and the last load seen."""
    hidden = bool(notify_mistakes(facts.project))
    changed = []
    for name, recipients in routes.current.items():
        known = kept.get(name)
        if name != PROJECT and facts.status(name) == "draft" and known is None:
            continue
        if name in facts.project.broken and known is None:
            continue
        seen = max([known.seen_load if known else 0, *(delivery.load for delivery in facts.new.get(name, ()))])
        summary = facts.summaries.get(name)
        if known is None and summary is not None:
            seen = max(seen, summary.load)
        keeps = known is not None and (
            hidden or name in facts.project.broken or (name == PROJECT and facts.project.broken)
        )
        route = AlertRoute(name, seen, known.recipients if known is not None and keeps else as_route(recipients))
        if known != route:
            changed.append(route)
    return changed


def _delivered(
    site: Site,
    project: Project,
    book: AlertBook,
    routes: Routes,
    now: datetime,
    save: Callable[[], None],
    troubles: Mapping[str, AddressTrouble],
    note: Callable[[str, str, datetime], None],
) -> SentAlerts:
    """Sends what is due, and notes each message as soon as it is accepted."""
    pages = {name: f"/assets/{'/'.join(asset_key(bound).path)}" for name, bound in project.imports.items()}
    due = book.messages(routes.of, now, site.settings.ui_url, pages, site.settings.environment)
    # a time that is further away was noted while the clock was ahead
    later = {name for name, trouble in troubles.items() if now < trouble.retry_at <= now + LONGEST_RETRY}
    sent: list[str] = []
    unsent = [
        f"{_summary(message)}: {troubles[message.recipient.name].error}"
        for message in due
        if message.recipient.name in later
    ]
    letters = [message for message in due if message.recipient.name not in later]
    for delivery in outbox_of(site.settings.state).deliver(letters, SECONDS):
        name = delivery.message.recipient.name
        if not delivery.error:
            book.sent(delivery.message, now)
            save()
            sent.append(_summary(delivery.message))
            if name in troubles:
                note(name, "", now)
            continue
        if delivery.tried:
            note(name, delivery.error, now + _retry_after(delivery, troubles.get(name), now))
        unsent.append(f"{_summary(delivery.message)}: {delivery.error}")
    book.close(routes.of, now)
    save()
    return SentAlerts(tuple(sent), tuple(unsent))


def _retry_after(delivery: Sending, trouble: AddressTrouble | None, now: datetime) -> timedelta:
    if delivery.hung:
        return RETRY_HUNG
    return min(now - trouble.failing_since, LONGEST_RETRY) if trouble is not None else timedelta(0)


def _summary(message: Message) -> str:
    return f"{message.title} to {message.recipient.name}"


def _project_on_disk(site: Site) -> Project:
    """The project as its files are now: a code server knows them as they were when it was loaded."""
    try:
        return read_current_project(site.project.home).placed(site.settings.placement)
    except (ConfigError, OSError):
        return site.project
