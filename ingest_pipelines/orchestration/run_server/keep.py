"""The daemon keeps a run server: it starts another one when one ends, and waits for their runs when it ends itself."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

from ingest_pipelines.orchestration.monitoring.deaths import note_death
from ingest_pipelines.orchestration.monitoring.health import Death
from ingest_pipelines.orchestration.run_server.request import LEAVING

RUN_SERVER = ("-c", "from ingest_pipelines.cli.run_server import main; main()")
"""Arguments for Python."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
"""Before a run server is started again; doubled each time that one ends before it has served so long."""

BROKEN_PAUSE_SECONDS = 8.0
"""Nobody waits for a run server during such a pause: three have ended as soon as they had begun."""

_LOG = logging.getLogger("ingest_pipelines.run_server")

_kept: list[RunServers] = []
"""Those of this process."""


def is_kept() -> bool:
    """Whether this process keeps a run server that serves, or is about to."""
    return any(servers.are_well for servers in _kept)


class RunServers:
    """The run server of this process, and those before it whose runs have not ended."""

    def __init__(self, state: Path, start: Callable[[], subprocess.Popen[bytes]] | None = None) -> None:
        self._state, self._start = state, start or _start
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stop = Event()
        self._rests = False
        self._thread = Thread(target=self._keep, name="run-server", daemon=True)

    def start(self) -> None:
        """Starts one, and others after it, in a thread of its own."""
        self._thread.start()
        _kept.append(self)

    @property
    def are_well(self) -> bool:
        """Whether one serves, or will within seconds."""
        return not self._stop.is_set() and self._thread.is_alive() and not self._rests

    def close(self) -> None:
        """Ends them, once the runs that they started have ended."""
        self._stop.set()
        if self in _kept:
            _kept.remove(self)
        for process in list(self._processes):
            _close_input(process)
        for process in list(self._processes):
            process.wait()

    def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            begun = time.monotonic()
            process = self._start()
            self._processes = [*(earlier for earlier in self._processes if earlier.poll() is None), process]
            if self._stop.is_set():
                _close_input(process)
                return
            if not self._has_left(process):
                code = process.wait()
                if self._stop.is_set():
                    return
                _LOG.warning("the run server ended with exit code %d and is started again", code)
                how = f"ended by itself with exit code {code}"
                note_death(self._state, Death("run server", datetime.now(UTC), how))
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - begun > LONGEST_PAUSE_SECONDS else pause
            self._rests = pause >= BROKEN_PAUSE_SECONDS
            self._stop.wait(pause)
            self._rests = False
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _has_left(self, process: subprocess.Popen[bytes]) -> bool:
        """Waits until it takes no run any more: a file that it had imported changed. False: it died."""
        assert process.stdout is not None
        return any(line == LEAVING.encode() for line in process.stdout)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *RUN_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
