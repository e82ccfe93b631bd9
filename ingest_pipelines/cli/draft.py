"""Answers of a person as YAML: a draft import, an added connection. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class MappedColumn:
    """A source column, the field it fills, and the rules (type first) of a field that databases.yaml does not have."""

    column: str
    field: str
    rules: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Draft:
    """What a person chose for a new import."""

    description: str
    database: str
    source: Mapping[str, str]
    mode: str
    columns: Sequence[MappedColumn]
    every: str | None = None
    max_rejects: int = 0


def draft_yaml(draft: Draft) -> str:
    """The import's file; a draft runs only by hand until it is activated."""
    lines = [
        "# yaml-language-server: $schema=../.schema/import.json",
        f"description: {_scalar(draft.description)}",
        "status: draft                    # ingest activate lets it run by itself",
        f"database: {_scalar(draft.database)}",
        "source:",
        *(f"  {key}: {_scalar(value)}" for key, value in draft.source.items()),
        f"mode: {draft.mode}",
        "columns:",
    ]
    for each in draft.columns:
        target = _value({"field": each.field, **each.rules}) if each.rules else _scalar(each.field)
        lines.append(f"  {_scalar(each.column)}: {target}")
    lines.append(f"rejects: {{max_rows: {draft.max_rejects}}}")
    if draft.every is not None:
        lines.append(f"schedule: {{every: {draft.every}}}")
    return "\n".join(lines) + "\n"


def with_connection(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """`connections.yaml` with one more entry at its end; what stands there stays as it is, comments included."""
    indent = next((match[1] for match in re.finditer(r"^( +)\S", text, re.MULTILINE)), "  ")
    entry = [f"{indent}{name}:", *(f"{indent}{indent}{key}: {_value(value)}" for key, value in settings.items())]
    return text.rstrip("\n") + "\n\n" + "\n".join(entry) + "\n"


def field_name(column: str, taken: Collection[str] = ()) -> str:
    """A field's name for a source column: `Loyalty Tier` -> `loyalty_tier`."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain)
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").lower()[:60] or "field"
    name = name if name[0].isalpha() else f"f_{name}"
    return next(each for each in (name, *(f"{name}_{n}" for n in range(2, 1000))) if each not in taken)


def file_pattern(path: str) -> str:
    """The import's `file` for a file of it: `loyalty/Points_1740981600.csv.gz` -> `loyalty/Points`."""
    folder, slash, name = path.rpartition("/")
    stem = re.sub(r"\.csv(\.gz|\.zip)?$", "", name, flags=re.IGNORECASE)
    return folder + slash + re.sub(r"_[0-9]{1,18}$", "", stem)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _scalar(value) if isinstance(value, str) else str(value)


def _scalar(value: str) -> str:
    """The text as a YAML scalar that every YAML reads as this text, on one line."""
    return (
        yaml.safe_dump(value, allow_unicode=True, width=10_000, default_style=_quotes(value)).split("\n...")[0].strip()
    )


def _quotes(value: str) -> str | None:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./()-]*", value) is not None and value == value.strip()
    return None if plain else '"'
