"""Sources that did not answer when they were last looked at, as `ingest status` shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ingest_pipelines.cli import screen

IMPORTS_SHOWN = 5
"""Imports that a connection's line names; `--json` has them all."""


def sources_text(lines: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Per connection that does not answer: since when, at which step, which imports wait, why, and what to type."""
    waiting: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        source = line["source"]
        if source is not None:
            waiting.setdefault((source["connection"], source["trouble"], source["step"]), []).append(line)
    if not waiting:
        return
    yield ""
    yield screen.painted("sources that do not answer", "bad")
    oldest_first = sorted(waiting.items(), key=lambda group: min(_since(line, now) for line in group[1]))
    for (connection, trouble, step), members in oldest_first:
        since = min(_since(line, now) for line in members)
        at = f" at step {step}" if step else ""
        names = _listed([line["import"] for line in members])
        title = f"{connection}: {trouble}{at} since {screen.moment(since)}, {screen.ago(since, now)}; waiting: {names}"
        yield f"  {screen.wrapped(title, 4)}"
        for text in str(members[0]["source"]["error"]).splitlines()[:1]:
            yield f"    {screen.wrapped(text.strip(), 4)}"
        yield f"    next: ingest check {members[0]['import']} --connect"


def _since(line: Mapping[str, Any], now: datetime) -> datetime:
    since: datetime | None = line["source"]["failing_since"]
    return since or now


def _listed(names: Sequence[str]) -> str:
    more = len(names) - IMPORTS_SHOWN
    return ", ".join(names[:IMPORTS_SHOWN]) + (f" and {more} more" if more > 0 else "")
