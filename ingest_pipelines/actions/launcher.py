"""Runs imports in this process for a person, each as a Dagster run that the UI shows like any other."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest_pipelines.config import Settings
    from ingest_pipelines.orchestration.runs.launch import RunResult


class Launcher:
    """Runs imports one after another in this process, with one Dagster instance."""

    def __init__(self, site: Any, instance: Any, by: str) -> None:
        self.site = site
        self._instance = instance
        self._by = by

    def __call__(self, name: str, **choice: Any) -> RunResult:
        """Loads the import in a run of its own; see `orchestration.runs.launch.run_import`."""
        from ingest_pipelines.orchestration.runs.launch import run_import

        return run_import(self.site, self._instance, name, by=self._by, **choice)

    def failed_items(self, name: str) -> list[str | None]:
        """Keys of items to load again, oldest first; see `orchestration.runs.launch.failed_items`."""
        from ingest_pipelines.orchestration.runs.launch import failed_items

        return [item.key for item in failed_items(self.site, self._instance, name)]


@contextmanager
def launching(settings: Settings, project: Any, by: str, tell: Callable[[str], None]) -> Iterator[Launcher]:
    """A launcher for the project; Dagster's own log goes to its run storage, not to the terminal.

    Args:
        by: who requests the runs, as user@host.
        tell: gets what a run waits for.
    """
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints the libraries' warnings
    from ingest_pipelines.merge.kept_session import KEPT
    from ingest_pipelines.merge.target import WAITS
    from ingest_pipelines.orchestration.instance import command_instance
    from ingest_pipelines.orchestration.site import Site

    if not WAITS.handlers:
        WAITS.addHandler(_Notes(tell))
    site = Site(settings, project)
    _ = site.target  # fails first, with a message, if there is no database to load into
    with KEPT.keeping(), command_instance(settings) as instance:
        yield Launcher(site, instance, by)


class _Notes(logging.Handler):
    """Passes on what the run waits for."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


def user() -> str:
    """Who runs the command, for the ledger: `ann@laptop`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
