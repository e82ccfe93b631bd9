"""A look into a file or table before an import is written: columns, first values, suggested types.

Only the head is read. A suggestion is never a rule: types come from YAML, and a person decides them.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from ipaddress import ip_address
from typing import cast

from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.file_content import content_of, is_litter
from ingest_pipelines.sources.base import FileSource, QuerySource
from ingest_pipelines.sources.files import MAX_FOLDERS, visible

HEAD = 64 << 10
"""Most bytes that are read of a file, and most that are unpacked of a compressed one."""

ROWS = 100
"""Rows that a suggested type must fit."""

_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class ColumnSample:
    """A column's name, its first value that is not empty, and a type that its first rows fit."""

    column: str
    first: str
    suggested: str


def sample_file(source: FileSource, path: str) -> list[ColumnSample]:
    """The columns of a CSV file, also of a `.gz` or `.zip`, from its first rows.

    Raises:
        UsageError: empty, not UTF-8, not comma-separated, or not what its name says.
        SourceUnavailable, SourceDenied, ItemGone.
    """
    folders = path.strip("/").split("/")
    if len(folders) - 1 > MAX_FOLDERS:
        raise UsageError(
            f"{printable(path)} lies more than two folders deep: no import can read it",
            hint="move it up, then browse it there",
        )
    if not all(map(visible, folders)):
        raise UsageError(f"{printable(path)} is hidden, or not whole yet: no import can read it")
    head = _head(source, path)
    content = _unpacked(path, head)
    if wrong := content_of(content, path):
        raise UsageError(f"{printable(path)} is {wrong.name}", hint=wrong.advice)
    cut = HEAD in {len(head), len(content)}
    reader = csv.reader(io.StringIO(_text(path, content), newline=""))
    rows = [row for row, _ in zip((row for row in reader if row), range(ROWS + 2), strict=False)]
    if cut and len(rows) < ROWS + 2:
        rows = rows[:-1]  # the last one may go on behind the head
    if not rows:
        what = f"has no whole line in its first {HEAD} bytes" if cut else "is empty"
        raise UsageError(f"{printable(path)} {what}")
    header, *rest = rows
    for delimiter, name in _DELIMITERS.items():
        if len(header) == 1 and delimiter in header[0]:
            raise UsageError(f"{printable(path)} separates its columns with {name}", hint="imports read commas")
    return _samples(header, [row for row in rest[:ROWS] if len(row) == len(header)])


def sample_table(source: QuerySource, table: str) -> list[ColumnSample]:
    """The columns of a table or view, from its first rows."""
    with contextlib.closing(source.batches(source.select(table, [], limit=ROWS), {}, limit=ROWS)) as batches:
        first = next(batches)
    rows = [["" if value is None else str(value) for value in row.values()] for row in first.to_pylist()]
    return _samples(list(first.schema.names), rows)


def suggest_type(values: Iterable[str]) -> str:
    """The narrowest type that all the values fit; `string` where there are none."""
    texts = list(values)
    if not texts:
        return "string"
    for kind, fits in _SUGGESTIONS:
        if all(fits(value) for value in texts):
            return _decimal(texts) if kind == "decimal" else kind
    return "string"


def _samples(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[ColumnSample]:
    samples = []
    for index, name in enumerate(header):
        present = [row[index] for row in rows if row[index]]
        samples.append(ColumnSample(name, present[0] if present else "", suggest_type(present)))
    return samples


def _head(source: FileSource, path: str) -> bytes:
    head = b""
    # every source reads with a generator; closing it ends the transfer now, not at garbage collection
    with contextlib.closing(cast(Generator[bytes, None, None], source.read(path))) as chunks:
        for chunk in chunks:
            head += chunk
            if len(head) >= HEAD:
                break
    return head[:HEAD]


def _unpacked(path: str, head: bytes) -> bytes:
    """The beginning of what a .gz or .zip file holds."""
    try:
        if path.lower().endswith(".gz"):
            return zlib.decompressobj(31).decompress(head, HEAD)
        if path.lower().endswith(".zip"):
            return _unzipped(head)
    except (zlib.error, ValueError):
        content = content_of(head)
        instead = f": it is {content.name}" if content and not head.startswith(b"PK") else ": it cannot be decompressed"
        raise UsageError(f"{printable(path)} is not what its name says{instead}") from None
    return head


def _unzipped(head: bytes) -> bytes:
    """The beginning of the first file in a zip archive, by the header before each file: the directory is at the end."""
    while head[:4] == b"PK\x03\x04":
        flags, method = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
        size = int.from_bytes(head[18:22], "little")
        name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        body = head[30 + name + extra :]
        member = head[30 : 30 + name].decode("utf-8", "replace")
        if member.endswith("/") or is_litter(member):
            # A size of 0 stands behind the data: then the next file is where its own header is.
            head = body[size:] if size or not flags & 8 else body[max(0, body.find(b"PK\x03\x04")) :]
            continue
        if flags & 1 or method not in {0, 8}:
            break
        if method == 0:
            return body[:size] if size else body
        return zlib.decompressobj(-15).decompress(body, HEAD)
    raise ValueError("no file that can be read")


def _text(path: str, head: bytes) -> str:
    """The head as text, without a character that the cut went through."""
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        raise UsageError(
            f"{printable(path)} is not UTF-8; it looks like Windows-1252", hint="save it as UTF-8 (CSV UTF-8)"
        ) from None


def _is_int(value: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value) is not None


def _is_decimal(value: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?", value) is not None


def _is_bool(value: str) -> bool:
    return value.lower() in {"true", "false", "yes", "no", "t", "f", "y", "n"}


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return len(value) == len("2001-12-31")


def _is_datetime(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return len(value) > len("2001-12-31")


def _is_email(value: str) -> bool:
    return re.fullmatch(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+", value) is not None


def _is_phone(value: str) -> bool:
    return re.fullmatch(r"\+[1-9][0-9]{6,14}", value) is not None


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _is_object(value: str) -> bool:
    return isinstance(_parsed(value), dict)


def _is_objects(value: str) -> bool:
    parsed = _parsed(value)
    return isinstance(parsed, list) and bool(parsed) and all(isinstance(member, dict) for member in parsed)


def _is_array(value: str) -> bool:
    return isinstance(_parsed(value), list)


def _parsed(value: str) -> object:
    try:
        return json.loads(value) if value[:1] in "{[" else None
    except (ValueError, RecursionError):
        return None


_SUGGESTIONS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("int", _is_int), ("decimal", _is_decimal), ("bool", _is_bool), ("date", _is_date), ("datetime", _is_datetime),
    ("email", _is_email), ("phone", _is_phone), ("ip", _is_ip), ("object", _is_object), ("objects", _is_objects),
    ("array", _is_array),
)  # fmt: skip


def _decimal(values: Sequence[str]) -> str:
    places = max(len(value.partition(".")[2]) for value in values)
    return f"decimal({max(12, 10 + places)},{places})"
