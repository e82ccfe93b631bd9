"""`ingest watch`: the watcher and its HTTP endpoint, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Event

from ingest_pipelines.config import Project, Settings
from ingest_pipelines.config.settings import read_ui_hosts
from ingest_pipelines.errors import UsageError
from ingest_pipelines.orchestration.monitoring.endpoint import serve
from ingest_pipelines.orchestration.monitoring.watcher import Watcher
from ingest_pipelines.orchestration.site import utc_now


def watch(
    settings: Settings, project: Project, *, host: str, port: int, webserver: str | None, ready: Callable[[str], None]
) -> int:
    """Watches until a signal; returns the exit code, 0.

    Args:
        webserver: the address of the Dagster UI, to see whether it answers; None: it is not looked at.
        ready: called with the address of the endpoint once it answers.

    Raises:
        UsageError: the port is taken, or the machine has no such address.
    """
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    watcher = Watcher(settings, project, webserver=webserver)
    try:
        server = serve(host, port, read_ui_hosts(), lambda: watcher.snapshot, utc_now)
    except OSError:
        raise UsageError(
            f"nothing can listen at {host}, port {port}: it is taken, or this machine has no such address",
            hint="choose another: ingest watch --port 3101",
        ) from None
    ready(f"http://{host}:{server.server_port}")
    watcher.run(stop)
    server.shutdown()
    return 0
