"""Dagster's webserver behind our guard: `python -m ingest_pipelines.orchestration.webserver` and Dagster's options."""

from __future__ import annotations

from functools import partial

from ingest_pipelines.config import read_settings
from ingest_pipelines.config.settings import read_ui_hosts
from ingest_pipelines.orchestration.dagster_internals.webserver import serve
from ingest_pipelines.orchestration.monitoring.deaths import code_server_died
from ingest_pipelines.orchestration.serving.guard import Guard
from ingest_pipelines.owner_only import take_private_umask


def main() -> None:
    """Serves until the process is told to stop.

    Raises:
        ConfigError: INGEST_UI_URL is no address.
    """
    take_private_umask()
    hosts = read_ui_hosts()
    serve(lambda app: Guard(app, hosts), partial(code_server_died, read_settings().state, "the webserver"))


if __name__ == "__main__":
    main()
