"""Turns the answers to `ingest new` into YAML: a draft import, a new connection. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml

from ingest_pipelines.config.decryption import ENDINGS
from ingest_pipelines.landing.unpack import fits_member
from ingest_pipelines.model import LIST_MODES
from ingest_pipelines.sources.files import CSV, serial_of


@dataclass(frozen=True)
class MappedColumn:
    """A source column and its field.

    Attributes:
        rules: the type first, for fields that databases.yaml does not have; for others only what this file needs
            besides, such as a date's format.
    """

    column: str
    field: str
    rules: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Draft:
    """The answers for a new import.

    Attributes:
        set: the field that `deactivate` marks, and its value.
        status: `draft` runs only by hand; "active" by itself.
        schedule: what the YAML says in place of `every`.
        rejects: what the YAML says in place of `max_rejects`.
        more: other keys of the import.
        format_line: the source's `format: {...}`; "": the default.
        timezone: of moments that are written without an offset.
    """

    description: str
    database: str
    source: Mapping[str, object]
    mode: str
    columns: Sequence[MappedColumn]
    every: str | None = None
    max_rejects: int = 0
    format_line: str = ""
    timezone: str = "UTC"
    set: Mapping[str, str] = field(default_factory=dict)
    status: Literal["draft", "active"] = "draft"
    schedule: Mapping[str, object] = field(default_factory=dict)
    rejects: Mapping[str, object] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)


def draft_yaml(name: str, draft: Draft) -> str:
    """The YAML file of the import with that name."""
    is_draft = draft.status == "draft"
    lines = [
        "# yaml-language-server: $schema=../.schema/import.json",
        f"description: {_scalar(draft.description)}",
        *([f"status: draft                    # runs only by hand, until: ingest activate {name}"] if is_draft else []),
        f"database: {_scalar(draft.database)}",
        "source:",
        *(line for key, value in draft.source.items() for line in _source_lines(key, value)),
        *([f"  {draft.format_line}"] if draft.format_line else []),
        f"mode: {draft.mode}",
        *([f"set: {yaml_value(draft.set)}"] if draft.set else []),
        *(
            ["deletes: {max_percent: 5}        # of the table; a list of more fails, and changes nothing"]
            if draft.mode in LIST_MODES
            else []
        ),
        "columns:",
    ]
    for mapped in draft.columns:
        target = yaml_value({"field": mapped.field, **mapped.rules}) if mapped.rules else _scalar(mapped.field)
        lines.append(f"  {_scalar(mapped.column)}: {target}")
    if draft.timezone != "UTC":
        lines.append(f"timezone: {yaml_value(draft.timezone)}")
    lines.append(f"rejects: {yaml_value(draft.rejects or {'max_rows': draft.max_rejects})}")
    lines += [f"{key}: {yaml_value(value)}" for key, value in draft.more.items()]
    if draft.schedule:
        lines.append(f"schedule: {yaml_value(draft.schedule)}")
    elif draft.every is not None:
        lines.append(f"schedule: {{every: {draft.every}}}")
    return "\n".join(lines) + "\n"


def _source_lines(key: str, value: object) -> list[str]:
    """A key of the source; a query of several lines keeps them where YAML can."""
    lines = value.rstrip().splitlines() if isinstance(value, str) and key == "query" else []
    plain = all(line == line.rstrip() and line.isprintable() for line in lines)
    if len(lines) < 2 or not plain or lines[0][:1] in {"", " "}:
        return [f"  {key}: {yaml_value(value)}"]
    return [f"  {key}: |", *(f"    {line}".rstrip() for line in lines)]


def with_connection(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """`connections.yaml` with one more entry at its end; the rest is unchanged, comments included."""
    indent = next((match[1] for match in re.finditer(r"^( +)\S", text, re.MULTILINE)), "  ")
    entry = [f"{indent}{name}:", *(f"{indent}{indent}{key}: {yaml_value(value)}" for key, value in settings.items())]
    return text.rstrip("\n") + "\n\n" + "\n".join(entry) + "\n"


def field_name(column: str, taken: Collection[str] = ()) -> str:
    """The suggested field name for a source column: `Loyalty Tier` -> `loyalty_tier`."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain)
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").lower()[:60] or "field"
    name = name if name[0].isalpha() else f"f_{name}"
    candidates = (name, *(f"{name}_{n}" for n in range(2, 1000)))
    return next(candidate for candidate in candidates if candidate not in taken)


def is_encrypted(path: str) -> bool:
    """Whether the name says that the file is an encrypted message."""
    return path.lower().endswith(_ENCRYPTED)


def file_keys(path: str, endings: Sequence[str] = CSV) -> dict[str, str]:
    """The source's `file`, and its `pattern` where only that finds later files: those with another date or serial.

    `loyalty/Points_1740981600.csv.gz` is `file: loyalty/Points`. A date elsewhere in the name needs a pattern, and so
    does an ending that is not one of the format's.
    """
    encrypted = PurePosixPath(path).suffix if is_encrypted(path) else ""
    path = path.removesuffix(encrypted)
    folder, slash, name = path.rpartition("/")
    ending = re.search(rf"\.(?:{'|'.join(endings)})(?:\.gz|\.zip)?$", name, re.IGNORECASE)
    stem = name[: ending.start()] if ending else name.partition(".")[0] or name
    parts = stem.split("_")
    for start in range(1, len(parts)):
        file = folder + slash + "_".join(parts[:start])
        if serial_of(path, file, None, tuple(endings)) is not False:
            return {"file": file}
    date = _DATE.search(stem)
    if ending and date is None:
        return {"file": folder + slash + stem}
    # Without one of the format's endings only a pattern finds the file.
    before, after = (stem[: date.start()], stem[date.end() :]) if date else (re.sub("_[0-9]{1,18}$", "", stem), "")
    if date:
        sign = re.escape(date[2]).replace("\\-", "-")
        serial = sign.join(rf"(?P<{part}>[0-9]{{{digits}}})" for part, digits in _DAY)
    else:
        serial = "(?:_(?P<serial>[0-9]+))?"
    pattern = (
        _literal(before)
        + serial
        + re.sub("[0-9]+", "[0-9]+", _literal(after))
        + _literal(name[len(stem) :] + encrypted)
    )
    return {"file": folder + slash + (before.strip(" -_.") or stem), "pattern": pattern}


def member_pattern(names: Sequence[str], chosen: str) -> str:
    """The `member` that stands for the chosen file of an archive alone, without what changes from one to the next."""
    name = chosen.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    before = re.match(r"(.*[_ -])[^_ -]*[0-9][^_ -]*$", stem or ending, re.DOTALL)
    if before is not None:
        pattern = escape(before[1]) + "*" + (dot + ending if stem else "")
        if [other for other in names if fits_member(other, pattern)] == [chosen]:
            return pattern
    return escape(chosen if [other for other in names if fits_member(other, escape(name))] != [chosen] else name)


_ENCRYPTED = tuple(f".{ending}" for ending in ENDINGS)
_DAY = (("year", 4), ("month", 2), ("day", 2))
_DATE = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})([-_.]?)(?:0[1-9]|1[0-2])\2(?:0[1-9]|[12][0-9]|3[01])(?![0-9])")
"""A day in a file's name."""


def _literal(text: str) -> str:
    """The text as a regular expression that fits just it."""
    return re.sub(r"[\\.+*?()\[\]{}|^$]", r"\\\g<0>", text)


def yaml_value(value: object) -> str:
    """The value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_value(key)}: {yaml_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(yaml_value, value)) + "]"
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
