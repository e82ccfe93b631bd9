"""What somebody else on the machine could reach in a state folder."""

from __future__ import annotations

import stat
from pathlib import Path


def open_to_others(state: Path) -> list[str]:
    """Every file and folder, the state folder included, that has rights for its group or for all."""
    found = [(path, path.lstat()) for path in (state, *state.rglob("*"))]
    return [
        f"{stat.filemode(facts.st_mode)} {path.relative_to(state)}"
        for path, facts in found
        if not stat.S_ISLNK(facts.st_mode) and stat.S_IMODE(facts.st_mode) & 0o077
    ]
