"""Which alerts to send, and which were sent: one when a condition begins, and one when it ends. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.notify import AlertKind, Notify

TARGET = ""
"""In place of an import's name: the target Postgres."""

_WITH_RECOVERY: Collection[AlertKind] = ("failed", "late")


@dataclass(frozen=True)
class Recipient:
    """An address for alerts, and the kinds of alerts that it gets.

    Attributes:
        name: of the secret that holds the address; the address itself is never shown.
    """

    name: str
    address: Secret
    kinds: frozenset[AlertKind]


def recipients_of(notify: Iterable[Notify]) -> list[Recipient]:
    """One recipient per address, with all kinds of alerts that it gets."""
    recipients: dict[str, Recipient] = {}
    for entry in notify:
        name = entry.to.env or str(entry.to.file)
        kinds = recipients[name].kinds if name in recipients else frozenset()
        recipients[name] = Recipient(name, entry.to, kinds | set(entry.on))
    return list(recipients.values())


@dataclass(frozen=True)
class Condition:
    """A problem that exists now.

    Attributes:
        words: what happened; never a row's value.
        next_step: the command to type.
        run_id: the run whose page shows details.
    """

    import_name: str
    kind: AlertKind
    words: str
    item: str = ""
    next_step: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Message:
    """One alert for one recipient.

    Attributes:
        about: the kind of the condition; `kind` is `recovered` when it has ended.
    """

    recipient: Recipient
    import_name: str
    kind: AlertKind
    about: AlertKind
    title: str
    body: str


@dataclass
class _Entry:
    """A condition as it was first seen. The names of the fields are in sensors' cursors.

    Attributes:
        told: names of recipients of its alert.
        over: it has ended; the entry is deleted when every recipient knows.
        relieved: names of recipients of its recovery.
    """

    item: str
    words: str
    next_step: str
    run_id: str
    since: str
    told: list[str] = field(default_factory=list)
    over: bool = False
    relieved: list[str] = field(default_factory=list)


class AlertBook:
    """Open conditions, and the recipients who know of them. The sensor's cursor holds it between ticks."""

    def __init__(self, entries: Mapping[tuple[str, AlertKind], _Entry] | None = None, seen_load: int = 0) -> None:
        self._entries = dict(entries or {})
        self.seen_load = seen_load

    @classmethod
    def read(cls, cursor: str | None) -> AlertBook:
        """The book that `write` wrote; an empty one if there is none, or a person has edited the cursor."""
        try:
            kept: dict[str, Any] = json.loads(cursor or "{}")
            entries = {(name, kind): _Entry(**entry) for name, kind, entry in kept.get("open", [])}
            return cls(entries, int(kept.get("seen_load", 0)))
        except (ValueError, TypeError, AttributeError):
            return cls()

    def write(self) -> str:
        """The book as text."""
        kept = [[name, kind, vars(entry)] for (name, kind), entry in sorted(self._entries.items())]
        return json.dumps({"open": kept, "seen_load": self.seen_load})

    def is_open(self, import_name: str, kind: AlertKind) -> bool:
        """Whether the condition existed at the last tick."""
        entry = self._entries.get((import_name, kind))
        return entry is not None and not entry.over

    def open_since(self, import_name: str, kind: AlertKind) -> datetime | None:
        """When the condition was first seen; None if it does not exist."""
        if not self.is_open(import_name, kind):
            return None
        return datetime.fromisoformat(self._entries[import_name, kind].since)

    def update(
        self, conditions: Iterable[Condition], now: datetime, unsure: Collection[tuple[str, AlertKind]] = ()
    ) -> None:
        """Notes new conditions, and ends those that no longer exist.

        Args:
            unsure: conditions that could not be checked this time; they stay as they are.
        """
        present: set[tuple[str, AlertKind]] = set()
        for condition in conditions:
            place = (condition.import_name, condition.kind)
            present.add(place)
            entry = self._entries.get(place)
            if entry is None:
                since = now.isoformat(timespec="seconds")
                self._entries[place] = _Entry(
                    condition.item, condition.words, condition.next_step, condition.run_id, since
                )
            elif entry.over:  # it came back before its recovery was sent: no new alert
                entry.over, entry.relieved = False, []
        for place, entry in self._entries.items():
            if place not in present and place not in unsure:
                entry.over = True

    def messages(
        self, recipients: Mapping[str, Sequence[Recipient]], ui_url: str, pages: Mapping[str, str]
    ) -> Iterator[Message]:
        """Alerts that are not sent yet. `sent` marks one; an alert without that mark comes again.

        Args:
            routes: per import.
            pages: per import, the page of its asset.
        """
        for (name, kind), entry in self._entries.items():
            page = f"{ui_url}{pages.get(name, '/')}"
            for recipient in recipients.get(name, ()):
                if not entry.over and kind in recipient.kinds and recipient.name not in entry.told:
                    yield _problem_message(
                        recipient, name, kind, entry, f"{ui_url}/runs/{entry.run_id}" if entry.run_id else page
                    )
                elif (
                    entry.over
                    and kind in _WITH_RECOVERY
                    and "recovered" in recipient.kinds
                    and recipient.name not in entry.relieved
                ):
                    yield _recovery_message(recipient, name, kind, entry, page)

    def sent(self, message: Message) -> None:
        """Marks the alert as sent."""
        entry = self._entries[message.import_name, message.about]
        (entry.relieved if message.kind == "recovered" else entry.told).append(message.recipient.name)

    def delete_ended(self, recipients: Mapping[str, Sequence[Recipient]]) -> None:
        """Deletes ended conditions whose recovery every recipient has got."""
        for place, entry in list(self._entries.items()):
            waiting = [
                recipient
                for recipient in recipients.get(place[0], ())
                if place[1] in _WITH_RECOVERY
                and "recovered" in recipient.kinds
                and recipient.name not in entry.relieved
            ]
            if entry.over and not waiting:
                del self._entries[place]


def _problem_message(recipient: Recipient, name: str, kind: AlertKind, entry: _Entry, link: str) -> Message:
    lines = [
        f"import {name}" if name else "all imports",
        f"item {entry.item}" if entry.item else "",
        "",
        entry.words,
        "",
        f"next: {entry.next_step}" if entry.next_step else "",
        link,
    ]
    return Message(recipient, name, kind, kind, f"{kind}: {name or 'the target'}", _joined(lines))


def _recovery_message(recipient: Recipient, name: str, kind: AlertKind, entry: _Entry, page: str) -> Message:
    was = f"it was {kind}" if kind == "late" else "it had failed"
    lines = [
        f"import {name}" if name else "all imports",
        "",
        f"recovered: {was} since {entry.since.replace('T', ' ')}" + (f", with item {entry.item}" if entry.item else ""),
        "",
        page,
    ]
    return Message(recipient, name, "recovered", kind, f"recovered: {name or 'the target'}", _joined(lines))


def _joined(lines: Sequence[str]) -> str:
    """The lines, with no more than one empty line between two."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()
