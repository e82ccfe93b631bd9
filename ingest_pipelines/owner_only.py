"""Makes files and folders that only their owner can read: customers' rows, logs, secrets.

Two layers. Code that writes such a file calls this module, so its mode depends on no umask: another program may run our
code. Processes of our own also take the umask 077 as they start, for what libraries write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

STATE_ENTRIES = frozenset(
    "postgres dagster spool spill runs replays secrets demo logs alerts deaths studio up.lock serving.lock".split()
)
"""Our own entries in a state folder. A folder with other entries is shared, and its mode stays as it is."""

SERVER_FOLDER = "postgres"
"""The embedded server's entry in a state folder."""

_COMMON_NAMES = frozenset({"demo", "logs"})
"""Entries that may be somebody else's in a shared folder."""

PRIVATE_UMASK = 0o077
"""Umask of processes that write into the state folder: only the owner can read their files."""

_OTHERS = 0o077
"""The rights of the group and of all other accounts."""


def take_private_umask() -> None:
    """From now on, only the owner can read what this process, its libraries and its children create.

    For entry points of processes of our own. A block within another program takes `private_umask`.
    """
    os.umask(PRIVATE_UMASK)


@contextmanager
def private_umask() -> Iterator[None]:
    """During the block, only the owner can read files that this process and its libraries create."""
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def private_state(state: Path) -> Path:
    """Creates the state folder; only its owner can enter it, unless it also has entries that are not ours.

    Our own entries become private in either case, with all that is in them.
    """
    _make(state)
    with os.scandir(state) as entries:
        names = {entry.name for entry in entries}
    is_ours = names <= STATE_ENTRIES
    for name in names & (STATE_ENTRIES if is_ours else STATE_ENTRIES - _COMMON_NAMES):
        _tighten(state / name)
    if is_ours:
        _tighten(state)
    return state


def private_folder(folder: Path) -> Path:
    """Creates the folder; only its owner can enter it, regardless of the umask and of its mode before.

    What an earlier version left in it with wider modes becomes private, too.
    """
    _make(folder)
    _tighten(folder)
    return folder


def private_file(path: Path) -> Path:
    """Creates an empty file that only its owner can read, for a library that opens it by its path.

    A file of that name loses its content.
    """
    os.close(_private(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC))
    _tighten(path)
    return path


def open_private(path: Path, mode: Literal["a", "a+", "w", "w+"], *, newline: str | None = None) -> TextIO:
    """Opens the text file as `open` does; only its owner can read it, regardless of the umask."""
    file = open(path, mode, encoding="utf-8", newline=newline, opener=_private)  # noqa: SIM115  # Path.open takes no opener
    _tighten(path)
    return file


def open_private_bytes(path: Path) -> BinaryIO:
    """Opens a binary file to be written from its start; only its owner can read it, regardless of the umask."""
    file = open(path, "wb", opener=_private)  # noqa: SIM115  # Path.open takes no opener
    _tighten(path)
    return file


def write_private(path: Path, content: bytes) -> None:
    """Writes the file, whole or not at all; only its owner can read it."""
    draft = path.with_name(f"{path.name}.new")
    with open(draft, "wb", opener=_private) as file:  # Path.open takes no opener
        _tighten(draft)
        file.write(content)
    draft.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make(folder: Path) -> None:
    """Creates the folder, and parents that are missing, for the owner only; `mkdir` gives parents the umask's modes."""
    if not folder.parent.exists():
        _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _tighten(path: Path) -> None:
    """Removes the rights of group and others if we own the path; other owners' paths stay as they are.

    If they could enter a folder, they may have rights to what is in it as well: these are removed, too.
    """
    try:
        is_open = _close(path, path.stat())
    except FileNotFoundError:  # another process has just removed it, or it is a link to nothing
        return
    if is_open and path.is_dir():
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                below = Path(folder, name)
                try:
                    _close(below, below.lstat())
                except FileNotFoundError:
                    continue


def _close(path: Path, status: os.stat_result) -> bool:
    """Removes the rights of group and others; whether there were any that we could remove."""
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid() or not mode & _OTHERS:
        return False
    path.chmod(mode & 0o700)
    return True
