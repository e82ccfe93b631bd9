"""The daemon looks into the run queue five times a second, at the cost of one small query while the queue is empty.

Dagster's interval is a whole number of seconds, and its daemon waits in steps of half a second: a run waited 0.5 s on
average, about as long as it takes.

Waits for: a `dequeue_interval_seconds` below 1, or a queue that is told of a new run.
If `QueuedRunCoordinatorDaemon`, its `core_loop` or its `run_iteration` go: the daemon does not start, and says which.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Event
from typing import Any

from dagster import DagsterRunStatus, RunsFilter
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

LOOK_SECONDS = 0.2

_QUEUED = RunsFilter(statuses=[DagsterRunStatus.QUEUED])


class _Impatient:
    """The daemon's event that ends it, for which nobody waits longer than until the next look."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def wait(self, timeout: float) -> bool:
        """Whether the daemon is to end."""
        return self._event.wait(min(timeout, LOOK_SECONDS))


def look_often() -> None:
    """Replaces methods of the daemon's part that takes runs from the queue."""
    core_loop, run_iteration = QueuedRunCoordinatorDaemon.core_loop, QueuedRunCoordinatorDaemon.run_iteration

    def often(self: Any, workspace: Any, shutdown_event: Event) -> Iterator[Any]:
        self.interval_seconds = min(self.interval_seconds, LOOK_SECONDS)
        self._logger.addFilter(_WithoutRepetitions())
        yield from core_loop(self, workspace, _Impatient(shutdown_event))  # type: ignore[arg-type]

    def if_runs_wait(self: Any, workspace: Any, **options: Any) -> Iterator[Any]:
        if workspace.instance.get_runs_count(_QUEUED):
            yield from run_iteration(self, workspace, **options)

    QueuedRunCoordinatorDaemon.core_loop = often  # type: ignore[method-assign, assignment]
    QueuedRunCoordinatorDaemon.run_iteration = if_runs_wait  # type: ignore[method-assign, assignment]


class _WithoutRepetitions(logging.Filter):
    """Drops what was logged just before: that the queue waits for runs in progress."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        before, self._last = self._last, record.getMessage()
        return self._last != before
