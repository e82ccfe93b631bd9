"""Whether what came is what usually comes: in time, as many rows, as few rejects. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from statistics import median

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.imports import Volume
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.ledger import Delivery
from ingest_pipelines.orchestration.schedules.cron import crons_of
from ingest_pipelines.orchestration.schedules.ticks import ticks

FEWEST = 3
"""Deliveries before which nothing is usual."""

GRACE = 1.25
"""A delivery is late after so many of the schedule's longest pauses."""

_TICKS = 60
_SOMEDAY = datetime(2026, 1, 1, tzinfo=UTC)
RATE_FACTOR, RATE_FLOOR = 2.0, 0.01
"""More rejects than usual: over twice the usual share, and a percent more than it."""


@dataclass(frozen=True)
class Finding:
    """One check's answer.

    Attributes:
        words: what a person reads; never a row's value.
        numbers: what the UI plots.
    """

    passed: bool
    words: str = ""
    numbers: Mapping[str, float | int] = field(default_factory=dict)


def due_within(bound: BoundImport) -> timedelta | None:
    """How long after a delivery the next one must have come; None where nobody said when to expect it."""
    if bound.spec.late_after is not None:
        return bound.spec.late_after
    plan = bound.spec.schedule
    if plan is None or plan.dates:
        return None
    return longest_pause(plan) * GRACE


def longest_pause(plan: Schedule) -> timedelta:
    """The longest time between two ticks that follow each other, give or take the changes of the clock."""
    if plan.every is not None:
        return plan.every
    some_ticks = islice(ticks(crons_of(plan), plan.timezone, _SOMEDAY), _TICKS)
    return max(after - before for before, after in pairwise(some_ticks))


def lateness(last: datetime | None, due: timedelta, now: datetime) -> Finding:
    """Whether the next delivery is missed. An import that never had one is not late yet."""
    if last is None:
        return Finding(True, "nothing has been delivered yet")
    age = now - last
    hours = {"hours_since_last": round(age / timedelta(hours=1), 2)}
    if age <= due:
        return Finding(True, "", hours)
    return Finding(False, f"nothing came since {last:%Y-%m-%d %H:%M} UTC, and it was due within {_said(due)}", hours)


def volume(read: int, past: Sequence[Delivery], expected: Volume) -> Finding:
    """Whether the item has about as many rows as items of its import have."""
    if len(past) < FEWEST:
        return Finding(True, f"{len(past)} items before it: nothing is usual yet", {"rows": read})
    usual = median(delivery.read for delivery in past)
    numbers = {"rows": read, "usual_rows": usual}
    if expected.usual(read, usual):
        return Finding(True, "", numbers)
    return Finding(False, f"{read:,} rows, and {usual:,.0f} are usual", numbers)


def reject_rate(read: int, rejected: int, past: Sequence[Delivery]) -> Finding:
    """Whether no larger share of rows than usual was rejected."""
    share = rejected / read if read else 0.0
    if len(past) < FEWEST:
        return Finding(
            True, f"{len(past)} items before it: nothing is usual yet", {"rejected_percent": _percent(share)}
        )
    usual = median(delivery.rejected / delivery.read if delivery.read else 0.0 for delivery in past)
    numbers = {"rejected_percent": _percent(share), "usual_percent": _percent(usual)}
    if share <= usual * RATE_FACTOR + RATE_FLOOR:
        return Finding(True, "", numbers)
    return Finding(False, f"{share:.1%} of the rows were rejected, and {usual:.1%} is usual", numbers)


def _percent(share: float) -> float:
    return round(share * 100, 3)


def _said(due: timedelta) -> str:
    hours = due / timedelta(hours=1)
    return (
        f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} hours" if hours >= 1 else f"{hours * 60:.3g} minutes"
    )
