"""Waiting for a condition, never for a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator


def pauses(longest: float) -> Iterator[None]:
    """A step each time to look at what is waited for, with a pause before each but the first.

    Looks take time from what is waited for: a pause is as long as the look before it and a tenth of the wait so far, at
    least 20 ms; the tenth is at most `longest`.
    """
    began = time.monotonic()
    while True:
        looks = time.monotonic()
        yield
        now = time.monotonic()
        time.sleep(max(0.02, now - looks, min((now - began) / 10, longest)))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Returns once the condition holds."""
    deadline = time.monotonic() + seconds
    for _ in pauses(longest=0.2):
        if condition():
            return
        assert time.monotonic() < deadline, "it never became true"


def until_it(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Returns once the condition holds; a process that ended before fails the test with its own words."""

    def holds_or_ended() -> object:
        return condition() or process.poll() is not None

    until(holds_or_ended)
    assert process.poll() is None, process.communicate()
