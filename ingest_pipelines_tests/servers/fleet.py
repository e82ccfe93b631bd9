"""The real servers of one test run: each started once, when the first test asks for it, and shared by all workers.

A run owns a folder. A server's `<name>.json` in it says that the server is up, and what ends it; the file lock
beside it makes sure that one worker starts it while the others wait. The first pytest process (under xdist: the
controller) ends all servers and removes the folder. Should that process be killed, a `guard` notices and does it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Facts = TypeVar("Facts", bound=DataclassInstance)
else:
    Facts = TypeVar("Facts")

_ROOT = Path(__file__).resolve().parents[2]
"""Servers of our own are modules below it."""

_PATIENCE = 120.0
"""Seconds until a server that is not ready fails its tests."""


class ServerDown(Exception):
    """A server did not start; the message ends with what it said."""


@dataclass(frozen=True)
class Launched:
    """A server that accepts connections.

    Attributes:
        facts: a dataclass of JSON values: what tests need to know.
        pid: its process.
        group: whether the process leads a group of its own, to be signalled as a whole.
        stop: the signal that ends it in good order.
        afterwards: commands that undo what the start changed outside the run's folder.
    """

    facts: DataclassInstance
    pid: int
    group: bool = True
    stop: int = signal.SIGTERM
    afterwards: Sequence[Sequence[str]] = ()


class Fleet:
    """The servers of one test run, as one process of the run sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Any] = {}
        self._alive: IO[str] | None = None

    @classmethod
    def assemble(cls) -> Fleet:
        """A new fleet without servers, owned by this process."""
        folder = Path(tempfile.mkdtemp(prefix="ingest-tests-"))
        folder.chmod(0o711)  # servers under accounts of their own look for their folders in it
        (folder / "next-port").write_text(str(random.randrange(20000, 31000)))
        fleet = cls(folder)
        fleet._alive = (folder / "alive.lock").open("w")
        fcntl.flock(fleet._alive, fcntl.LOCK_EX)
        return fleet

    def ask(self, name: str, facts: type[Facts], launch: Callable[[Fleet, Path], Launched]) -> Facts:
        """The facts of a running server; the first call of a run launches it.

        Raises:
            ServerDown: it did not start, now or when another worker tried.
        """
        if name not in self._known:
            record = self.folder / f"{name}.json"
            with self._locked(name):
                if not record.exists():
                    record.write_text(json.dumps(self._launch(name, launch)))
            found = json.loads(record.read_text())
            if found.get("down"):
                raise ServerDown(found["down"])
            self._known[name] = facts(**found["facts"])
        known = self._known[name]
        assert isinstance(known, facts)
        return known

    def free_port(self) -> int:
        """A port that no other server of the run gets, below the range that systems use for outgoing connections."""
        counter = self.folder / "next-port"
        with self._locked("next-port"):
            port = int(counter.read_text())
            while True:
                port += 1
                with socket.socket() as probe:
                    try:
                        probe.bind(("127.0.0.1", port))
                    except OSError:
                        continue
                counter.write_text(str(port))
                return port

    def spawn(
        self,
        command: Sequence[str | Path],
        folder: Path,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """The command, running in a process group of its own, once it is `ready`.

        Its temporary files and its log, `server.log`, are in `folder`.
        """
        log = folder / "server.log"
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(_ROOT), **(env or {})}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(map(str, command)), cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        _processes.append(process)
        deadline = time.monotonic() + _PATIENCE
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                said = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise ServerDown(f"{command[0]} does not get ready; it said:\n{said}")
            time.sleep(0.02)
        return process

    def disband(self) -> None:
        """No server of the run lives and its folder is gone."""
        records = [json.loads(path.read_text()) for path in self.folder.glob("*.json")]
        running = [record for record in records if not record.get("down")]
        for record in running:
            _signal(record, record["stop"])
        deadline = time.monotonic() + 10
        while any(_lives(record) for record in running) and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in _processes:
            process.poll()
        for record in running:
            _signal(record, signal.SIGKILL)
            for command in record["afterwards"]:
                subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self, name: str, launch: Callable[[Fleet, Path], Launched]) -> dict[str, object]:
        self._start_guard()
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o711)
        try:
            launched = launch(self, folder)
        except Exception as error:  # whatever it is, the other workers need not wait for it again
            return {"down": f"{name}: {error}"}
        return {
            "facts": dataclasses.asdict(launched.facts), "pid": launched.pid, "group": launched.group,
            "stop": int(launched.stop), "afterwards": launched.afterwards,
        }  # fmt: skip

    def _start_guard(self) -> None:
        """One process per run, that waits for the end of the run's owner."""
        with self._locked("guard"):
            mark = self.folder / "guarded"
            if not mark.exists():
                mark.touch()
                _processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "ingest_pipelines_tests.servers.guard", str(self.folder)],
                        cwd=_ROOT, start_new_session=True, stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )
                )  # fmt: skip

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / f"{name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


_processes: list[subprocess.Popen[bytes]] = []
"""What this process started, so that none becomes a zombie when it ends."""


def memory_folder(room: int) -> Path | None:
    """The system's folder in memory, if it has room for so many bytes and programs in it may run; else None.

    A database is made there in a third of the time that it takes on a disk, and nothing waits for a sync.
    """
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        return None
    found = os.statvfs(folder)
    runs_programs = not found.f_flag & os.ST_NOEXEC
    return folder if runs_programs and found.f_bavail * found.f_frsize >= room else None


def accepts(port: int) -> bool:
    """Whether something listens on the local port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    """Whether an HTTP server there answers, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _signal(record: Mapping[str, Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if record["group"] else os.kill)(record["pid"], number)


def _lives(record: Mapping[str, Any]) -> bool:
    """Whether the process does anything; one that nobody waited for does not."""
    try:
        return bool(psutil.Process(record["pid"]).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
