"""No server outlives its test run, and a server that does not start says why."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ingest_pipelines_tests.processes import words_of
from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown, accepts


@dataclass(frozen=True)
class WebServer:
    port: int
    pid: int


def launch(fleet: Fleet, folder: Path) -> Launched:
    port = fleet.free_port()
    process = fleet.spawn(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)], folder, lambda: accepts(port)
    )
    return Launched(WebServer(port, process.pid), process.pid)


def launch_nothing(fleet: Fleet, folder: Path) -> Launched:
    process = fleet.spawn([sys.executable, "-c", "print('no such luck')"], folder, lambda: False)
    return Launched(WebServer(0, process.pid), process.pid)


OWNER = f"""
import sys
from {__name__} import Fleet, WebServer, launch
fleet = Fleet.assemble()
server = fleet.ask("web", WebServer, launch)
print(fleet.folder, server.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def own_fleet() -> Iterator[Fleet]:
    fleet = Fleet.assemble()
    yield fleet
    fleet.disband()


def test_a_server_starts_once_for_all_who_ask(own_fleet: Fleet) -> None:
    server = own_fleet.ask("web", WebServer, launch)
    assert Fleet(own_fleet.folder).ask("web", WebServer, launch_nothing) == server
    assert accepts(server.port)


def test_a_disbanded_fleet_leaves_no_process_and_no_file(own_fleet: Fleet) -> None:
    server = own_fleet.ask("web", WebServer, launch)
    own_fleet.disband()
    psutil.wait_procs([process for process in psutil.process_iter() if process.pid == server.pid], timeout=10)
    assert not psutil.pid_exists(server.pid)
    assert not own_fleet.folder.exists()


def test_a_server_that_does_not_start_fails_everyone_with_its_own_words(own_fleet: Fleet) -> None:
    for fleet in (own_fleet, Fleet(own_fleet.folder)):
        with pytest.raises(ServerDown, match="no such luck"):
            fleet.ask("web", WebServer, launch_nothing)


def test_servers_end_though_their_run_was_killed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    folder, port = owner.stdout.readline().split()
    guard = next(child for child in psutil.Process(owner.pid).children() if "guard" in words_of(child))
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    psutil.wait_procs([guard], timeout=20)
    assert not accepts(int(port))
    assert not Path(folder).exists()
