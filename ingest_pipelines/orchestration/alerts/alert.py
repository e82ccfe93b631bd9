"""An alert: a problem since it began, and what each recipient knows of it; as objects, and as the ledger holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from ingest_pipelines.config.notify import AlertKind
from ingest_pipelines.ledger import AlertRecord

Place = tuple[str, str, str]
"""Import, kind and cause: what identifies an alert."""

TARGET = "the target"
"""The cause of what no import is to blame for: the target Postgres does not answer."""

WITH_RECOVERY: frozenset[AlertKind] = frozenset({"failed", "source", "config", "stuck", "late"})
"""Kinds whose end is told."""


@dataclass
class Told:
    """What one recipient knows of an alert.

    Attributes:
        at: when it was told last; None: not yet.
        items: how many broken items it knows of.
        times: how many messages it got.
        ended: when it was told of the end.
    """

    at: datetime | None = None
    items: int = 0
    times: int = 0
    ended: datetime | None = None


@dataclass
class Entry:
    """An alert: a problem since it began, and who knows of it. `AlertRecord` explains the fields."""

    import_name: str
    kind: AlertKind
    cause: str
    since: datetime
    ended_at: datetime | None = None
    closed: bool = False
    watched: bool = False
    reason: str = ""
    words: str = ""
    item: str = ""
    next_step: str = ""
    run_id: str = ""
    group: str = ""
    broken: int = 0
    items: list[str] = field(default_factory=list)
    imports: tuple[str, ...] = ()
    told: dict[str, Told] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """What identifies it."""
        return (self.import_name, self.kind, self.cause)

    @property
    def subject(self) -> str:
        """Whom it is about: the import, else its cause."""
        return self.import_name or (self.imports[0] if len(self.imports) == 1 else self.cause)


def named(place: Place) -> tuple[str, AlertKind, str]:
    """The place, with its kind as a type."""
    return place[0], cast(AlertKind, place[1]), place[2]


def entry_of(record: AlertRecord) -> Entry:
    """The alert that the ledger holds."""
    told = {name: _told(known) for name, known in record.told.items()}
    return Entry(
        *named((record.import_name, record.kind, record.cause)), record.since, record.ended_at, record.closed,
        record.watched, record.reason, record.words, record.item, record.next_step, record.run_id, record.grouped,
        record.broken,
        list(record.items), tuple(record.imports), told,
    )  # fmt: skip


def record_of(entry: Entry) -> AlertRecord:
    """The alert as the ledger holds it."""
    told = {name: _plain(known) for name, known in entry.told.items()}
    return AlertRecord(
        entry.import_name, entry.kind, entry.cause, entry.since, entry.ended_at, entry.closed, entry.watched,
        entry.reason, entry.words, entry.item, entry.next_step, entry.run_id, entry.group, entry.broken,
        tuple(entry.items),
        tuple(entry.imports), told,
    )  # fmt: skip


def _told(known: Mapping[str, Any]) -> Told:
    at, ended = known.get("at"), known.get("ended")
    return Told(
        datetime.fromisoformat(at) if at else None,
        int(known.get("items", 0)),
        int(known.get("times", 0)),
        datetime.fromisoformat(ended) if ended else None,
    )


def _plain(told: Told) -> dict[str, Any]:
    return {
        "at": told.at.isoformat() if told.at else None,
        "items": told.items,
        "times": told.times,
        "ended": told.ended.isoformat() if told.ended else None,
    }
