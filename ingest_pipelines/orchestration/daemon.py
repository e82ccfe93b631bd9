"""Dagster's daemon, which starts its code server again: `python -m ingest_pipelines.orchestration.daemon run`."""

from __future__ import annotations

from functools import partial

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.dagster_internals.daemon import run
from ingest_pipelines.orchestration.monitoring.deaths import code_server_died
from ingest_pipelines.owner_only import take_private_umask


def main() -> None:
    """Runs until the process is told to stop."""
    take_private_umask()
    run(partial(code_server_died, read_settings().state, "the daemon"))


if __name__ == "__main__":
    main()
