"""The project as its files are now, for processes that run for long: read again only where something has changed.

A secret is a variable, or a file outside of the project. The project depends on whether it is there, so that it comes
or goes is a change, too. Its value is none: it is read when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ingest_pipelines.config.base import is_set
from ingest_pipelines.config.project import Project, files_of_project, read_project

Stamp = tuple[tuple[str, int, int, int], ...]

_REFERENCE = re.compile(r"""\b(env|file)["']?[ \t]*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'{}][^{},#\n]*))""")
"""What may name a secret in a YAML file. The `file` of a source is found, too, and is not on this machine."""


def read_current_project(home: Path) -> Project:
    """The project, the same object for as long as no file of it changes, and no secret comes or goes.

    Raises:
        ConfigError: `home` is not a folder.
    """
    return _read(home, stamp_of(home))


@lru_cache(maxsize=2)
def _read(home: Path, stamp: Stamp) -> Project:
    return read_project(home)


def stamp_of(home: Path) -> Stamp:
    """Changes when a file of the project does, comes or goes, or a secret comes or goes. Empty without a project."""
    stamps = []
    for path in files_of_project(home):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        stamps.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return (*stamps, *_secrets(home, tuple(stamps)))


def _secrets(home: Path, files: Stamp) -> Iterator[tuple[str, int, int, int]]:
    """Which of the secrets that the files name are there."""
    for kind, name in _references(home, files):
        yield f"{kind}: {name}", is_set(env=name) if kind == "env" else is_set(file=name), 0, 0


@lru_cache(maxsize=2)
def _references(home: Path, files: Stamp) -> tuple[tuple[str, str], ...]:
    """`env` and a variable, or `file` and a path, of all that may be a secret. They are looked at often."""
    found = set()
    for path, *_ in files:
        with suppress(OSError):
            text = Path(path).read_text(encoding="utf-8", errors="replace")
            found |= {(match[1], (match[2] or match[3] or match[4]).strip()) for match in _REFERENCE.finditer(text)}
    return tuple(sorted(_in_full(home, found)))


def _in_full(home: Path, references: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for kind, name in references:
        with suppress(RuntimeError):  # the home of nobody: `~name`
            yield kind, name if kind == "env" else str(home / Path(name).expanduser())
