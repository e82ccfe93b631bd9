"""Alerts that an earlier version kept in the cursor of the sensor `alerts`: taken over once, and not repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from ingest_pipelines.config.notify import SEVERITIES, AlertKind
from ingest_pipelines.orchestration.alerts.alert import TARGET, Entry, Told


def entries_of_cursor(cursor: str | None) -> list[Entry]:
    """The alerts in the cursor; none if there is no cursor, or a person has edited it."""
    try:
        kept: dict[str, Any] = json.loads(cursor or "{}")
        return list(_entries(kept.get("open", [])))
    except (ValueError, TypeError, AttributeError, KeyError):
        return []


def _entries(kept: list[tuple[str, str, dict[str, Any]]]) -> Iterator[Entry]:
    for name, kind, alert in kept:
        if kind not in SEVERITIES:
            continue
        since = datetime.fromisoformat(alert["since"])
        told = {recipient: Told(at=since, items=1, times=1) for recipient in alert.get("told", [])}
        for recipient in alert.get("relieved", []):
            told[recipient] = Told(ended=since)
        item = str(alert.get("item", ""))
        yield Entry(
            name, cast(AlertKind, kind), "" if name else TARGET, since, since if alert.get("over") else None,
            words=str(alert.get("words", "")), item=item, next_step=str(alert.get("next_step", "")),
            run_id=str(alert.get("run_id", "")), items=[item] if item and kind == "failed" else [], told=told,
        )  # fmt: skip
