"""The daemon replaces its code server when the project or the code changed, and not every minute.

Dagster's daemon starts another code server every minute, whatever changed: of a thousand imports that is ten seconds of
a core each time, and a YAML that was edited waits for the minute. A code server of our own module is replaced within
a second of a change, and at the latest after LONGEST_SECONDS, which gives back the memory of its ticks. With a location
of others among them, all are replaced every minute, as Dagster does: their files are not known.

Waits for: a daemon that reloads a location whose files changed, and leaves the others alone.
If `DagsterDaemonController.check_workspace_freshness` or `THREAD_CHECK_INTERVAL` goes: the daemon does not start, and
says which.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from typing import Any

from dagster._daemon import controller
from dagster._daemon.controller import RELOAD_WORKSPACE_INTERVAL, DagsterDaemonController

from ingest_pipelines.orchestration.dagster_internals.code_servers import MOST_SHARE
from ingest_pipelines.orchestration.dagster_internals.warm_launcher import origin_is_own_module

LONGEST_SECONDS = 900.0

LOOK_SECONDS = 0.5
"""Between two looks at the files; Dagster's daemon looks after its threads as often, not every five seconds."""

_LOG = logging.getLogger("ingest_pipelines.code_servers")


def replace_when_changed(stamp: Callable[[], Hashable]) -> None:
    """Replaces the daemon's method that looks whether its code servers are to be replaced, and how often it does.

    Args:
        stamp: changes with the files that a code server reads. Empty where the project cannot be read: then the code
            server stays.
    """
    every_minute = DagsterDaemonController.check_workspace_freshness
    looks = _Looks(stamp)

    def check_workspace_freshness(self: Any, last_workspace_update_time: float) -> float:
        entries = self._workspace_process_context.get_current_workspace().code_location_entries.values()
        if not all(origin_is_own_module(entry.origin) and entry.load_error is None for entry in entries):
            return every_minute(self, last_workspace_update_time)
        now = time.time()
        changed = looks.changed()
        if changed is None and now - last_workspace_update_time < LONGEST_SECONDS:
            return last_workspace_update_time
        due = now - RELOAD_WORKSPACE_INTERVAL - 1
        replaced_at = every_minute(self, due)
        if changed is not None and replaced_at > due:
            looks.loaded = changed
            _LOG.info("the project or the code changed; the daemon has loaded it again")
        return max(replaced_at, last_workspace_update_time)

    controller.THREAD_CHECK_INTERVAL = min(controller.THREAD_CHECK_INTERVAL, LOOK_SECONDS)  # type: ignore[assignment]
    DagsterDaemonController.check_workspace_freshness = check_workspace_freshness  # type: ignore[method-assign]


class _Looks:
    """Looks at the stamp. A change counts once two looks find the same: files are written one after the other.

    Attributes:
        loaded: the stamp of what the code server has loaded.
    """

    def __init__(self, stamp: Callable[[], Hashable]) -> None:
        self._stamp = stamp
        self._rests_until = float("-inf")
        self.loaded = self._before = stamp()

    def changed(self) -> Hashable | None:
        """The stamp, if it is not that of what was loaded, and stands still; else None."""
        if time.monotonic() < self._rests_until:
            return None
        began = time.thread_time()
        before, self._before = self._before, self._stamp()
        self._rests_until = time.monotonic() + (time.thread_time() - began) / MOST_SHARE - LOOK_SECONDS
        stands_still = bool(self._before) and self._before == before
        return self._before if stands_still and self._before != self.loaded else None
