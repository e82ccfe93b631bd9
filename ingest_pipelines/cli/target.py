"""The ledger, as reading commands reach it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import Settings


@contextmanager
def ledger_of(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection to the target with its ledger in place; commits at the end.

    Without INGEST_DATABASE_URL it is the embedded server: the one that runs, or one for the length of the block.

    Raises:
        TargetUnavailable, TargetRefused: no answer, or no permission.
    """
    from ingest_pipelines.config import Project
    from ingest_pipelines.orchestration.site import Site

    with Site(settings, Project(settings.home)).target.session() as connection:
        yield connection


def now() -> datetime:
    """This moment, with its zone."""
    return datetime.now(UTC)
