"""What each look at an import's source shows, written to `ingest.source_checks`: sensors, schedules and runs look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.ledger.source_checks import SourceTrouble
from ingest_pipelines.orchestration.site import Site


def record_look(site: Site, bound: BoundImport, settling: Mapping[str, datetime] | None = None) -> None:
    """The source answered.

    Args:
        settling: paths of files that may still be changing, with when each was first seen in its present state; None:
            not looked for.
    """
    seen = None if settling is None else {path: since.isoformat() for path, since in settling.items()}
    with site.target.session() as connection:
        ledger.record_success(connection, bound.name, bound.connection_name, site.clock(), seen)


def record_failed_look(site: Site, bound: BoundImport, error: IngestError, since: datetime | None = None) -> None:
    """The source did not answer, or refused; errors of another kind are no look's and are ignored.

    A source that refuses the import's own query or file has answered: that is the item's failure.

    Args:
        since: when the look began.
    """
    if isinstance(error, SourceDenied) and error.step == "read":
        record_look(site, bound)
        return
    trouble = trouble_of(error)
    if trouble is None:
        return
    step = error.step if isinstance(error, SourceUnavailable | SourceDenied) else ""
    with site.target.session() as connection:
        ledger.record_trouble(
            connection,
            bound.name,
            bound.connection_name,
            site.clock(),
            trouble,
            step=step,
            error=error.message,
            since=since,
        )


def trouble_of(error: IngestError) -> SourceTrouble | None:
    """What is wrong with the source; None: nothing, the error has another cause."""
    if isinstance(error, SourceDenied):
        return "denied"
    if isinstance(error, SourceUnavailable):
        return "hung" if error.hung else "unreachable"
    return None
