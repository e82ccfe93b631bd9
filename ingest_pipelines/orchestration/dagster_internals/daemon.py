"""Dagster's daemon, with code servers that are started again when they die or hang.

Dagster's own daemon replaces its code server every minute, so one that is killed is missed for as long.

Waits for: a public module to run with `python -m`, as `dagster` and `dagster_webserver` are, and a daemon that starts
its own code servers again. The program `dagster-daemon` is public, and is not always beside the Python that runs us.
If the module or the class of its workspace goes: `ingest up` says that dagster-daemon ended by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagster._daemon import cli, controller

from ingest_pipelines.orchestration.dagster_internals.code_servers import keep_code_servers

DAEMON = ("-c", "from ingest_pipelines.orchestration.daemon import main; main()  # dagster._daemon", "run")
"""Arguments for Python; the workspace's follow. The comment is for people who look for the daemon among processes."""

_MAKES_THE_WORKSPACE = "WorkspaceProcessContext"
"""The class by which the daemon starts code servers."""


def run(note: Callable[[str], None]) -> None:
    """Runs until the process is told to stop, with the options of `dagster-daemon`.

    Args:
        note: called with the location's name when its code server is started again.
    """
    make_workspace: Callable[..., Any] = getattr(controller, _MAKES_THE_WORKSPACE)

    def make_watched_workspace(*arguments: Any, **options: Any) -> Any:
        workspace = make_workspace(*arguments, **options)
        keep_code_servers(workspace, note)
        return workspace

    setattr(controller, _MAKES_THE_WORKSPACE, make_watched_workspace)
    cli.main()
