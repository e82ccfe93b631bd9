"""Messages about alerts: one per recipient and cause, with a subject of few words and a body that says what next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest_pipelines.config.notify import SEVERITIES, AlertKind
from ingest_pipelines.orchestration.alerts.alert import TARGET, Entry, Place
from ingest_pipelines.orchestration.alerts.recipients import Recipient

NAMED = 10
"""Imports that a message lists; `ingest status` has them all."""

FEW = 5
"""More messages of one kind to one recipient at once become one."""


@dataclass(frozen=True)
class Message:
    """One message for one recipient, about one alert or several.

    Attributes:
        places: the alerts, each with the number of its items.
        ended: they have ended.
    """

    recipient: Recipient
    kind: AlertKind
    ended: bool
    places: tuple[tuple[Place, int], ...]
    title: str
    body: str

    @property
    def severity(self) -> str:
        """`failure`, `warning`, or `success` of what has ended."""
        return "success" if self.ended else SEVERITIES[self.kind]


def few(
    due: Mapping[tuple[str, bool, str], list[tuple[Recipient, Entry]]],
) -> Iterator[tuple[bool, list[tuple[Recipient, Entry]]]]:
    """The groups; of one recipient's, those of one kind become one where there are more than a few."""
    by_kind: dict[tuple[str, bool, str], list[list[tuple[Recipient, Entry]]]] = {}
    for (name, ended, _), parts in due.items():
        by_kind.setdefault((name, ended, _leading(parts).kind), []).append(parts)
    for (_, ended, _), groups in by_kind.items():
        if len(groups) > FEW:
            yield ended, [part for parts in groups for part in parts]
        else:
            yield from ((ended, parts) for parts in groups)


_LEADING: Sequence[AlertKind] = ("config", "source", "stuck", "failed", "late", "rejected", "volume", "columns")


def _leading(parts: Sequence[tuple[Recipient, Entry]]) -> Entry:
    """The alert that is the cause of the others, else the most severe; of these the oldest."""
    return min((entry for _, entry in parts), key=lambda entry: (_LEADING.index(entry.kind), entry.since))


@dataclass(frozen=True)
class Links:
    """What a message has beside its alerts: addresses of pages, and the name of the installation.

    Attributes:
        pages: per import, the page of its asset.
    """

    ui_url: str
    pages: Mapping[str, str]
    environment: str

    def to(self, entry: Entry) -> str:
        """The page with details: the run's, else the import's, else the UI."""
        if entry.run_id and entry.ended_at is None:
            return f"{self.ui_url}/runs/{entry.run_id}"
        return f"{self.ui_url}{self.pages.get(entry.import_name, '/')}"


def message_of(parts: Sequence[tuple[Recipient, Entry]], ended: bool, links: Links) -> Message:
    """The message about these alerts, which is for the recipient of the first."""
    first = _leading(parts)
    entries = [entry for _, entry in parts]
    kind: AlertKind = "recovered" if ended else first.kind
    what = _one(first, ended, links) if len(entries) == 1 else _many(first, entries, ended, links)
    prefix = f"[{links.environment}] " if links.environment else ""
    return Message(
        recipient=parts[0][0],
        kind=first.kind,
        ended=ended,
        places=tuple((entry.place, len(entry.items)) for entry in entries),
        title=f"{prefix}{kind}: {what[0]}",
        body=_joined(what[1]),
    )


def _one(entry: Entry, ended: bool, links: Links) -> tuple[str, Sequence[str]]:
    """Subject and lines of a message about one alert."""
    about = f"import {entry.import_name}" if entry.import_name else entry.cause
    concerned = _listed(entry.imports) if entry.imports and not entry.import_name else []
    more = f"; {_imports(entry.imports)}" if len(entry.imports) > 1 else ""
    if ended:
        span = _span(entry)
        lines = [about, "", f"recovered: {_was(entry)}, {span}", *concerned, "", links.to(entry)]
        return f"{entry.subject}: {_was(entry, short=True)} {span}{more}", lines
    lines = [
        about,
        f"item {entry.item}" if entry.item else "",
        "",
        entry.words,
        "",
        *concerned,
        "",
        f"next: {entry.next_step}" if entry.next_step else "",
        links.to(entry),
    ]
    return ": ".join(filter(None, [entry.subject, f"{entry.reason}{more}".lstrip("; ")])), lines


def _many(first: Entry, entries: Sequence[Entry], ended: bool, links: Links) -> tuple[str, Sequence[str]]:
    """Subject and lines of a message about several alerts."""
    names = list(dict.fromkeys(name for entry in entries for name in (entry.import_name, *entry.imports) if name))
    causes = list(dict.fromkeys(entry.group or entry.cause for entry in entries))
    common = f"{causes[0]}: " if len(causes) == 1 and causes[0] else ""
    reasons = {entry.reason for entry in entries}
    why = f": {first.reason}" if len(reasons) == 1 and first.reason and not ended else ""
    subject = f"{common}{_imports(names) if names else f'{len(entries)} alerts'}{why}"
    lines = [f"{common}{_imports(names)}" if names else "", ""]
    for entry in entries[:NAMED]:
        what = (
            f"{_was(entry)}, {_span(entry)}"
            if ended
            else f"{entry.kind}: {entry.reason or entry.words.split(chr(10))[0]}"
        )
        lines.append(f"  {entry.subject}: {what}")
    if len(entries) > NAMED:
        lines.append(f"  and {len(entries) - NAMED:,} more: ingest status")
    if not ended:
        lines += ["", first.words if len(reasons) == 1 else "", "", f"next: {first.next_step or 'ingest status'}"]
    return subject, [*lines, f"{links.ui_url}/"]


def _imports(names: Sequence[str]) -> str:
    return f"import {names[0]}" if len(names) == 1 else f"{len(names):,} imports"


def _listed(names: Sequence[str]) -> list[str]:
    """The imports, one a line, at most NAMED."""
    more = [f"  and {len(names) - NAMED:,} more: ingest status"] if len(names) > NAMED else []
    return [f"{_imports(names)}:", *(f"  {name}" for name in names[:NAMED]), *more]


_OVER: Mapping[AlertKind, tuple[str, str]] = {
    "failed": ("no item is broken any more", "failed"),
    "late": ("a delivery has come", "late"),
    "source": ("it answers again", "out of reach"),
    "config": ("the YAML has no mistake any more", "broken"),
    "stuck": ("it moves again", "stuck"),
}


def _was(entry: Entry, *, short: bool = False) -> str:
    long_words, short_words = _OVER.get(entry.kind, ("it is over", entry.kind))
    if short:
        return f"was {short_words}" if entry.kind != "failed" else "had failed"
    return "it answers again" if entry.cause == TARGET else long_words


def _span(entry: Entry) -> str:
    end = entry.ended_at or entry.since
    return f"from {entry.since:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC" if entry.since != end else "for a moment"


def _joined(lines: Sequence[str]) -> str:
    """The lines, with no more than one empty line between two."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()
