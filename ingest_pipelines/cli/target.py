"""The ledger, as reading commands reach it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import Settings
    from ingest_pipelines.merge import Target


@contextmanager
def ledger_of(settings: Settings, *, writes: bool = False) -> Iterator[psycopg.Connection]:
    """A transaction in the target, for its ledger; commits at the end.

    Without INGEST_DATABASE_URL it is the embedded server: the one that runs, or one for the length of the block.

    Args:
        writes: the ledger is made where there is none; else nothing is made, and nothing is in it.

    Raises:
        TargetUnavailable, TargetDenied, TargetForbids: no answer, no login, or no permission.
    """
    target = target_of(settings, writes=writes)
    with target.session() if writes else target.ledger() as connection:
        yield connection


def target_of(settings: Settings, *, writes: bool = False) -> Target:
    """The target, with its ledger in place if somebody `writes`."""
    from ingest_pipelines.config import Project
    from ingest_pipelines.orchestration.site import Site

    site = Site(settings, Project(settings.home))
    return site.target if writes else site.target_as_it_is


def now() -> datetime:
    """This moment, with its zone."""
    return datetime.now(UTC)
