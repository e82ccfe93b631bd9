"""Which alerts to send, and which were sent: what is wrong is told once, and its end is told once. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.notify import AlertKind, Notify

TARGET = ""
"""In place of an import's name: the target itself."""

_WITH_RECOVERY: Collection[AlertKind] = ("failed", "late")


@dataclass(frozen=True)
class Route:
    """Where a message goes.

    Attributes:
        name: of the secret that holds the address; the address itself is shown nowhere.
    """

    name: str
    address: Secret
    kinds: frozenset[AlertKind]


def routes_of(notify: Iterable[Notify]) -> list[Route]:
    """One route per address, with everything that it wants to be told."""
    found: dict[str, Route] = {}
    for entry in notify:
        name = entry.to.env or str(entry.to.file)
        known = found.get(name, Route(name, entry.to, frozenset()))
        found[name] = Route(name, entry.to, known.kinds | set(entry.on))
    return list(found.values())


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now.

    Attributes:
        words: what happened; no row's value.
        next_step: what to type.
        run_id: the run whose page shows more.
    """

    import_name: str
    kind: AlertKind
    words: str
    item: str = ""
    next_step: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Message:
    """One alert for one route."""

    route: Route
    import_name: str
    kind: AlertKind
    about: AlertKind
    title: str
    body: str


@dataclass
class _Entry:
    """A condition as it was first seen.

    Attributes:
        told: routes that know of it.
        over: it ended, and is forgotten when everybody who wants to know that does.
        relieved: routes that know of its end.
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
    """What is wrong and who knows it. Lives in the sensor's cursor, between one tick and the next."""

    def __init__(self, entries: Mapping[tuple[str, AlertKind], _Entry] | None = None, seen_load: int = 0) -> None:
        self._entries = dict(entries or {})
        self.seen_load = seen_load

    @classmethod
    def read(cls, cursor: str | None) -> AlertBook:
        """The book that `write` wrote; an empty one where there is none, or a person has edited it beyond reading."""
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
        """Whether the condition was there at the last tick."""
        entry = self._entries.get((import_name, kind))
        return entry is not None and not entry.over

    def open_since(self, import_name: str, kind: AlertKind) -> datetime | None:
        """When the condition was first seen; None where it is not there."""
        if not self.is_open(import_name, kind):
            return None
        return datetime.fromisoformat(self._entries[import_name, kind].since)

    def update(
        self, conditions: Iterable[Condition], now: datetime, unsure: Collection[tuple[str, AlertKind]] = ()
    ) -> None:
        """What is wrong now stands in the book; what is not any more is over.

        Args:
            unsure: conditions that nobody could look at this time; they stay as they are.
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
            elif entry.over:  # it is back before everybody knew that it was gone: nothing new to tell
                entry.over, entry.relieved = False, []
        for place, entry in self._entries.items():
            if place not in present and place not in unsure:
                entry.over = True

    def messages(
        self, routes: Mapping[str, Sequence[Route]], ui_url: str, pages: Mapping[str, str]
    ) -> Iterator[Message]:
        """What is still to be told. Each is marked by `sent`; what could not be sent comes again.

        Args:
            routes: per import.
            pages: per import, the page of its asset.
        """
        for (name, kind), entry in self._entries.items():
            page = f"{ui_url}{pages.get(name, '/')}"
            for route in routes.get(name, ()):
                if not entry.over and kind in route.kinds and route.name not in entry.told:
                    yield _alarm(route, name, kind, entry, f"{ui_url}/runs/{entry.run_id}" if entry.run_id else page)
                elif (
                    entry.over
                    and kind in _WITH_RECOVERY
                    and "recovered" in route.kinds
                    and route.name not in entry.relieved
                ):
                    yield _relief(route, name, kind, entry, page)

    def sent(self, message: Message) -> None:
        """The route knows."""
        entry = self._entries[message.import_name, message.about]
        (entry.relieved if message.kind == "recovered" else entry.told).append(message.route.name)

    def forget_what_is_over(self, routes: Mapping[str, Sequence[Route]]) -> None:
        """Conditions whose end everybody knows who wants to know it."""
        for place, entry in list(self._entries.items()):
            waiting = [
                route
                for route in routes.get(place[0], ())
                if place[1] in _WITH_RECOVERY and "recovered" in route.kinds and route.name not in entry.relieved
            ]
            if entry.over and not waiting:
                del self._entries[place]


def _alarm(route: Route, name: str, kind: AlertKind, entry: _Entry, link: str) -> Message:
    lines = [
        f"import {name}" if name else "all imports",
        f"item {entry.item}" if entry.item else "",
        "",
        entry.words,
        "",
        f"next: {entry.next_step}" if entry.next_step else "",
        link,
    ]
    return Message(route, name, kind, kind, f"{kind}: {name or 'the target'}", _joined(lines))


def _relief(route: Route, name: str, kind: AlertKind, entry: _Entry, page: str) -> Message:
    was = f"it was {kind}" if kind == "late" else "it had failed"
    lines = [
        f"import {name}" if name else "all imports",
        "",
        f"well again: {was} since {entry.since.replace('T', ' ')}"
        + (f", with item {entry.item}" if entry.item else ""),
        "",
        page,
    ]
    return Message(route, name, "recovered", kind, f"recovered: {name or 'the target'}", _joined(lines))


def _joined(lines: Sequence[str]) -> str:
    """The lines, with no more than one empty line between two."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()
