"""Which runs are alive: each process holds a lock file of the run that it works on, and the kernel ends the lock.

    <state>/runs/<run id>.lock    held (shared) by every process of the run; says which process, where, since when

A file that nobody holds belongs to a run whose process died: a run that ends in order removes its file. A run without a
file may be on another machine, or has not begun: nothing is known of it. A lock proves death only to those who share
the kernel that held it, so a file of another machine, on a shared disk, proves nothing either.
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
"""Ids of rehearsals that are no runs of Dagster's begin so."""

_DRAFT = ".draft"
_DRAFT_KEPT = timedelta(days=1)
_held: dict[Path, IO[str]] = {}
"""Lock files of the runs that this process works on."""


@dataclass(frozen=True)
class Holder:
    """The process that took a run's lock first."""

    pid: int
    host: str
    boot: str
    since: str

    @property
    def is_here(self) -> bool:
        """Whether the lock was taken on this machine: in this kernel's life, or before its last start."""
        return (self.boot != "" and self.boot == _boot()) or self.host == socket.gethostname()


def hold(state: Path, run_id: str) -> None:
    """This process works on the run, until `release` or its own end, however that comes."""
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
    """The run has ended in order, and its file is gone. Does nothing in a process that does not hold it."""
    file = _held.pop(_path(state, run_id), None)
    if file is None:
        return
    with file:
        if _try_lock(file, fcntl.LOCK_EX):  # not while another process of the run lives
            _path(state, run_id).unlink(missing_ok=True)


@contextmanager
def held(state: Path, run_id: str) -> Iterator[None]:
    """This process works on the run for the length of the block."""
    hold(state, run_id)
    try:
        yield
    finally:
        release(state, run_id)


def life_of(state: Path, run_id: str) -> Life:
    """Whether a process of the run lives."""
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


def holder_of(state: Path, run_id: str) -> Holder | None:
    """Which process took the run's lock; None where no file says so."""
    try:
        with _path(state, run_id).open("r", encoding="utf-8") as file:
            return _read(file)
    except FileNotFoundError:
        return None


@contextmanager
def claim_dead(state: Path, run_id: str) -> Iterator[bool]:
    """Whether the run's process is dead; if so, nobody else clears up after it during the block.

    The file stays: `forget` removes it once all is cleared up, so that a sweep that breaks off is done again.
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
    """The dead run has left nothing that anybody has to clear up."""
    _path(state, run_id).unlink(missing_ok=True)


def runs_with_locks(state: Path) -> list[str]:
    """Ids of all runs with a lock file, alive or dead."""
    folder = state / "runs"
    if not folder.is_dir():
        return []
    for draft in folder.glob(f"*{_DRAFT}"):
        with suppress(FileNotFoundError):
            written = datetime.fromtimestamp(draft.stat().st_mtime, UTC)
            if datetime.now(UTC) - written > _DRAFT_KEPT:  # its process was killed within a millisecond
                draft.unlink()
    return sorted(path.stem for path in folder.glob("*.lock"))


def _join(path: Path) -> IO[str] | None:
    """The run's file, held with its other processes; None where there is none, or it is being cleared up."""
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
    """A new file that is held before anybody can see it; None where another process was faster."""
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
    """Whether the open file is still the one of that name."""
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
    """This start of this kernel; "" where the system has no name for it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _path(state: Path, run_id: str) -> Path:
    return state / "runs" / f"{run_id}.lock"
