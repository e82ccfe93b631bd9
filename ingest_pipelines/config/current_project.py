"""The project as its files are now, for processes that run for long: read again only where a file has changed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ingest_pipelines.config.project import Project, files_of_project, read_project

Stamp = tuple[tuple[str, int, int, int], ...]


def read_current_project(home: Path) -> Project:
    """The project, the same object for as long as no file of it changes.

    Raises:
        ConfigError: `home` is not a folder.
    """
    return _read(home, stamp_of(home))


@lru_cache(maxsize=2)
def _read(home: Path, stamp: Stamp) -> Project:
    return read_project(home)


def stamp_of(home: Path) -> Stamp:
    """Changes when a file of the project does, comes or goes. Empty where there is no project."""
    stamps = []
    for path in files_of_project(home):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        stamps.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)
