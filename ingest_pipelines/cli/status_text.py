"""The text of `ingest status`: imports by urgency, and their open items by reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingest_pipelines.actions.status import ORDER
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.reports import cleaned_words
from ingest_pipelines.cli.source_text import sources_text
from ingest_pipelines.model import item_name

GROUPS_SHOWN, ITEMS_SHOWN = 3, 3
"""Of an import's open items `ingest status` shows so many reasons, and of each reason so many items."""

_NEXT_COMMAND: Mapping[str, str] = {
    "invalid": "ingest check {}",
    "failed": "ingest status {}",
    "waiting": "ingest status {}",
    "completed_with_rejects": "ingest rejects list {}",
    "scheduled": "ingest run {}",
    "draft": "ingest activate {}",
    "paused": "ingest resume {}",
}


def status_text(lines: Sequence[dict[str, Any]], now: datetime) -> Iterator[str]:
    """Imports grouped by status, the most urgent first, each status with the command to type next.

    Within a status, imports with open items come first, the one with the oldest item at the top.
    """
    yield from sources_text(lines, now)
    for state in ORDER:
        members = sorted((line for line in lines if line["status"] == state), key=_age_of_oldest)
        if not members:
            continue
        yield ""
        command = _NEXT_COMMAND.get(state, "").format(members[0]["import"] if len(members) == 1 else "NAME")
        title = screen.painted(state.replace("_", " "), screen.STATUS_STYLES.get(state))
        yield f"{title}{f'    {command}' if command else ''}"
        if state == "invalid":
            yield from _mistakes(members)
        elif state != "removed":
            yield from screen.columns(_HEADER, [_cells(line, now) for line in members], right=range(2, 5))
        for line in members:
            yield from _open_text(line, now)


def _age_of_oldest(line: Mapping[str, Any]) -> tuple[bool, float, str]:
    oldest = line["open"][0]["since"].timestamp() if line["open"] else 0.0
    return not line["open"], oldest, line["import"]


_HEADER = ("import", "last load", "read", "changed", "rejected", "next")


def _cells(line: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    if line["load"] is None:
        return (line["import"], "never", "-", "-", "-", line["next"])
    changed = line["inserted"] + line["updated"]
    counts = (screen.number(rows) for rows in (line["read"], changed, line["rejected"]))
    return (line["import"], screen.ago(line["started_at"], now), *counts, line["next"])


@dataclass(frozen=True)
class _Group:
    """Open items of an import in one state and for one reason, the oldest first."""

    state: str
    items: tuple[Mapping[str, Any], ...]

    @property
    def command(self) -> str:
        """The next command, once for all of them."""
        first = self.items[0]
        if first["next_step"].startswith("ingest run "):
            return f"ingest run {first['import']} --failed"
        if len(self.items) > 1:
            return str(first["next_step"]).replace(f"--item {first['item']}", "--failed")
        return str(first["next_step"])


def _groups(line: Mapping[str, Any]) -> list[_Group]:
    """The import's open items by state and reason; reasons that differ only in numbers are one. The oldest first."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in line["open"]:
        reason = _NUMBERS.sub("#", _reason(item).partition("\n")[0])
        groups.setdefault((item["state"], reason), []).append(item)
    return [_Group(state, tuple(items)) for (state, _), items in groups.items()]


_NUMBERS = re.compile(r"\b[0-9a-f]{8}\b|\d[\d.,:-]*")


def _reason(item: Mapping[str, Any]) -> str:
    """The reason without the names of import and item, and without the next step, which stand beside it."""
    reason = str(item["reason"]).replace(f"; next: {item['next_step']}", "")
    for place in (f"import {item['import']}, item {item['item']}: ", f"import {item['import']}: "):
        reason = reason.removeprefix(place)
    return reason


def _counts(line: Mapping[str, Any]) -> str:
    """`12 windows failed, 1 settling`."""
    (state, count), *rest = line["open_counts"].items()
    first = f"{screen.plural(count, line['items'])} {state}"
    return ", ".join([first, *(f"{screen.number(count)} {state}" for state, count in rest)])


def _open_text(line: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """An import's open items: the counts, and per reason the oldest items and the next command."""
    if not line["open"]:
        return
    yield ""
    oldest = screen.ago(line["open"][0]["since"], now)
    title = f"{line['import']}: {_counts(line)}"
    yield f"  {screen.wrapped(f'{title}; the oldest {oldest}' if len(line['open']) > 1 else f'{title}, {oldest}', 4)}"
    groups = _groups(line)
    for group in groups[:GROUPS_SHOWN]:
        yield from _group_text(line, group, ITEMS_SHOWN)
    hidden = sum(len(group.items) for group in groups[GROUPS_SHOWN:])
    if hidden:
        yield f"    and {screen.number(hidden)} more: ingest status {line['import']}"
    if line["status"] == "failed":
        committed = line["committed_at"]
        yield (
            f"    the last committed load was {screen.ago(committed, now)}"
            if committed
            else "    nothing of this import is in the table yet"
        )


def _group_text(line: Mapping[str, Any], group: _Group, shown: int) -> Iterator[str]:
    yield from _reason_text(group, 4)
    names = [item_name(item["item"]) for item in group.items[:shown]]
    more = len(group.items) - len(names)
    listed = ", ".join(names) + (f" and {screen.number(more)} more: ingest status {line['import']}" if more else "")
    yield f"      {screen.wrapped(listed, 6)}"
    if group.command:
        yield f"      next: {group.command}"


def _reason_text(group: _Group, indent: int) -> Iterator[str]:
    """State and reason, whose further lines stand below it."""
    first, *rest = _reason(group.items[0]).splitlines() or [""]
    yield f"{' ' * indent}{screen.wrapped(f'{group.state}: {first.strip()}', indent + 2)}"
    for text in rest:
        yield f"{' ' * (indent + 2)}{screen.wrapped(text.strip(), indent + 2)}"


def import_text(line: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """Every open item of one import: per state and reason a table of items, and the next command."""
    title = screen.painted(str(line["status"]).replace("_", " "), screen.STATUS_STYLES.get(line["status"]))
    yield f"{screen.painted(line['import'], 'strong')}: {title}; next: {line['next']}"
    yield from sources_text([line], now)
    if words := cleaned_words(line["cleaned"]):
        yield f"  cells cleaned by load {line['load']}: {screen.wrapped(words, 4)}"
    if line["kept"]:
        kept = screen.plural(line["kept"], "unmatched row")
        yield f"  waiting for a profile: {kept}, the first until {screen.moment(line['kept_until'])}"
    if not line["open"]:
        yield "  no open item"
        return
    yield f"  {_counts(line)}"
    for group in _groups(line):
        yield ""
        yield from _reason_text(group, 2)
        rows = [(item["item"], screen.moment(item["since"]), item["run_id"][:8] or "-") for item in group.items]
        yield from screen.columns(("item", "since", "run"), rows)
        if group.command:
            yield f"  next: {group.command}"


def _mistakes(members: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for line in members:
        for mistake in str(line["error"]).splitlines():
            yield f"  {screen.wrapped(mistake, 4)}"
