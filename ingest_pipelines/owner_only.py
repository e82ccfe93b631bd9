"""Makes files and folders that only their owner can read: the state folder holds customers' rows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

STATE_ENTRIES = frozenset(
    "postgres dagster spool spill runs secrets demo logs alerts deaths up.lock serving.lock".split()
)
"""Our own entries in a state folder. A folder with other entries is shared, and its mode stays as it is."""


PRIVATE_UMASK = 0o077
"""Umask of processes that write into the state folder: only the owner can read their files."""


@contextmanager
def private_umask() -> Iterator[None]:
    """During the block, only the owner can read files that this process and its libraries create."""
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def private_state(state: Path) -> Path:
    """Creates the state folder; only its owner can enter it, unless it also has entries that are not ours."""
    state.parent.mkdir(parents=True, exist_ok=True)
    state.mkdir(mode=0o700, exist_ok=True)
    with os.scandir(state) as entries:
        if all(entry.name in STATE_ENTRIES for entry in entries):
            _tighten(state)
    return state


def private_folder(folder: Path) -> Path:
    """Creates the folder; only its owner can enter it, regardless of the umask and of its mode before."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _tighten(folder)
    return folder


def open_private(path: Path, mode: Literal["a", "a+", "w", "w+"]) -> IO[str]:
    """Opens the text file as `open` does; only its owner can read it, regardless of the umask."""
    file = open(path, mode, encoding="utf-8", opener=_private)  # noqa: SIM115  # Path.open takes no opener
    _tighten(path)
    return file


def write_private(path: Path, content: bytes) -> None:
    """Writes the file, whole or not at all; only its owner can read it."""
    draft = path.with_name(f"{path.name}.new")
    with open(draft, "wb", opener=_private) as file:  # Path.open takes no opener
        file.write(content)
    _tighten(draft)
    draft.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _tighten(path: Path) -> None:
    """Removes the rights of group and others if we own the path; other owners' paths stay as they are."""
    status = path.stat()
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077:
        path.chmod(stat.S_IMODE(status.st_mode) & 0o700)
