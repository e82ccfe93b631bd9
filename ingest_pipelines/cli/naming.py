"""Arguments that several commands share, and their shell completion."""

from __future__ import annotations

from typing import Annotated

import typer


def import_names(incomplete: str) -> list[str]:
    """Names of the project's imports, for shell completion; reads no YAML."""
    from ingest_pipelines.config.settings import read_settings
    from ingest_pipelines.errors import IngestError

    try:
        folder = read_settings().home / "imports"
    except IngestError:
        return []
    return sorted(path.stem for path in folder.glob("*.y*ml") if path.stem.startswith(incomplete))


ImportName = Annotated[
    str, typer.Argument(metavar="NAME", help="The import: a file in imports/.", autocompletion=import_names)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
