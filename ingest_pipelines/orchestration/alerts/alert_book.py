"""Which alerts to send, and which were sent: when a problem begins, when it grows, and when it has ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ingest_pipelines.ledger import AlertRecord
from ingest_pipelines.orchestration.alerts.alert import WITH_RECOVERY, Entry, Place, Told, entry_of, named, record_of
from ingest_pipelines.orchestration.alerts.alert_messages import Links, Message, few, message_of
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.recipients import Recipient

QUIET = timedelta(minutes=10)
"""Between two messages about one alert to one recipient; it doubles with each, up to LONGEST_QUIET."""

LONGEST_QUIET = timedelta(hours=1)

KEPT = timedelta(days=1)
"""How long an alert is kept after everybody knows that it has ended: so long it is known when it was told last."""

MOST_ITEMS = 1_000
"""Above so many items, those that are not broken any more are forgotten."""


RecipientsOf = Callable[[str, Sequence[str]], Sequence[Recipient]]
"""The recipients of an alert, by its import and the imports that it concerns."""


class AlertBook:
    """Alerts that have not ended, or whose end is not known to everyone, and the recipients who know of them."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.place: entry for entry in entries}
        self._changed: dict[Place, None] = {}

    @classmethod
    def of(cls, records: Iterable[AlertRecord]) -> AlertBook:
        """The book that the ledger holds."""
        return cls(map(entry_of, records))

    @property
    def entries(self) -> Sequence[Entry]:
        """Every alert."""
        return list(self._entries.values())

    def records(self) -> list[AlertRecord]:
        """Every alert as the ledger holds it."""
        return [record_of(entry) for entry in self._entries.values()]

    def changed(self) -> tuple[list[AlertRecord], list[Place]]:
        """Alerts to write and alerts to delete since the last call."""
        changed, self._changed = self._changed, {}
        written = [record_of(self._entries[place]) for place in changed if place in self._entries]
        return written, [place for place in changed if place not in self._entries]

    def is_open(self, place: Place) -> bool:
        """Whether the problem existed at the last look."""
        entry = self._entries.get(place)
        return entry is not None and entry.ended_at is None

    def describes(self, place: Place, item: str) -> bool:
        """Whether the alert's words are about that item alone."""
        return self.is_open(place) and (self._entries[place].item, self._entries[place].broken) == (item, 1)

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Takes over alerts from another book; what recipients know is kept of both."""
        for entry in entries:
            known = self._entries.get(entry.place)
            told = {**(known.told if known is not None and known.ended_at is None else {}), **entry.told}
            self._entries[entry.place] = entry
            entry.told = told
            self._changed[entry.place] = None

    def update(
        self,
        conditions: Iterable[Condition],
        now: datetime,
        is_unsure: Callable[[Entry], bool],
        *,
        watched: bool = False,
    ) -> None:
        """Notes new problems, and ends those that no longer exist.

        Args:
            is_unsure: whether an alert could not be checked this time; it stays as it is.
            watched: the conditions are those of the watcher, and only its alerts can end.
        """
        present: set[Place] = set()
        for condition in conditions:
            present.add(condition.place)
            self._note(condition, now, watched)
        for place, entry in self._entries.items():
            if place not in present and entry.ended_at is None and entry.watched == watched and not is_unsure(entry):
                entry.ended_at = now
                self._changed[place] = None

    def _note(self, condition: Condition, now: datetime, watched: bool) -> None:
        place = condition.place
        entry = self._entries.get(place)
        if entry is None:
            entry = Entry(*named(place), since=condition.since or now)
            self._entries[place] = entry
        elif entry.ended_at is not None:
            ended_at, entry.ended_at, entry.closed = entry.ended_at, None, False
            if any(told.ended for told in entry.told.values()):
                entry.since, entry.items, entry.imports = max(condition.since or now, ended_at), [], ()
            # Who was not told of the end still knows of the problem, and who was is told again.
            entry.told = {name: Told(ended=told.ended) if told.ended else told for name, told in entry.told.items()}
        before = record_of(entry)
        entry.watched, entry.group = watched, condition.group
        entry.broken = condition.broken
        entry.imports = tuple(dict.fromkeys([*entry.imports, *condition.imports]))  # all are told of its end
        if condition.words:
            entry.words, entry.reason = condition.words, condition.reason
            entry.item, entry.next_step, entry.run_id = condition.item, condition.next_step, condition.run_id
        entry.items = list(dict.fromkeys([*entry.items, *condition.items]))
        if len(entry.items) > MOST_ITEMS:
            self._forget_items(entry, condition.items)
        if before != record_of(entry) or not before.words:
            self._changed[place] = None

    @staticmethod
    def _forget_items(entry: Entry, still_broken: Sequence[str]) -> None:
        """Forgets items that are not broken any more; who knows of all of the rest still does."""
        known = len(entry.items)
        entry.items = list(dict.fromkeys(still_broken))
        for told in entry.told.values():
            told.items = max(0, len(entry.items) - (known - told.items))

    def messages(
        self, recipients_of: RecipientsOf, now: datetime, ui_url: str, pages: Mapping[str, str], environment: str = ""
    ) -> list[Message]:
        """Messages that are due. `sent` notes one; a message without that note is due again.

        Args:
            pages: per import, the page of its asset.
        """
        due: dict[tuple[str, bool, str], list[tuple[Recipient, Entry]]] = {}
        for entry in self._entries.values():
            for recipient in [] if entry.closed else recipients_of(entry.import_name, entry.imports):
                ended = entry.ended_at is not None and _recovers(entry, recipient)
                if _is_due(entry, recipient, now):
                    group = entry.group or entry.cause or f"{entry.kind}\0{entry.reason}"
                    due.setdefault((recipient.name, ended, group), []).append((recipient, entry))
        links = Links(ui_url, pages, environment)
        return [message_of(parts, ended, links) for ended, parts in few(due)]

    def sent(self, message: Message, now: datetime) -> None:
        """Notes that the recipient knows."""
        for place, items in message.places:
            entry = self._entries.get(place)
            if entry is None:
                continue
            told = entry.told.setdefault(message.recipient.name, Told())
            if message.ended:
                told.ended = now
            else:
                told.at, told.items, told.times, told.ended = now, items, told.times + 1, None
            self._changed[place] = None

    def close(self, recipients_of: RecipientsOf, now: datetime) -> None:
        """Closes alerts that have ended and whose end everyone knows; deletes them a day later."""
        for place, entry in list(self._entries.items()):
            if entry.ended_at is None:
                continue
            recipients = recipients_of(entry.import_name, entry.imports)
            if not entry.closed and not any(_is_due(entry, recipient, now) for recipient in recipients):
                entry.closed = True
                self._changed[place] = None
            if entry.closed and now - entry.ended_at > KEPT:
                del self._entries[place]
                self._changed[place] = None


def _is_due(entry: Entry, recipient: Recipient, now: datetime) -> bool:
    """Whether the recipient is to be told of the alert's present state."""
    told = entry.told.get(recipient.name, Told())
    tells = entry.kind in recipient.kinds
    if entry.ended_at is None:
        if told.at is None:
            return tells and (told.ended is None or _is_over(told.ended, QUIET, now))
        grown = len(entry.items) > told.items
        return tells and grown and _is_over(told.at, min(QUIET * 2 ** (told.times - 1), LONGEST_QUIET), now)
    if _recovers(entry, recipient):
        held_back = tells and told.at is None and told.ended is not None
        return not held_back and (told.ended is None or told.ended < entry.since)
    return tells and told.at is None and told.ended is None  # it ended before its message could be sent


def _is_over(since: datetime, span: timedelta, now: datetime) -> bool:
    """Whether so much time has passed; also where `since` lies in the future, because the clock was ahead then."""
    return not since <= now < since + span


def _recovers(entry: Entry, recipient: Recipient) -> bool:
    return entry.kind in WITH_RECOVERY and entry.kind in recipient.recoveries
