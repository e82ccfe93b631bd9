"""What can still be read of an import whose YAML is broken: its database and its windows.

With them the import keeps its place in Dagster while it is being mended: its asset, its partitions, and what is queued.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ingest_pipelines.config.imports import Window
from ingest_pipelines.config.yaml_lines import read_yaml

_DATABASE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class Outline:
    """The place of an import in Dagster."""

    database: str
    window: Window | None = None


def read_outline(home: Path, name: str) -> Outline | None:
    """The outline of the import's file, whatever else is wrong in it; None where no database can be read."""
    for path in (home / "imports" / f"{name}.yaml", home / "imports" / f"{name}.yml"):
        try:
            text = path.read_bytes().decode("utf-8-sig", errors="replace")
        except OSError:
            continue
        keys = _readable(text)
        database = keys.get("database")
        if not isinstance(database, str) or _DATABASE.fullmatch(database) is None:
            return None
        source = keys.get("source")
        return Outline(database, _window(source.get("window") if isinstance(source, Mapping) else None))
    return None


def _window(value: Any) -> Window | None:
    try:
        return Window.model_validate(value) if value is not None else None
    except ValidationError:
        return None


def _readable(text: str, *, depth: int = 3) -> dict[str, Any]:
    """The keys of a mapping whose own lines are YAML, down to `depth` levels."""
    document = read_yaml(text)
    if not document.mistakes:
        return document.value if isinstance(document.value, dict) else {}
    keys: dict[str, Any] = {}
    for block in _blocks(text):
        document = read_yaml(block)
        if not document.mistakes and isinstance(document.value, dict):
            keys = {**document.value, **keys}
        elif depth > 1 and (head := re.match(r"(\w+):[ ]*(#.*)?\n", block)):
            keys.setdefault(head[1], _readable(_unindented(block[head.end() :]), depth=depth - 1))
    return keys


def _unindented(text: str) -> str:
    """The text without the indentation of its first line; lines that tabs indent, which YAML forbids, are dropped."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("\t")]
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip(" "))]
    return "".join(line.removeprefix(indent) for line in lines)


def _blocks(text: str) -> Iterator[str]:
    """The text cut before each line that is not indented."""
    block: list[str] = []
    for line in text.splitlines(keepends=True):
        if block and line[:1].strip():
            yield "".join(block)
            block = []
        block.append(line)
    yield "".join(block)
