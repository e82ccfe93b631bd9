"""Ends the child processes of a killed `ingest up`, and warns the next one about any that remain.

A process, the reaper, holds the other end of a pipe. If the pipe closes without a farewell, `ingest up` is dead, and
the reaper ends its children. Two locks in the state folder say which processes are alive; process ids are reused.

    up.lock       locked by `ingest up`; has the URL at which it serves
    serving.lock  locked by its webserver, daemon and watcher while one of them is alive; has their process ids
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from ingest_pipelines import embedded
from ingest_pipelines.errors import UsageError
from ingest_pipelines.owner_only import open_private, private_state

ROLL_BACK_SECONDS = 15.0
"""How long a run that is merging gets to roll back."""

STOP_SECONDS = 3.0
"""How long a process that has not ended by then gets after a second signal."""

WAIT_SECONDS = ROLL_BACK_SECONDS + STOP_SECONDS + 10
"""How long the next `ingest up` waits for the processes of a killed one."""

_FAREWELL = b"done\n"


def end_groups(groups: Iterable[int], gone: Callable[[], bool]) -> None:
    """Ends every process of the groups: with SIGINT, then SIGTERM, then SIGKILL.

    Args:
        gone: whether all of them have ended.
    """
    groups = list(groups)
    for request, patience in ((signal.SIGINT, ROLL_BACK_SECONDS), (signal.SIGTERM, STOP_SECONDS)):
        deadline = time.monotonic() + patience
        for group in groups:
            signal_group(group, request)
        while time.monotonic() < deadline and not gone():
            time.sleep(0.05)
    for group in groups:
        signal_group(group, signal.SIGKILL)


def signal_group(group: int, request: int) -> bool:
    """Signals the group; whether it has processes."""
    try:
        os.killpg(group, request)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Reaper:
    """A process that ends the children of this one if this one is killed."""

    def __init__(self, state: Path, *, embedded_server: bool) -> None:
        words = ["-m", __name__, *([str(state)] if embedded_server else [])]
        self._process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def watch(self, group: int) -> None:
        """Adds a process group that is to end with this process."""
        self._say(b"%d\n" % group)

    def forget(self, group: int) -> None:
        """Takes the group out again: it has no process any more, and its number may be given to another one."""
        self._say(b"-%d\n" % group)

    def close(self) -> None:
        """Ends the reaper: the children have ended in order."""
        self._say(_FAREWELL)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _say(self, words: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the reaper was killed; the locks still show what remains
            self._process.stdin.write(words)
            self._process.stdin.flush()


@contextlib.contextmanager
def alone(state: Path, tell: Callable[[str], None]) -> Iterator[Claim]:
    """Makes this the only `ingest up` of the state folder during the block.

    Args:
        tell: gets a message for the user while processes of a killed `ingest up` end.

    Raises:
        UsageError: another one is running, or processes of a killed one do not end.
    """
    private_state(state)
    with open_private(state / "up.lock", "a+") as own, open_private(state / "serving.lock", "a+") as serving:
        if not _lock(own):
            where = _words(own) or "it is starting"
            raise UsageError(
                f"ingest up is already running on {state}: {where}",
                hint="use that one, or start this one with its own state folder: INGEST_STATE=DIR ingest up",
            )
        if not _lock(serving):
            _wait_for_orphans(serving, tell)
        yield Claim(own, serving)


class Claim:
    """The locks of a running `ingest up`."""

    def __init__(self, own: IO[str], serving: IO[str]) -> None:
        self._own, self._serving = own, serving
        own.truncate(0)
        serving.truncate(0)

    @property
    def inherited(self) -> int:
        """The file descriptor that children inherit, so that they hold the lock while they are alive."""
        return self._serving.fileno()

    def serves(self, group: int) -> None:
        """Notes a child's process group, for the message of the next `ingest up`."""
        self._serving.write(f"{group}\n")
        self._serving.flush()

    def at(self, url: str) -> None:
        """Notes the URL, for the message to a user who starts a second one."""
        self._own.write(url)
        self._own.flush()


def _wait_for_orphans(serving: IO[str], tell: Callable[[str], None]) -> None:
    tell("waiting for the processes of a killed ingest up to end")
    deadline = time.monotonic() + WAIT_SECONDS
    while not _lock(serving):
        if time.monotonic() > deadline:
            groups = _words(serving).split()
            raise UsageError(
                f"a webserver or daemon of a killed ingest up is still running (process {', '.join(groups)})",
                hint=f"end it: kill {' '.join(f'-{group}' for group in groups)}",
            )
        time.sleep(0.1)
    tell("  they have ended; what they had committed is in the table, the rest is loaded again")


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _words(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()


def main() -> None:
    """Waits until the process at the other end of stdin ends; ends its groups unless it sent the farewell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    messages = sys.stdin.buffer.read()
    if messages.endswith(_FAREWELL):
        return
    groups: set[int] = set()
    for number in map(int, messages.split()):
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    end_groups(groups, lambda: not any(signal_group(group, 0) for group in groups))
    if len(sys.argv) > 1:
        with embedded.running(Path(sys.argv[1])):
            pass  # the last user of the server stops it


if __name__ == "__main__":
    main()
