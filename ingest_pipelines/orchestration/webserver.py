"""Dagster's webserver behind our guard: `python -m ingest_pipelines.orchestration.webserver` and Dagster's options."""

from __future__ import annotations

from functools import partial

from ingest_pipelines.config import read_settings
from ingest_pipelines.config.current_project import stamp_of
from ingest_pipelines.config.settings import read_ui_hosts
from ingest_pipelines.orchestration.dagster_internals.webserver import serve
from ingest_pipelines.orchestration.monitoring.deaths import code_server_died
from ingest_pipelines.orchestration.serving.guard import Guard
from ingest_pipelines.owner_only import take_private_umask

DEFINITIONS = "ingest_pipelines.definitions"
"""The module that every workspace.yaml of ours names. It reads the project."""


def main() -> None:
    """Serves until the process is told to stop.

    Raises:
        ConfigError: INGEST_UI_URL is no address.
    """
    take_private_umask()
    hosts, settings = read_ui_hosts(), read_settings()
    serve(
        lambda app: Guard(app, hosts),
        partial(code_server_died, settings.state, "the webserver"),
        DEFINITIONS,
        partial(stamp_of, settings.home),
    )


if __name__ == "__main__":
    main()
