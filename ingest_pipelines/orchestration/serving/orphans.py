"""What an `ingest up` that is killed leaves behind: its processes end all the same, and the next one is told.

A watcher holds the other end of a pipe. When the pipe closes without a farewell, `ingest up` is dead, however it died,
and the watcher ends what it started. Two locks in the state folder say who lives; process ids alone do not.

    up.lock       held by `ingest up`; says where it serves
    serving.lock  held by its webserver and its daemon, as long as one of them lives; says which they are
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
"""A run that is merging gets this long to roll back."""

STOP_SECONDS = 3.0
"""What has not ended by then gets this long for a second request."""

WAIT_SECONDS = ROLL_BACK_SECONDS + STOP_SECONDS + 10
"""How long the next `ingest up` waits for what a killed one left."""

_FAREWELL = b"done\n"


def end_groups(groups: Iterable[int], gone: Callable[[], bool]) -> None:
    """Every process of the groups is asked to end, twice, and then is ended.

    Args:
        gone: whether there is nobody left to wait for.
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
    """Whether the group has processes to signal."""
    try:
        os.killpg(group, request)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Watcher:
    """A process that outlives this one, should it be killed, by as long as it takes to end its children."""

    def __init__(self, state: Path, *, embedded_server: bool) -> None:
        words = ["-m", __name__, *([str(state)] if embedded_server else [])]
        self._process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def watch(self, group: int) -> None:
        """The process group ends with this process."""
        self._say(b"%d\n" % group)

    def close(self) -> None:
        """All is ended in order; the watcher has nothing to do."""
        self._say(_FAREWELL)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _say(self, words: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # someone killed it; what is left then is told by the locks
            self._process.stdin.write(words)
            self._process.stdin.flush()


@contextlib.contextmanager
def alone(state: Path, tell: Callable[[str], None]) -> Iterator[Claim]:
    """The only `ingest up` on this state folder, for the length of the block.

    Args:
        tell: told what a killed `ingest up` left, while it ends.

    Raises:
        UsageError: another one serves, or what a killed one left does not end.
    """
    private_state(state)
    with open_private(state / "up.lock", "a+") as own, open_private(state / "serving.lock", "a+") as serving:
        if not _lock(own):
            where = _words(own) or "it is just starting"
            raise UsageError(
                f"ingest up runs already on {state}: {where}",
                hint="use that one, or give this one a state of its own: INGEST_STATE=DIR ingest up",
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
        """The descriptor that children inherit, so that the lock lives as long as they do."""
        return self._serving.fileno()

    def serves(self, group: int) -> None:
        """For the message to whoever finds the process after we were killed."""
        self._serving.write(f"{group}\n")
        self._serving.flush()

    def at(self, url: str) -> None:
        """For the message to whoever starts a second one."""
        self._own.write(url)
        self._own.flush()


def _wait_for_orphans(serving: IO[str], tell: Callable[[str], None]) -> None:
    tell("found: processes of an ingest up that was killed; waiting for them to end")
    deadline = time.monotonic() + WAIT_SECONDS
    while not _lock(serving):
        if time.monotonic() > deadline:
            groups = _words(serving).split()
            raise UsageError(
                f"a webserver or daemon of an ingest up that was killed still runs (process {', '.join(groups)})",
                hint=f"end it: kill {' '.join(f'-{group}' for group in groups)}",
            )
        time.sleep(0.1)
    tell("  they are gone; what they had committed is there, and what they had not is tried again")


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
    """Waits for the end of the process at the other end of stdin; ends its groups unless it took leave."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = sys.stdin.buffer.read()
    if told.endswith(_FAREWELL):
        return
    groups = [int(line) for line in told.split()]
    end_groups(groups, lambda: not any(signal_group(group, 0) for group in groups))
    if len(sys.argv) > 1:
        with embedded.running(Path(sys.argv[1])):
            pass  # the last one out stops it


if __name__ == "__main__":
    main()
