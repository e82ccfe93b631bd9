"""The settings, project, target and clock of a process, which its ops, sensors, schedules and commands share."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from ingest_pipelines import embedded
from ingest_pipelines.config import BoundImport, Project, Settings
from ingest_pipelines.config.settings import read_database_url
from ingest_pipelines.merge import Target
from ingest_pipelines.model import ItemKey, Workspace
from ingest_pipelines.orchestration.early_loads import EarlyLoads
from ingest_pipelines.owner_only import private_folder, private_state

TARGET_DATABASE = "ingest"
DAGSTER_DATABASE = "dagster"
"""Databases of the embedded Postgres."""

Stage = str
"""`land`, `validate` or `merge`."""

_servers = ExitStack()
atexit.register(_servers.close)


def _silent(stage: Stage) -> None:
    """Ignores the stage."""


def _silent_rows(rows: int, expected: int) -> None:
    """Ignores the progress."""


def utc_now() -> datetime:
    """The time, with zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Asked:
    """The run that this process launched and executes itself, as `ingest run` does.

    Attributes:
        by: who requested it, as user@host.
        forced: the item is applied although it is stale, shrunk or brings nothing new.
    """

    run_id: str
    item: ItemKey
    by: str
    forced: bool


@dataclass(frozen=True)
class Site:
    """The settings, project, target and clock of a process. The project's imports are where the settings place them.

    Attributes:
        watch: called with each stage as it begins.
        watch_rows: called while rows are validated: how many so far, and of about how many; 0: that is not known.
        clock: the time, with zone.
        asked: the run that a command executes in this process.
        early_loads: loads that the validate op opened and the merge op will commit.
        read_at: when the project was read; by default now.
    """

    settings: Settings
    project: Project
    watch: Callable[[Stage], None] = _silent
    watch_rows: Callable[[int, int], None] = _silent_rows
    clock: Callable[[], datetime] = utc_now
    asked: Asked | None = None
    early_loads: EarlyLoads = field(default_factory=EarlyLoads, compare=False, repr=False)
    read_at: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "project", self.project.placed(self.settings.placement))
        if self.read_at is None:
            object.__setattr__(self, "read_at", self.clock())

    @property
    def in_process(self) -> bool:
        """Whether the process that validates an item's rows also loads them."""
        return self.settings.executor == "in_process"

    def bound(self, graph: str) -> BoundImport:
        """The import whose asset's graph has that name."""
        return self._by_graph[graph]

    @cached_property
    def _by_graph(self) -> dict[str, BoundImport]:
        return {bound.asset_name: bound for bound in self.project.imports.values()}

    @cached_property
    def target_as_it_is(self) -> Target:
        """The target Postgres, maybe without a ledger; the embedded one if no other is named."""
        return Target(target_url(self.settings), self.settings.lock_timeout_seconds)

    @cached_property
    def target(self) -> Target:
        """The target Postgres with an up-to-date ledger."""
        self.target_as_it_is.migrate()
        return self.target_as_it_is

    def workspace(self, run_id: str) -> Workspace:
        """Folders for one run's files."""
        private_state(self.settings.state)
        spool, spill = private_folder(self.settings.spool), private_folder(self.settings.spill)
        return Workspace(spool=private_folder(spool / run_id), spill=private_folder(spill / run_id))


def target_url(settings: Settings) -> str:
    """The URL of the target Postgres, password included: not for messages or logs.

    The embedded server is kept running until this process ends.

    Raises:
        ConfigError: the variable that holds it is not set.
    """
    return read_database_url(settings) or embedded_server(settings).ensure_database(TARGET_DATABASE)


def embedded_server(settings: Settings) -> embedded.Server:
    """The embedded server, kept running until this process ends."""
    return _servers.enter_context(embedded.running(settings.state))
