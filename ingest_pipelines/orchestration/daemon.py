"""Dagster's daemon, with its code servers and a run server: `python -m ingest_pipelines.orchestration.daemon run`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ingest_pipelines.config import read_settings
from ingest_pipelines.config.current_project import Stamp, stamp_of
from ingest_pipelines.orchestration.clock_watch import CLOCK_SET_BACK, watch_clock
from ingest_pipelines.orchestration.dagster_internals.daemon import end_process, run
from ingest_pipelines.orchestration.monitoring.deaths import code_server_died
from ingest_pipelines.orchestration.run_server.keep import RunServers
from ingest_pipelines.orchestration.warm_imports import changed_at, imported_files
from ingest_pipelines.owner_only import take_private_umask

END_SECONDS = 10.0
"""How long its threads may take to end."""

_LOG = logging.getLogger("ingest_pipelines.daemon")


def main() -> None:
    """Runs until the process is told to stop, or the clock was set back: then it is to be started again."""
    set_back: list[float] = []

    def end(seconds: float) -> None:
        set_back.append(seconds)
        _LOG.warning(
            "the clock was set back by %.0f s; this daemon would wait that long, so it ends to be started again",
            seconds,
        )
        end_process(CLOCK_SET_BACK, END_SECONDS)

    take_private_umask()
    watch_clock(end)
    settings = read_settings()
    servers = RunServers(settings.state)
    try:
        run(
            partial(code_server_died, settings.state, "the daemon"),
            servers.start,
            partial(_stamp, settings.home, _code()),
        )
    finally:
        servers.close()
        if set_back:
            sys.exit(CLOCK_SET_BACK)


def _code() -> tuple[str, ...]:
    """The files of the code that this process has imported: an upgrade of the package writes them anew."""
    return tuple(sorted(imported_files()))


def _stamp(home: Path, code: Sequence[str]) -> tuple[Stamp, tuple[int, ...]] | tuple[()]:
    """Changes with the project and with the code. Empty where there is no project."""
    project = stamp_of(home)
    return (project, tuple(map(changed_at, code))) if project else ()


if __name__ == "__main__":
    main()
