"""Waiting for a condition, never for a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Returns once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def until_it(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Returns once the condition holds; a process that ended before fails the test with its own words."""

    def holds_or_ended() -> object:
        return condition() or process.poll() is not None

    until(holds_or_ended)
    assert process.poll() is None, process.communicate()
