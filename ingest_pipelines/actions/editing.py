"""An import's file, changed as a whole: checked before it is written, and only if it is still what the person saw."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ingest_pipelines.errors import UsageError

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Settings

LONGEST_FILE = 200_000
"""Characters of a file that can be edited."""

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class ImportFile:
    """The YAML of an import.

    Attributes:
        seen: changes with the text.
    """

    path: Path
    text: str

    @property
    def name(self) -> str:
        """`imports/NAME.yaml`."""
        return f"imports/{self.path.name}"

    @property
    def seen(self) -> str:
        """Changes with the text."""
        return sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


def file_of(home: Path, name: str) -> ImportFile:
    """The import's file, out of those that the project has: no path is made of the name.

    Raises:
        UsageError: there is none, or it is not text.
    """
    known = {path.stem: path for path in (home / "imports").glob("*") if path.suffix in {".yaml", ".yml"}}
    if name not in known:
        raise UsageError(f"import {name} has no file", hint="ingest status")
    try:
        return ImportFile(known[name], known[name].read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"imports/{known[name].name} is not UTF-8 text", hint="correct it in an editor") from None


def mistakes_in(settings: Settings, file: ImportFile, text: str) -> tuple[list[str], BoundImport | None]:
    """What `ingest check` would say of the import with this text; the import, if that is nothing."""
    from ingest_pipelines.actions.checking import mistakes_of
    from ingest_pipelines.actions.target import live_of
    from ingest_pipelines.config import read_project

    name, live, drafts = file.path.stem, live_of(settings), {file.name: text}
    drafted = read_project(settings.home, drafts, registered=live.types)
    mistakes = mistakes_of(drafted, name, live, drafts)
    return mistakes, None if mistakes else drafted.imports.get(name)


def write_import(settings: Settings, name: str, text: str, seen: str) -> None:
    """Replaces the import's file, whole or not at all.

    Args:
        seen: of the file that the person has changed.

    Raises:
        UsageError: the file has been changed since; it stays as it is.
    """
    from ingest_pipelines.actions.checking import replace_project_file

    with _ONE_AT_A_TIME:
        file = file_of(settings.home, name)
        if file.seen != seen:
            raise UsageError(
                f"{file.name} was changed by another person meanwhile; it was not written",
                hint="reload the page: your text stays, beside the file as it is now",
            )
        replace_project_file(file.path, text)
