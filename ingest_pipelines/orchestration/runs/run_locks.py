"""Which runs are alive: each process of a run locks the run's file, and the kernel releases the lock when it dies.

    <state>/runs/<run id>.lock    locked (shared) by every process of the run; has the first one's id, host and start

A run that ends in order deletes its file, so a file without a lock means that the run's process died. A run without a
file is unknown: it may run on another machine, or not have begun. A file that another machine wrote to a shared disk
says nothing either, because its lock is in that machine's kernel.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import IO, Literal

from ingest_pipelines.owner_only import open_private, private_folder, private_state

Life = Literal["alive", "dead", "unknown"]

PLAN_PREFIX = "plan-"
"""First part of the id of a plan that is no Dagster run."""

_DRAFT = ".draft"
_DRAFT_KEPT = timedelta(days=1)
_held: dict[Path, IO[str]] = {}
"""Lock files that this process has locked."""


@dataclass(frozen=True)
class Holder:
    """The process that created a run's lock file."""

    pid: int
    host: str
    boot: str
    since: str

    @property
    def is_here(self) -> bool:
        """Whether the process ran on this machine, before or after its last start."""
        return (self.boot != "" and self.boot == _boot()) or self.host == socket.gethostname()


def hold(state: Path, run_id: str) -> None:
    """Locks the run for this process, until `release` or the end of the process."""
    path = _path(state, run_id)
    if path in _held:
        return
    private_state(state)
    private_folder(path.parent)
    while True:
        file = _join(path) or _create(path)
        if file is not None:
            _held[path] = file
            return


def release(state: Path, run_id: str) -> None:
    """Unlocks the run, which has ended in order; its last process deletes the file. Without a lock: does nothing."""
    file = _held.pop(_path(state, run_id), None)
    if file is None:
        return
    with file:
        if _try_lock(file, fcntl.LOCK_EX):  # not while another process of the run lives
            _path(state, run_id).unlink(missing_ok=True)


@contextmanager
def holding(state: Path, run_id: str) -> Iterator[None]:
    """Locks the run for this process during the block."""
    hold(state, run_id)
    try:
        yield
    finally:
        release(state, run_id)


def life_of(state: Path, run_id: str) -> Life:
    """Whether a process of the run is alive."""
    path = _path(state, run_id)
    if path in _held:
        return "alive"
    try:
        with path.open("r", encoding="utf-8") as file:
            if not _try_lock(file, fcntl.LOCK_EX):
                return "alive"
            holder = _read(file)
            return "dead" if holder is not None and holder.is_here else "unknown"
    except FileNotFoundError:
        return "unknown"


@contextmanager
def keeping(state: Path, run_id: str) -> Iterator[Holder | None]:
    """Yields the run's process if it is alive on this machine; during the block it executes no other run.

    A signal that is sent to it within the block reaches this run, or one that has just ended.
    """
    file = _join(_path(state, run_id)) if life_of(state, run_id) == "alive" else None
    if file is None:
        yield None
        return
    with file:
        holder = _read(file)
        yield holder if holder is not None and holder.is_here else None


def holder_of(state: Path, run_id: str) -> Holder | None:
    """The process that created the run's lock file; None where there is no readable file."""
    try:
        with _path(state, run_id).open("r", encoding="utf-8") as file:
            return _read(file)
    except FileNotFoundError:
        return None


@contextmanager
def claim_dead(state: Path, run_id: str) -> Iterator[bool]:
    """Yields whether the run is dead; if it is, no other process clears up after it during the block.

    The file stays until `forget` deletes it, so that clearing up that is interrupted is repeated.
    """
    path = _path(state, run_id)
    try:
        file = path.open("r", encoding="utf-8")
    except FileNotFoundError:
        yield False
        return
    with file:
        if path in _held or not _try_lock(file, fcntl.LOCK_EX) or not _is_at(file, path):
            yield False
            return
        holder = _read(file)
        yield holder is not None and holder.is_here


def forget(state: Path, run_id: str) -> None:
    """Deletes the dead run's file: everything is cleared up."""
    _path(state, run_id).unlink(missing_ok=True)


def runs_with_locks(state: Path) -> list[str]:
    """Ids of all runs with a lock file, alive or dead."""
    folder = state / "runs"
    if not folder.is_dir():
        return []
    for draft in folder.glob(f"*{_DRAFT}"):
        with suppress(FileNotFoundError):
            written = datetime.fromtimestamp(draft.stat().st_mtime, UTC)
            if datetime.now(UTC) - written > _DRAFT_KEPT:  # its process was killed before it could link the file
                draft.unlink()
    return sorted(path.stem for path in folder.glob("*.lock"))


def _join(path: Path) -> IO[str] | None:
    """The run's file, locked together with its other processes; None where there is none, or it was just deleted."""
    try:
        file = path.open("r", encoding="utf-8")
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    if _is_at(file, path):
        return file
    file.close()
    return None


def _create(path: Path) -> IO[str] | None:
    """A new file, locked before other processes can see it; None where another process was faster."""
    draft = path.with_name(f"{path.stem}.{os.getpid()}{_DRAFT}")
    file = open_private(draft, "w+")
    holder = Holder(os.getpid(), socket.gethostname(), _boot(), datetime.now(UTC).isoformat(timespec="seconds"))
    json.dump(asdict(holder), file)
    file.flush()
    fcntl.flock(file, fcntl.LOCK_SH)
    try:
        os.link(draft, path)
    except FileExistsError:
        file.close()
        return None
    finally:
        draft.unlink(missing_ok=True)
    return file


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read(file: IO[str]) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.load(file))
    except (ValueError, TypeError):
        return None


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@cache
def _boot() -> str:
    """The id of this machine's last start; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _path(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{run_id}.lock"
