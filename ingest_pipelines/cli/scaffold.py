"""`ingest init`: creates a project that passes `ingest check`; comments say what to change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.errors import UsageError

STARTER = Path(__file__).resolve().parent.parent / "demo" / "starter"


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Create a new project: connections, databases, one import, and schemas for your editor."""
    from ingest_pipelines.actions.checking import json_schemas

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty; nothing was written", hint="name a new folder")
    shutil.copytree(STARTER, directory, dirs_exist_ok=True)
    (directory / "gitignore").rename(directory / ".gitignore")
    schemas = directory / ".schema"
    schemas.mkdir()
    for name, schema in json_schemas().items():
        (schemas / f"{name}.json").write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    screen.say(f"{screen.painted('ok', 'good')}: a project in {directory}")
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
