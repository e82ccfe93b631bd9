"""What an import does, in words: before a person activates it, and on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport


def by_itself(bound: BoundImport) -> str:
    """What the import does on its own while `ingest up` or a daemon runs."""
    if starts := bound.spec.start_words:
        return f"runs {', and '.join(starts)}"
    if bound.reads_files and not bound.one_time:
        return f"loads each new {bound.spec.source.file}"
    return f"has no schedule; run: ingest run {bound.name}"


def facts_of(bound: BoundImport) -> list[tuple[str, str]]:
    """Label and text of each fact."""
    spec = bound.spec
    source = spec.source.file or spec.source.table or spec.source.query or "uploads"
    return [
        ("from", f"{bound.connection_name} ({bound.connection.type}): {source}"),
        ("to", f"{bound.database.table}, {spec.mode.replace('_', ' ')}"),
        ("matched by", bound.match.by if bound.match else bound.database.key),
        ("columns", ", ".join(f"{mapped.column} -> {mapped.name}" for mapped in bound.fields)),
        ("an empty cell", "clears the field" if spec.empty == "clear" else "leaves the field unchanged"),
        ("rejects", f"the import allows {spec.rejects}"),
        ("by itself", by_itself(bound)),
    ]
