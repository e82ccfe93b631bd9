"""Serves the studio with uvicorn: this machine only, unless a proxy proves itself."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from ingest_pipelines.config import Settings
from ingest_pipelines.config.settings import read_studio_access, read_ui_hosts
from ingest_pipelines.errors import UsageError

HOST = "127.0.0.1"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
STOP_SECONDS = 1
"""How long open pages get when the studio ends: each keeps a connection, and opens it again by itself."""


def serve(settings: Settings, host: str, port: int, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        port: 0: any free one.
        ready: called with the address once the studio listens.

    Raises:
        UsageError: the port is taken, or the host is not of this machine and there is no proxy secret.
    """
    from ingest_pipelines.studio.app import make_app

    access = read_studio_access()
    if host not in LOOPBACK and access.proxy_secret is None:
        raise UsageError(
            f"the studio has no login, so it does not listen at {host}",
            hint="put a proxy with a login before it and set INGEST_STUDIO_PROXY_SECRET_FILE in both: docs/studio.md",
        )
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"the studio cannot listen at {host}, port {port}: {error.strerror}",
                hint="choose another port: ingest studio --port 8080",
            ) from None
        listener.listen(128)
        ready(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        app = make_app(settings, access, read_ui_hosts(), lambda: server.should_exit)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS, lifespan="on",
        )  # fmt: skip
        server = _StudioServer(config)
        server.run(sockets=[listener])


class _StudioServer(uvicorn.Server):
    """A server that returns after a signal.

    uvicorn's own lets the signal end the process then, before an embedded Postgres is stopped.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the serving, and nothing else."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
