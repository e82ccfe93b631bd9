"""Notices that the machine's clock was set back: whatever waits for a time of day then waits that much longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

SET_BACK_SECONDS = 30.0
"""A clock that is set back by less holds up nothing for longer than one tick of a sensor."""

CHECK_SECONDS = 1.0

CLOCK_SET_BACK = 75
"""The exit code of a process that ends because of it, and wants to be started again."""


class ClockWatch:
    """Compares the clock of the day with one that is never set back.

    Args:
        day: seconds since 1970, as people set them.
        steady: seconds since any moment.
    """

    def __init__(self, day: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._day, self._steady = day, steady
        self._ahead = self._difference()

    def set_back_by(self) -> float:
        """By how many seconds the clock of the day is behind where it would be had nobody set it back."""
        now = self._difference()
        self._ahead = max(self._ahead, now)
        return self._ahead - now

    def _difference(self) -> float:
        """Both clocks at one moment: a process that stands still between two readings reads them once more."""
        while True:
            before, day, after = self._steady(), self._day(), self._steady()
            if after - before < CHECK_SECONDS:
                return day - after


def watch_clock(act: Callable[[float], None], clock: ClockWatch | None = None, stop: Event | None = None) -> Thread:
    """Calls `act` once, on a thread of its own, when the clock was set back by more than half a minute.

    Args:
        act: gets by how many seconds.
        stop: ends the thread.
    """
    clock, stop = clock or ClockWatch(), stop or Event()

    def watch() -> None:
        while not stop.wait(CHECK_SECONDS):
            seconds = clock.set_back_by()
            if seconds > SET_BACK_SECONDS:
                act(seconds)
                return

    thread = Thread(target=watch, name="clock", daemon=True)
    thread.start()
    return thread
