"""Anomaly checks of a delivery: is it in time, with the usual number of rows, and no more rejects than usual? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from statistics import median

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.imports import Volume, Window
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.errors import printable
from ingest_pipelines.ledger import Delivery, SourceCheck
from ingest_pipelines.orchestration.schedules.cron import crons_of
from ingest_pipelines.orchestration.schedules.ticks import ticks

COLUMNS_NAMED = 10
"""New columns that a check or a message names."""

FEWEST = 3
"""Earlier deliveries that a comparison needs."""

GRACE = 1.25
"""A delivery is late after this many of the longest usual pauses."""

LONGEST_WINDOW: Mapping[str, timedelta] = {
    "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31),
}  # fmt: skip
"""Without the changes of the clock."""

_TICKS = 60
_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)
RATE_FACTOR, RATE_FLOOR = 2.0, 0.01
"""Rejects are unusual above twice the usual share and one percentage point."""


@dataclass(frozen=True)
class Finding:
    """One check's result.

    Attributes:
        words: the result for people; never a row's value.
        numbers: for the UI to plot.
    """

    passed: bool
    words: str = ""
    numbers: Mapping[str, float | int] = field(default_factory=dict)


def expected_within(bound: BoundImport) -> timedelta | None:
    """How long after a delivery the next one is late; None where the import does not say when to expect one."""
    if bound.spec.late_after is not None:
        return bound.spec.late_after
    plan = bound.spec.schedule
    if plan is None or plan.dates:
        return None
    pause = longest_pause(plan, bound.spec.source.window)
    return None if pause is None else pause * GRACE


def longest_pause(plan: Schedule, window: Window | None) -> timedelta | None:
    """The longest usual time between two deliveries; None if the schedule does not have two ticks.

    A tick delivers only if a window has ended since the last one: where windows are longer than the schedule's
    intervals, a window is delivered at most one interval after its end.
    """
    interval = longest_interval(plan)
    if interval is None or window is None:
        return interval
    length = LONGEST_WINDOW[window.every]
    return interval if interval >= length else length + interval


def longest_interval(plan: Schedule) -> timedelta | None:
    """The longest time between two consecutive ticks, without the changes of the clock; None if there are not two."""
    if plan.every is not None:
        return plan.every
    some_ticks = islice(ticks(crons_of(plan), plan.timezone, _ANY_DAY), _TICKS)
    return max((after - before for before, after in pairwise(some_ticks)), default=None)


def last_delivery(bound: BoundImport, settled: datetime | None, check: SourceCheck | None) -> datetime | None:
    """When the import's source last delivered: a look that finds no row after the cursor is a delivery too.

    Args:
        settled: the end of the last load that committed or found nothing new.
        check: the last look at the source.
    """
    looked = check.succeeded_at if check is not None and bound.spec.source.cursor is not None else None
    return max((moment for moment in (settled, looked) if moment is not None), default=None)


def lateness(last: datetime | None, due: timedelta, now: datetime) -> Finding:
    """Whether the next delivery is overdue. An import without any delivery is not late."""
    if last is None:
        return Finding(True, "no delivery yet")
    age = now - last
    hours = {"hours_since_last": round(age / timedelta(hours=1), 2)}
    if age <= due:
        return Finding(True, "", hours)
    return Finding(
        False, f"the last delivery was at {last:%Y-%m-%d %H:%M} UTC; the next was due within {_duration(due)}", hours
    )


def volume(read: int, past: Sequence[Delivery], expected: Volume) -> Finding:
    """Whether the item has about as many rows as earlier items of its import."""
    if len(past) < FEWEST:
        return Finding(True, _too_few(past), {"rows": read})
    usual = median(delivery.read for delivery in past)
    numbers = {"rows": read, "usual_rows": usual}
    if expected.usual(read, usual):
        return Finding(True, "", numbers)
    return Finding(False, f"{read:,} rows; {usual:,.0f} are usual", numbers)


def reject_rate(read: int, rejected: int, past: Sequence[Delivery]) -> Finding:
    """Whether the share of rejected rows is no larger than usual."""
    share = rejected / read if read else 0.0
    if len(past) < FEWEST:
        return Finding(True, _too_few(past), {"rejected_percent": _percent(share)})
    usual = median(delivery.rejected / delivery.read if delivery.read else 0.0 for delivery in past)
    numbers = {"rejected_percent": _percent(share), "usual_percent": _percent(usual)}
    if share <= usual * RATE_FACTOR + RATE_FLOOR:
        return Finding(True, "", numbers)
    return Finding(False, f"{share:.1%} of the rows were rejected; {usual:.1%} is usual", numbers)


def new_columns(columns: Sequence[str]) -> Finding:
    """Whether the item had no column that its import's earlier items did not have."""
    distinct = list(dict.fromkeys(columns))
    if not distinct:
        return Finding(True, "", {"new_columns": 0})
    named = ", ".join(f"'{printable(column, 60)}'" for column in distinct[:COLUMNS_NAMED])
    more = f" and {len(distinct) - COLUMNS_NAMED:,} more" if len(distinct) > COLUMNS_NAMED else ""
    what = "a new column" if len(distinct) == 1 else f"{len(distinct):,} new columns"
    return Finding(False, f"{what}, not loaded: {named}{more}", {"new_columns": len(distinct)})


def _too_few(past: Sequence[Delivery]) -> str:
    return f"not compared: the import has only {len(past)} earlier deliveries"


def _percent(share: float) -> float:
    return round(share * 100, 3)


def _duration(due: timedelta) -> str:
    hours = due / timedelta(hours=1)
    return (
        f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} hours" if hours >= 1 else f"{hours * 60:.3g} minutes"
    )
