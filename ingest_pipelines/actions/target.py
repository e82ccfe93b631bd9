"""How commands open the target and its ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest_pipelines.errors import ConfigError, IngestError, TargetRefused, TargetUnavailable, UsageError

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.config import Settings
    from ingest_pipelines.config.bound import Filled
    from ingest_pipelines.merge import Target


@contextmanager
def ledger_of(settings: Settings, *, writes: bool = False) -> Iterator[psycopg.Connection]:
    """A transaction in the target, for its ledger; commits at the end.

    Without INGEST_DATABASE_URL it is the embedded server, which is started for the length of the block if it is not
    running.

    Args:
        writes: creates the ledger if there is none; otherwise a missing ledger reads as empty.

    Raises:
        TargetUnavailable, TargetDenied, TargetForbids: no answer, no login, or no permission.
    """
    target = target_of(settings, writes=writes)
    with target.session() if writes else target.ledger() as connection:
        yield connection


def require_known(settings: Settings, name: str) -> None:
    """The project has the import, or the ledger knows it from earlier.

    Raises:
        UsageError, ConfigError: neither does, or the project does not and the ledger is out of reach.
    """
    from ingest_pipelines import ledger
    from ingest_pipelines.config import read_project

    project = read_project(settings.home)
    try:
        project.require(name)
    except (UsageError, ConfigError) as unknown:
        try:
            with ledger_of(settings) as connection:
                known = ledger.has_history(connection, name)
        except (TargetUnavailable, TargetRefused):
            known = False
        if not known:
            raise unknown from None


def target_of(settings: Settings, *, writes: bool = False) -> Target:
    """The target; `writes` creates its ledger if there is none."""
    from ingest_pipelines.config import Project
    from ingest_pipelines.orchestration.site import Site

    site = Site(settings, Project(settings.home))
    return site.target if writes else site.target_as_it_is


@dataclass(frozen=True)
class Live:
    """Field types and mapping locks of imports that have loaded, from the ledger.

    Attributes:
        types: per database, the type that each field got from its first load.
        locks: the mapping that each import is locked to: {source column: (field, type)}.
        unknown: why the target could not be asked; "" if it answered, or if there is none yet.
    """

    types: Mapping[str, Mapping[str, Filled]] = field(default_factory=dict)
    locks: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    unknown: str = ""


def live_of(settings: Settings) -> Live:
    """Field types and mapping locks, read from the target; creates nothing there."""
    from ingest_pipelines import ledger
    from ingest_pipelines.config.bound import Filled
    from ingest_pipelines.merge import Target
    from ingest_pipelines.orchestration.site import target_url

    if settings.database_url is None and not (settings.state / "postgres" / "data").exists():
        return Live()
    try:
        with Target(target_url(settings)).session() as connection:
            tables = connection.execute("SELECT to_regclass('ingest.fields'), to_regclass('ingest.imports')").fetchone()
            if tables is None or None in tables:
                return Live()
            types: dict[str, dict[str, Filled]] = {}
            for field_state in ledger.all_fields(connection):
                filled = Filled(field_state.type, field_state.created_by)
                types.setdefault(field_state.database, {})[field_state.field] = filled
            states = ledger.list_imports(connection)
    except IngestError as error:
        return Live(unknown=error.message)
    return Live(types, {name: state.mapping for name, state in states.items() if state.mapping is not None})


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)
