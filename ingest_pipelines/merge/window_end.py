"""What may be read for good: by the target's clock as well as by this machine's, which may be ahead or set back."""

from __future__ import annotations

from datetime import datetime

from ingest_pipelines import ledger
from ingest_pipelines.errors import WindowNotEnded
from ingest_pipelines.merge.target import Target
from ingest_pipelines.model import Item


def earlier_time(target: Target, item: Item, now: datetime) -> datetime:
    """The time that a drain of a cursor goes by: the earlier one of this machine's clock and the target's.

    A cursor passes dates and timestamps only once they are over. A clock that is ahead would let it pass a day that
    still gets rows, and no later drain would read them.

    Args:
        now: the time by this machine's clock; other items than drains get it back.
    """
    if item.kind != "cursor":
        return now
    with target.session(f"import {item.import_name}, item {item.key}") as connection:
        return min(now, ledger.target_time(connection))


def require_ended_window(target: Target, item: Item, now: datetime) -> None:
    """Passes if the item is no window, or its window has ended. Asked before a row is read.

    A committed window is not read again by itself: the rows that come after a read that was too early would be lost.

    Args:
        now: the time by this machine's clock.

    Raises:
        WindowNotEnded (retryable): the window goes on by the target's clock. This machine's clock is ahead, or it was
            ahead when the window was asked for, and was set back since.
    """
    if item.window_end is None:
        return
    with target.session(f"import {item.import_name}, item {item.key}") as connection:
        by_target = ledger.target_time(connection)
    if by_target >= item.window_end:
        return
    ahead = (now - by_target).total_seconds()
    clock = (
        f"this machine's clock is {ahead:,.0f} s ahead of the target's"
        if now >= item.window_end
        else "this machine's clock was set back after the window was asked for"
    )
    raise WindowNotEnded(
        f"import {item.import_name}, item {item.key}: its window goes on until "
        f"{item.window_end:%Y-%m-%d %H:%M:%S} UTC: {clock}",
        hint=f"nothing was read; set the clock, then run: ingest run {item.import_name} --item {item.key}",
    )
