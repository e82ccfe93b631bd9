"""Dagster's daemon, with code servers that are started again when they die or hang.

Dagster's own daemon replaces its code server every minute, so one that is killed is missed for as long; ours when the
project changed (`code_refresh`). Its threads wait by the clock of the day: once that is set back, they wait that much
longer, and so do sensors and schedules whose last tick now lies in the future.

Waits for: a public module to run with `python -m`, as `dagster` and `dagster_webserver` are, and a daemon that starts
its own code servers again. The program `dagster-daemon` is public, and is not always beside the Python that runs us.
If the module or the class of its workspace goes: `ingest up` says that dagster-daemon ended by itself.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any

from dagster._daemon import cli, controller

from ingest_pipelines.orchestration.dagster_internals.asset_job import fetch_jobs_when_used
from ingest_pipelines.orchestration.dagster_internals.code_refresh import replace_when_changed
from ingest_pipelines.orchestration.dagster_internals.code_servers import keep_code_servers
from ingest_pipelines.orchestration.dagster_internals.future_ticks import forget_future_ticks
from ingest_pipelines.orchestration.dagster_internals.kept_jobs import keep_jobs
from ingest_pipelines.orchestration.dagster_internals.queue_looks import look_often
from ingest_pipelines.orchestration.dagster_internals.standby import keep_one_ready
from ingest_pipelines.orchestration.dagster_internals.warm_launcher import MODULE, WarmRunLauncher, origin_is_own_module

DAEMON = ("-c", "from ingest_pipelines.orchestration.daemon import main; main()  # dagster._daemon", "run")
"""Arguments for Python; the workspace's follow. The comment is for people who look for the daemon among processes."""

_LOG = logging.getLogger("ingest_pipelines.daemon")

_MAKES_THE_WORKSPACE = "WorkspaceProcessContext"
"""The class by which the daemon starts code servers."""


def run(note: Callable[[str], None], serve_runs: Callable[[], object], stamp: Callable[[], Hashable]) -> None:
    """Runs until the process is told to stop, with the options of `dagster-daemon`.

    Args:
        note: called with the location's name when its code server is started again.
        serve_runs: called once if a run server may execute runs: dagster.yaml names its launcher, and this daemon
            starts the code server of our own module.
        stamp: of the files that a code server of our own module reads; see `replace_when_changed`.
    """
    make_workspace: Callable[..., Any] = getattr(controller, _MAKES_THE_WORKSPACE)

    def make_watched_workspace(*arguments: Any, **options: Any) -> Any:
        workspace = make_workspace(*arguments, **options)
        early = forget_future_ticks(workspace.instance, datetime.now(UTC))
        if early:
            _LOG.warning("the clock was ahead when these ticked last; they tick again now: %s", ", ".join(early))
        keep_code_servers(workspace, note)
        if isinstance(workspace.instance.run_launcher, WarmRunLauncher) and any(
            origin_is_own_module(entry.origin)
            for entry in workspace.get_current_workspace().code_location_entries.values()
        ):
            serve_runs()
        return workspace

    setattr(controller, _MAKES_THE_WORKSPACE, make_watched_workspace)
    look_often()
    replace_when_changed(stamp)
    keep_one_ready(MODULE)
    keep_jobs()
    fetch_jobs_when_used()
    cli.main()


def end_process(code: int, seconds: float) -> None:
    """Ends the daemon as SIGTERM does; with the exit code at once if its threads have not ended in time."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os._exit(code)
