"""Where a world of servers lives while it is tried, and what is left of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path


def open_folder(prefix: str) -> Path:
    """A new folder that servers under accounts of their own may enter."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    return folder


def leave(folder: Path, *, keep: bool) -> None:
    """Removes the folder, or says where it is."""
    if keep:
        say(f"its folder: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Prints the line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
