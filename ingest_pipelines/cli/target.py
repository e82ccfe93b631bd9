"""The ledger, as reading commands reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest_pipelines.errors import IngestError

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import Settings
    from ingest_pipelines.config.bound import Filled
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


@dataclass(frozen=True)
class Live:
    """What the ledger says of imports that have loaded.

    Attributes:
        types: the type that each field got from its first load, per database.
        locks: the mapping that each import is locked to: {source column: (field, type)}.
        unknown: why nothing is known, where the target does not answer; "" where it does, or there is none yet.
    """

    types: Mapping[str, Mapping[str, Filled]] = field(default_factory=dict)
    locks: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    unknown: str = ""


def live_of(settings: Settings) -> Live:
    """What imports that have loaded leave no choice about. Asks the target, and makes nothing there."""
    from ingest_pipelines import ledger
    from ingest_pipelines.config.bound import Filled
    from ingest_pipelines.merge import Target
    from ingest_pipelines.orchestration.site import target_url

    if settings.database_url is None and not (settings.state / "postgres" / "data").exists():
        return Live()
    try:
        with Target(target_url(settings)).session() as connection:
            found = connection.execute("SELECT to_regclass('ingest.fields'), to_regclass('ingest.imports')").fetchone()
            if found is None or None in found:
                return Live()
            types: dict[str, dict[str, Filled]] = {}
            for known in ledger.all_fields(connection):
                types.setdefault(known.database, {})[known.field] = Filled(known.type, known.created_by)
            states = ledger.list_imports(connection)
    except IngestError as error:
        return Live(unknown=error.message)
    return Live(types, {name: state.mapping for name, state in states.items() if state.mapping is not None})


def now() -> datetime:
    """This moment, with its zone."""
    return datetime.now(UTC)
