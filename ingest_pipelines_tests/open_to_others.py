"""What somebody else on the machine could reach in a folder: now, or at any time during a block."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_to_others(state: Path) -> list[str]:
    """Every file and folder, the state folder included, that has rights for its group or for all."""
    found = []
    for path in (state, *state.rglob("*")):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # another process has just removed it
            continue
        if not stat.S_ISLNK(facts.st_mode) and stat.S_IMODE(facts.st_mode) & 0o077:
            found.append(f"{stat.filemode(facts.st_mode)} {path.relative_to(state)}")
    return found


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """The umask of this process during the block."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def ever_open_to_others(folder: Path) -> Iterator[set[str]]:
    """What others could reach in the folder at any time during the block: known when the block has ended.

    A file keeps its mode until it is removed. So what this process removes is looked at just before, and what it leaves
    is looked at in the end.
    """
    if not _watched:
        sys.addaudithook(_look)  # it cannot be taken away again
    found: set[str] = set()
    _watched[folder] = found
    try:
        yield found
    finally:
        found.update(open_to_others(folder))
        _watched[folder] = None


_watched: dict[Path, set[str] | None] = {}


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if event not in {"os.remove", "shutil.rmtree"}:
        return
    path = Path(os.fsdecode(arguments[0]))  # type: ignore[arg-type]  # both events begin with a path
    for folder, found in list(_watched.items()):
        if found is not None and path.is_relative_to(folder) and path.exists():
            found.update(f"{entry} (removed {path.relative_to(folder)})" for entry in open_to_others(path))
