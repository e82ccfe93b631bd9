"""One command, measured from outside: wall time, CPU of its processes and of the server, peak memory."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOK_EVERY = 0.02


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        client_cpu: user and system seconds of the command and of all processes it waited for.
        server_cpu: the same of the postmaster and all its processes, dead ones included.
        peak_mb: the largest sum of resident memory over the command's process tree, looked at every 20 ms. Pages of
            mapped files count although the system may take them back at any time;
        peak_private_mb: leaves those out.
    """

    wall: float
    client_cpu: float
    server_cpu: float
    peak_mb: float
    peak_private_mb: float
    exit_code: int
    output: str


def measure(argv: Sequence[str], environment: Mapping[str, str], cwd: Path, postmaster: int) -> Cost:
    """The command's cost; its standard output and error are kept together."""
    captured = cwd / "output.txt"
    server_before = tree_cpu(postmaster)
    with captured.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(argv, env=dict(environment), cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        watch = _MemoryWatch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)  # we waited, Popen must not
    watch.stop()
    return Cost(
        wall=wall,
        client_cpu=usage.ru_utime + usage.ru_stime,
        server_cpu=tree_cpu(postmaster) - server_before,
        peak_mb=watch.peak / 1e6,
        peak_private_mb=watch.peak_private / 1e6,
        exit_code=process.returncode,
        output=captured.read_text(errors="replace"),
    )


class _MemoryWatch(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.peak = 0
        self.peak_private = 0

    def run(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            resident = private = 0
            for pid in _tree(self._pid):
                try:
                    pages = Path(f"/proc/{pid}/statm").read_text().split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                resident += int(pages[1]) * _PAGE
                private += (int(pages[1]) - int(pages[2])) * _PAGE
            self.peak = max(self.peak, resident)
            self.peak_private = max(self.peak_private, private)

    def stop(self) -> None:
        self._over.set()
        self.join()


def _tree(pid: int) -> list[int]:
    """The process and its descendants, as of now."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        try:
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def tree_cpu(pid: int) -> float:
    """CPU seconds of the process, its living descendants and the dead ones that were waited for."""
    ticks = 0
    for current in _tree(pid):
        try:
            fields = Path(f"/proc/{current}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(int(fields[index]) for index in (11, 12, 13, 14))  # utime stime cutime cstime
    return ticks / _TICK
