"""`ingest up`: starts Postgres, the webserver, the studio, the daemon and the watcher, and ends them with itself.

A child that ends by itself is started again, after a pause that grows, and the watcher reports it. If one ends again
and again, `ingest up` gives up. The daemon ends by itself, too, when the clock was set back.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from types import FrameType

from ingest_pipelines import embedded
from ingest_pipelines.config import Settings
from ingest_pipelines.config.settings import child_environment, secrets_in_files
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.orchestration.clock_watch import CLOCK_SET_BACK
from ingest_pipelines.orchestration.dagster_internals.daemon import DAEMON
from ingest_pipelines.orchestration.instance import HERE, dagster_home, open_instance
from ingest_pipelines.orchestration.monitoring.deaths import note_death
from ingest_pipelines.orchestration.monitoring.health import Death
from ingest_pipelines.orchestration.serving.orphans import Claim, Reaper, alone, end_groups, signal_group
from ingest_pipelines.orchestration.site import TARGET_DATABASE
from ingest_pipelines.owner_only import PRIVATE_UMASK, open_private

HOST = "127.0.0.1"
"""The webserver has no login, so it serves this machine only. docs/deploy.md puts a login in front of it."""

PORTS = range(3000, 3100)
WATCHER_PORTS = range(3100, 3200)
STUDIO_PORTS = range(3200, 3300)
START_SECONDS = 120.0

STUDIO = "ingest-studio"
"""The child that nothing else needs: if it ends again and again, the others go on."""

MOST_DEATHS = 5
DEATHS_WITHIN_SECONDS = 300.0
"""A child that ends by itself so often within that time has a cause that starting it again does not change."""

FIRST_PAUSE_SECONDS = 0.5
"""Before a child is started again; doubled each time."""


class _Stop(Exception):
    """A signal asked this process to stop."""


@dataclass
class _Child:
    """A process that is started again when it ends by itself.

    Attributes:
        words: arguments for Python.
        deaths: when it ended by itself, by the clock that never goes back.
    """

    name: str
    words: Sequence[str]
    process: subprocess.Popen[bytes]
    deaths: list[float] = field(default_factory=list)

    @property
    def dispensable(self) -> bool:
        """Whether imports load without it."""
        return self.name == STUDIO

    @property
    def log(self) -> str:
        """The name of its log file in Dagster's folder."""
        return f"{self.name}.log"


def up(
    settings: Settings, *, port: int | None = None, ready: Callable[[str, str, str], None], tell: Callable[[str], None]
) -> int:
    """Serves until Ctrl-C or SIGTERM. Its processes have ended when it returns, or soon after it is killed.

    Args:
        port: of the webserver; by default the first free one from 3000.
        ready: called with the URLs of webserver, watcher and studio, once the webserver answers; the last one is ""
            if what the studio needs is not installed.
        tell: gets messages about processes of an earlier, killed one, and about children that are started again.

    Returns:
        0 after a signal.

    Raises:
        UsageError: the port is taken, or another `ingest up` uses the state folder.
        IngestError: a process did not start, or ended by itself again and again.
    """
    with _signals_stop(), contextlib.ExitStack() as stack:
        try:
            claim = stack.enter_context(alone(settings.state, tell))
            stack.enter_context(secrets_in_files(settings.state / "secrets"))
            own_server = settings.database_url is None or settings.dagster_url is None
            reaper = stack.enter_context(contextlib.closing(Reaper(settings.state, embedded_server=own_server)))
            if own_server:
                server = stack.enter_context(embedded.running(settings.state))
                server.ensure_database(TARGET_DATABASE)
            open_instance(settings).dispose()  # creates the tables once, before two processes try to at the same time
            chosen = stack.enter_context(_free_port(PORTS if port is None else (port,)))
            watched = stack.enter_context(_free_port(WATCHER_PORTS))
            studio = stack.enter_context(_free_port(STUDIO_PORTS)) if has_studio() else None
            family = _Family(settings, f"http://{HOST}:{chosen}", claim, reaper)
            stack.callback(family.stop)
            for name, words in _commands(chosen, watched, studio).items():
                family.start(name, words)
            family.wait_until(lambda: _answers(chosen))
            claim.at(f"http://{HOST}:{chosen}")
            ready(f"http://{HOST}:{chosen}", f"http://{HOST}:{watched}", f"http://{HOST}:{studio}" if studio else "")
            family.keep(tell)
        except _Stop:
            return 0
    return 0


def has_studio() -> bool:
    """Whether the extra `studio` is installed."""
    return all(find_spec(name) is not None for name in ("jinja2", "starlette", "uvicorn"))


def _commands(port: int, watcher_port: int, studio_port: int | None) -> Mapping[str, Sequence[str]]:
    """Arguments for Python of every child, by name."""
    workspace = ["-w", str(HERE / "workspace.yaml")]
    url = f"http://{HOST}:{port}"
    watcher = ["watch", "--host", HOST, "--port", str(watcher_port), "--webserver", url]
    return {
        "dagster-webserver": [
            "-m", "ingest_pipelines.orchestration.webserver", "-h", HOST, "-p", str(port), *workspace
        ],
        "dagster-daemon": [*DAEMON, *workspace],
        "ingest-watcher": ["-c", "from ingest_pipelines.cli import main; main()  # ingest watch", *watcher],
        **({STUDIO: ["-m", "ingest_pipelines.studio", "--port", str(studio_port)]} if studio_port else {}),
    }  # fmt: skip


class _Family:
    """The children of this process.

    What a dead child started may go on: its code server ends by itself, and not before its runs have ended. These
    processes are bereft: they end with `ingest up`, as the children do.
    """

    def __init__(self, settings: Settings, url: str, claim: Claim, reaper: Reaper) -> None:
        self._state, self._claim, self._reaper = settings.state, claim, reaper
        self._home = dagster_home(settings)
        self._environment = child_environment(settings, self._home, url)
        self._children: list[_Child] = []
        self._bereft: list[int] = []

    def start(self, name: str, words: Sequence[str]) -> None:
        """Starts one more child."""
        self._children.append(_Child(name, words, self._launch(name, words)))

    def _launch(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with open_private(self._home / f"{name}.log", "a") as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                env=self._environment, cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, pass_fds=[self._claim.inherited], umask=PRIVATE_UMASK,
            )  # fmt: skip
        self._reaper.watch(process.pid)
        self._claim.serves(process.pid)
        return process

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Waits for the webserver.

        Raises:
            IngestError: it does not answer in time, or a child ended.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for child in self._children:
                if child.process.poll() is not None and not child.dispensable:
                    raise _ended(child)
            if answers():
                return
            time.sleep(0.1)
        raise IngestError(f"the webserver did not answer within {START_SECONDS:.0f} s")

    def keep(self, tell: Callable[[str], None]) -> None:
        """Starts children again that end by themselves, for ever.

        Raises:
            IngestError: one ends again and again.
        """
        while True:
            for child in list(self._children):
                if child.process.poll() is not None:
                    self._start_again(child, tell)
            for group in [group for group in self._bereft if not signal_group(group, 0)]:
                self._bereft.remove(group)
                self._reaper.forget(group)
            time.sleep(0.2)

    def _start_again(self, child: _Child, tell: Callable[[str], None]) -> None:
        now = time.monotonic()
        child.deaths = [*(death for death in child.deaths if now - death < DEATHS_WITHIN_SECONDS), now]
        if len(child.deaths) >= MOST_DEATHS:
            if not child.dispensable:
                raise _ended(child)
            self._children.remove(child)
            tell(f"{_ended(child).message}; it is not started again, imports load without it")
            return
        how = _how(child.process.returncode)
        tell(f"{child.name} {how} and is started again; its log: {self._home / child.log}")
        note_death(self._state, Death(child.name, datetime.now(UTC), how))
        self._bereft.append(child.process.pid)
        time.sleep(FIRST_PAUSE_SECONDS * 2.0 ** (len(child.deaths) - 1))
        child.process = self._launch(child.name, child.words)

    def stop(self) -> None:
        """Ends every child, with all processes that it started."""
        groups = [*(child.process.pid for child in self._children), *self._bereft]

        def gone() -> bool:
            dead = all(child.process.poll() is not None for child in self._children)
            return dead and not any(signal_group(group, 0) for group in self._bereft)

        end_groups(groups, gone)
        for child in self._children:
            child.process.wait()


def _ended(child: _Child) -> IngestError:
    times = f", the {len(child.deaths)}th time within {DEATHS_WITHIN_SECONDS / 60:.0f} minutes" if child.deaths else ""
    return IngestError(
        f"{child.name} {_how(child.process.returncode)}{times}",
        hint=f"its log is {child.log} in the folder that DAGSTER_HOME names, else in .ingest/dagster",
    )


def _how(code: int | None) -> str:
    if code == CLOCK_SET_BACK:
        return "ended because the clock was set back"
    return f"ended by itself with {f'signal {-code}' if code is not None and code < 0 else f'exit code {code}'}"


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _free_port(ports: Sequence[int]) -> Iterator[int]:
    """The first free one of the ports, reserved against every other `ingest up` of this user during the block.

    Without the reservation a second `ingest up` could choose the same port before the webserver listens on it, and each
    would take the other's answer for its own.
    """
    for port in ports:
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                if sys.platform == "linux":  # a name in the kernel: no file, and gone with its socket
                    claim.bind(f"\0ingest-up-{os.getuid()}-{port}")
                _prove_free(port)
            except OSError:
                continue
            yield port
            return
    taken = f"port {ports[0]} is" if len(ports) == 1 else f"all ports from {ports[0]} to {ports[-1]} are"
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
