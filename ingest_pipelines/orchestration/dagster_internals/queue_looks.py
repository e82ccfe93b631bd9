"""The daemon looks into the run queue five times a second, at the cost of one small query while the queue is empty.

Dagster's interval is a whole number of seconds, and its daemon waits in steps of half a second: a run waited 0.5 s on
average, about as long as it takes. While runs wait, two counts tell whether one came, started or ended: only then, and
once a second, Dagster reads all of them, with all of their tags, to choose the next ones.

Waits for: a `dequeue_interval_seconds` below 1, or a queue that is told of a new run.
If `QueuedRunCoordinatorDaemon`, its `core_loop` or its `run_iteration` go: the daemon does not start, and says which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from ingest_pipelines.orchestration.dagster_internals.retry_order import ACTIVE_RUN_STATUSES

LOOK_SECONDS = 0.2

WHOLE_LOOK_SECONDS = 1.0
"""At the latest after this, all queued runs are read: a pool may have become free, or a run's time to wait be over."""

_QUEUED = RunsFilter(statuses=[DagsterRunStatus.QUEUED])
_IN_PROGRESS = RunsFilter(statuses=ACTIVE_RUN_STATUSES)


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

    looks = Looks()

    def if_runs_wait(self: Any, workspace: Any, **options: Any) -> Iterator[Any]:
        if looks.is_due(workspace.instance):
            yield from run_iteration(self, workspace, **options)

    QueuedRunCoordinatorDaemon.core_loop = often  # type: ignore[method-assign, assignment]
    QueuedRunCoordinatorDaemon.run_iteration = if_runs_wait  # type: ignore[method-assign, assignment]


class Looks:
    """When all queued runs are to be read again.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counts = (0, 0)
        self._looked = float("-inf")

    def is_due(self, instance: DagsterInstance) -> bool:
        """Whether runs wait, and something happened since the last look, or that was long ago."""
        queued = instance.get_runs_count(_QUEUED)
        if not queued:
            self._counts = (0, 0)
            return False
        before, self._counts = self._counts, (queued, instance.get_runs_count(_IN_PROGRESS))
        now = self._clock()
        if before == self._counts and now - self._looked < WHOLE_LOOK_SECONDS:
            return False
        self._looked = now
        return True


class _WithoutRepetitions(logging.Filter):
    """Drops what was logged just before: that the queue waits for runs in progress."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        before, self._last = self._last, record.getMessage()
        return self._last != before
