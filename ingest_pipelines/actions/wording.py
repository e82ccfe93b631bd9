"""Numbers, times and reasons as people read them, the same in the terminal and in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta


def number(value: int) -> str:
    """`20,000`."""
    return f"{value:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def counts_words(counts: Mapping[str, int]) -> str:
    """`3 rows read, 2 inserted, 1 rejected`: what became of the rows that a load read; what has none is left out."""
    others = [f"{number(counts[name])} {name}" for name in counts if name != "read" and counts[name]]
    return ", ".join([f"{plural(counts.get('read', 0), 'row')} read", *others])


def moment(when: datetime | None) -> str:
    """`24 Nov 23:12` in local time; with the year if it is not the current one."""
    if when is None:
        return "-"
    local = when.astimezone()
    same_year = local.year == datetime.now().astimezone().year
    return f"{local.day} {local:%b %H:%M}" if same_year else f"{local.day} {local:%b %Y %H:%M}"


def ago(when: datetime, now: datetime) -> str:
    """`3 h ago`: the largest unit that fits."""
    elapsed = now - when
    for unit, size in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if elapsed >= size:
            return f"{elapsed // size} {unit} ago"
    return "just now"


def why(field: str, reason: str) -> str:
    """`points: not a whole number`; a reason that names its fields itself stays as it is."""
    return reason if not field or reason.startswith(f"{field}:") else f"{field}: {reason}"
