"""Turns the answers to `ingest new` into YAML: a draft import, a new connection. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class MappedColumn:
    """A source column and its field; `rules` (type first) only for fields that databases.yaml does not have."""

    column: str
    field: str
    rules: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Draft:
    """The answers for a new import."""

    description: str
    database: str
    source: Mapping[str, str]
    mode: str
    columns: Sequence[MappedColumn]
    every: str | None = None
    max_rejects: int = 0


def draft_yaml(name: str, draft: Draft) -> str:
    """The YAML file of the import with that name, as a draft: it runs only by hand until it is activated."""
    lines = [
        "# yaml-language-server: $schema=../.schema/import.json",
        f"description: {_scalar(draft.description)}",
        f"status: draft                    # runs only by hand, until: ingest activate {name}",
        f"database: {_scalar(draft.database)}",
        "source:",
        *(f"  {key}: {_scalar(value)}" for key, value in draft.source.items()),
        f"mode: {draft.mode}",
        "columns:",
    ]
    for mapped in draft.columns:
        target = _value({"field": mapped.field, **mapped.rules}) if mapped.rules else _scalar(mapped.field)
        lines.append(f"  {_scalar(mapped.column)}: {target}")
    lines.append(f"rejects: {{max_rows: {draft.max_rejects}}}")
    if draft.every is not None:
        lines.append(f"schedule: {{every: {draft.every}}}")
    return "\n".join(lines) + "\n"


def with_connection(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """`connections.yaml` with one more entry at its end; the rest is unchanged, comments included."""
    indent = next((match[1] for match in re.finditer(r"^( +)\S", text, re.MULTILINE)), "  ")
    entry = [f"{indent}{name}:", *(f"{indent}{indent}{key}: {_value(value)}" for key, value in settings.items())]
    return text.rstrip("\n") + "\n\n" + "\n".join(entry) + "\n"


def field_name(column: str, taken: Collection[str] = ()) -> str:
    """The suggested field name for a source column: `Loyalty Tier` -> `loyalty_tier`."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain)
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").lower()[:60] or "field"
    name = name if name[0].isalpha() else f"f_{name}"
    candidates = (name, *(f"{name}_{n}" for n in range(2, 1000)))
    return next(candidate for candidate in candidates if candidate not in taken)


def file_pattern(path: str) -> str:
    """The `file` setting that matches this file: `loyalty/Points_1740981600.csv.gz` -> `loyalty/Points`."""
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
    """The text as a one-line YAML scalar that every YAML parser reads as this text."""
    return (
        yaml.safe_dump(value, allow_unicode=True, width=10_000, default_style=_quotes(value)).split("\n...")[0].strip()
    )


def _quotes(value: str) -> str | None:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./()-]*", value) is not None and value == value.strip()
    return None if plain else '"'
