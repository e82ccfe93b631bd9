"""`ingest up`: starts the embedded Postgres, the webserver and the daemon, and ends them with itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from ingest_pipelines import embedded
from ingest_pipelines.config import Settings
from ingest_pipelines.config.settings import child_environment, secrets_in_files
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.orchestration.dagster_internals.daemon import DAEMON
from ingest_pipelines.orchestration.instance import HERE, dagster_home, open_instance
from ingest_pipelines.orchestration.serving.orphans import Claim, Watcher, alone, end_groups
from ingest_pipelines.orchestration.site import TARGET_DATABASE
from ingest_pipelines.owner_only import PRIVATE_UMASK, open_private

HOST = "127.0.0.1"
"""The webserver has no login, so it serves this machine only. docs/deploy.md puts a login in front of it."""

PORTS = range(3000, 3100)
START_SECONDS = 120.0


class _Stop(Exception):
    """A signal asked this process to stop."""


@dataclass(frozen=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]


def up(
    settings: Settings, *, port: int | None = None, ready: Callable[[str], None], tell: Callable[[str], None]
) -> int:
    """Serves until Ctrl-C or SIGTERM. Its processes have ended when it returns, or soon after it is killed.

    Args:
        port: of the webserver; by default the first free one from 3000.
        ready: called with the URL once it answers.
        tell: gets messages about processes of an earlier, killed one.

    Returns:
        0 after a signal.

    Raises:
        UsageError: the port is taken, or another `ingest up` uses the state folder.
        IngestError: a process did not start, or ended by itself.
    """
    with _signals_stop(), contextlib.ExitStack() as stack:
        try:
            claim = stack.enter_context(alone(settings.state, tell))
            stack.enter_context(secrets_in_files(settings.state / "secrets"))
            own_server = settings.database_url is None or settings.dagster_url is None
            watcher = stack.enter_context(contextlib.closing(Watcher(settings.state, embedded_server=own_server)))
            if own_server:
                server = stack.enter_context(embedded.running(settings.state))
                server.ensure_database(TARGET_DATABASE)
            open_instance(settings).dispose()  # creates the tables once, before two processes try to at the same time
            chosen = stack.enter_context(_free_port(port))
            children: list[_Child] = []
            stack.callback(_stop, children)
            for child in _start(settings, chosen, claim):
                children.append(child)
                watcher.watch(child.process.pid)
                claim.serves(child.process.pid)
            _wait_until_it_answers(chosen, children)
            claim.at(f"http://{HOST}:{chosen}")
            ready(f"http://{HOST}:{chosen}")
            _watch(children)
        except _Stop:
            return 0
    return 0


def _start(settings: Settings, port: int, claim: Claim) -> Iterator[_Child]:
    home = dagster_home(settings)
    environment = child_environment(settings, home, f"http://{HOST}:{port}")
    workspace = ["-w", str(HERE / "workspace.yaml")]
    for name, words in (
        (
            "dagster-webserver",
            ["-m", "ingest_pipelines.orchestration.webserver", "-h", HOST, "-p", str(port), *workspace],
        ),
        ("dagster-daemon", [*DAEMON, *workspace]),
    ):
        with open_private(home / f"{name}.log", "a") as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=[claim.inherited], umask=PRIVATE_UMASK,
            )  # fmt: skip
        yield _Child(name, process)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until_it_answers(port: int, children: Sequence[_Child]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        _complain_about_dead(children)
        if _answers(port):
            return
        time.sleep(0.1)
    raise IngestError(f"the webserver did not answer on port {port} within {START_SECONDS:.0f} s")


def _watch(children: Sequence[_Child]) -> None:
    while True:
        _complain_about_dead(children)
        time.sleep(0.5)


def _complain_about_dead(children: Sequence[_Child]) -> None:
    for child in children:
        if child.process.poll() is not None:
            raise IngestError(
                f"{child.name} ended by itself with exit code {child.process.returncode}",
                hint=f"its log is {child.name}.log in the folder that DAGSTER_HOME names, else in .ingest/dagster",
            )


def _stop(children: Sequence[_Child]) -> None:
    """Ends every child, with all processes that it started."""
    groups = [child.process.pid for child in children]
    end_groups(groups, lambda: all(child.process.poll() is not None for child in children))
    for child in children:
        child.process.wait()


@contextlib.contextmanager
def _free_port(wanted: int | None) -> Iterator[int]:
    """A free port, reserved against every other `ingest up` of this user during the block.

    Without the reservation a second `ingest up` could choose the same port before the webserver listens on it, and each
    would take the other's answer for its own.
    """
    for port in PORTS if wanted is None else (wanted,):
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                if sys.platform == "linux":  # a name in the kernel: no file, and gone with its socket
                    claim.bind(f"\0ingest-up-{os.getuid()}-{port}")
                _prove_free(port)
            except OSError:
                continue
            yield port
            return
    taken = f"port {wanted} is" if wanted is not None else f"all ports from {PORTS.start} to {PORTS.stop - 1} are"
    raise UsageError(f"{taken} taken", hint="choose another: ingest up --port 8080")


def _prove_free(port: int) -> None:
    """Raises OSError if something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """SIGINT and SIGTERM end the block instead of the process. A second signal does not interrupt the clean-up."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise _Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
