"""A tick's look at a cursor's source: a drain that would load nothing is not begun.

Each drain is an item, a partition and a run. One per tick of a quiet source would fill the lists that people read, and
push out the partitions that hold rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from ingest_pipelines import pipeline
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.connections import QueryConnection
from ingest_pipelines.errors import SourceUnavailable
from ingest_pipelines.orchestration.monitoring.source_looks import record_look
from ingest_pipelines.orchestration.schedules.query_items import NewDrain, find_new_drain
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.bounded import Worker

PATIENCE_SECONDS = 15.0
"""A tick waits so long for a look. It has sixty seconds, but Dagster runs few at a time."""

ANSWER_SECONDS = 10.0
"""Time for the login, and for each answer. A session that is slower ends by itself: nothing goes on behind the tick."""

REMEMBERED_SECONDS, SHARE = 60.0, 0.1
"""A connection that did not answer within the last minute gets this share of the time."""


@dataclass
class CursorLooks:
    """Looks at the sources of cursor imports, which share what is known of their connections.

    A source that hangs is waited for by one tick, and its other imports do not make the ticks of other sources late.
    """

    _unanswered: dict[str, float] = field(default_factory=dict)

    def find_nothing_new(self, site: Site, bound: BoundImport) -> bool:
        """Whether the source has nothing to load after the cursor; the ledger then has the look.

        False where that is not known: an earlier drain is not settled, or the source does not answer, or something is
        wrong. The run that the tick then requests waits longer, and tells what it is.

        Raises:
            TargetUnavailable: the next tick looks again.
        """
        new_drain = find_new_drain(site, bound)
        if new_drain is None:
            return False
        name = bound.connection_name
        before = self._unanswered.get(name)
        is_slow = before is not None and time.monotonic() - before < REMEMBERED_SECONDS
        try:
            nothing_new = _look(new_drain, bound, SHARE if is_slow else 1.0)
        except SourceUnavailable:
            self._unanswered[name] = time.monotonic()
            return False
        except Exception:  # a bug too: the run is the one to fail
            return False
        self._unanswered.pop(name, None)
        if nothing_new:
            record_look(site, bound)
        return nothing_new


def _look(new_drain: NewDrain, bound: BoundImport, share: float) -> bool:
    connection, seconds = bound.connection, ANSWER_SECONDS * share
    assert isinstance(connection, QueryConnection)
    limits = {
        "retries": 0,
        "timeout_seconds": min(connection.timeout_seconds, seconds),
        "query_timeout_seconds": min(connection.query_timeout_seconds, seconds),
    }
    bounded = replace(bound, connection=connection.model_copy(update=limits))
    worker = Worker(f"look at {bound.connection_name}")
    try:
        return worker.call(
            lambda: pipeline.has_nothing_new(new_drain.item, bounded, new_drain.committed),
            PATIENCE_SECONDS * share,
            f"connection {bound.connection_name}",
        )
    finally:
        worker.stop()
