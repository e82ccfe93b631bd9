"""`ingest init`: creates a project that passes `ingest check`; comments say what to change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.errors import UsageError, file_error, printable

STARTER = Path(__file__).resolve().parent.parent / "demo" / "starter"


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Create a new project: connections, databases, one import, and schemas for your editor."""
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(f"{printable(str(directory))} is not empty; nothing was written", hint="name a new folder")
        _lay_out(directory)
    except OSError as error:
        refused = file_error(error)
        if isinstance(refused, UsageError):
            raise UsageError(refused.message, hint="name another folder") from None
        raise
    screen.say(f"{screen.painted('ok', 'good')}: a project in {printable(str(directory))}")
    screen.say()
    for path, what in (
        ("connections.yaml", "where data comes from"),
        ("databases.yaml", "the profile table, its key and its fields"),
        ("imports/loyalty.yaml", "one feed: its file, its columns, its limits"),
        ("uploads/Loyalty.csv", "five rows to try it with; one of them is wrong"),
    ):
        screen.say(f"  {path:<22} {what}")
    screen.say()
    screen.say(f"  cd {screen.quoted(directory)}")
    screen.say("  ingest check")
    screen.say("  ingest run loyalty")


def _lay_out(directory: Path) -> None:
    """The starter's files and the schemas, in the folder.

    Raises:
        OSError: of the first file that cannot be written; `shutil.copytree` would hide it in a list.
    """
    from ingest_pipelines.actions.checking import json_schemas

    directory.mkdir(parents=True, exist_ok=True)
    for source in sorted(STARTER.rglob("*")):
        target = directory / source.relative_to(STARTER)
        if source.is_dir():
            target.mkdir()
        else:
            shutil.copyfile(source, target.with_name(".gitignore") if target.name == "gitignore" else target)
    schemas = directory / ".schema"
    schemas.mkdir()
    for name, schema in json_schemas().items():
        (schemas / f"{name}.json").write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
