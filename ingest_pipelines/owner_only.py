"""Files and folders that only their owner reads: the state folder holds customers' rows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

STATE_ENTRIES = frozenset(
    {"postgres", "dagster", "spool", "spill", "runs", "secrets", "demo", "logs", "up.lock", "serving.lock"}
)
"""What we keep in a state folder. A folder that holds something else besides belongs to others, too."""


PRIVATE_UMASK = 0o077
"""Of processes that write into the state folder: what they make is their owner's alone."""


@contextmanager
def private_umask() -> Iterator[None]:
    """What this process makes during the block, libraries included, is its owner's alone."""
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def private_state(state: Path) -> Path:
    """The state folder exists; where nothing but our own entries is in it, only its owner can enter it."""
    state.parent.mkdir(parents=True, exist_ok=True)
    state.mkdir(mode=0o700, exist_ok=True)
    with os.scandir(state) as entries:
        if all(entry.name in STATE_ENTRIES for entry in entries):
            _tighten(state)
    return state


def private_folder(folder: Path) -> Path:
    """The folder exists, and only its owner can enter it, whatever the umask and whoever made it before."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _tighten(folder)
    return folder


def open_private(path: Path, mode: Literal["a", "a+", "w", "w+"]) -> IO[str]:
    """The text file opened as `open` does, readable by its owner only, whatever the umask."""
    file = open(path, mode, encoding="utf-8", opener=_private)  # noqa: SIM115  # Path.open takes no opener
    _tighten(path)
    return file


def write_private(path: Path, content: bytes) -> None:
    """The file holds the content, whole or not at all, and only its owner reads it."""
    draft = path.with_name(f"{path.name}.new")
    with open(draft, "wb", opener=_private) as file:  # Path.open takes no opener
        file.write(content)
    _tighten(draft)
    draft.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _tighten(path: Path) -> None:
    """Nobody but the owner has rights, where that is us; other people's folders stay as they are."""
    found = path.stat()
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
