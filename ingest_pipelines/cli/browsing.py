"""`ingest browse`: what a connection has to offer, down to the first value of each column."""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.errors import UsageError, shown

if TYPE_CHECKING:
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.model import SourceFile
    from ingest_pipelines.sources.base import Listing

HEAD = 64 * 1024
"""Bytes of a file that are read to show its columns."""

ROWS = 100
"""Rows that a suggested type must fit."""

SHOWN = 200
"""Files or tables that are printed; JSON has them all."""


@dataclass(frozen=True)
class ColumnSample:
    """A column's name, its first value that is not empty, and a type that its first rows fit."""

    column: str
    first: str
    suggested: str


def browse(
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="A name in connections.yaml.")],
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="A folder, a file, or a table; without it: everything.")
    ] = "",
    columns: Annotated[
        bool, typer.Option("--columns", help="The columns of PATH: first value and suggested type.")
    ] = False,
    json: Json = False,
) -> None:
    """List files (two folders deep) or tables; with --columns look into one. Reads only the head of a file."""
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.config.connections import FILE_TYPES
    from ingest_pipelines.config.nearest import nearest

    project = read_project(read_settings().home)
    if connection not in project.connections:
        raise UsageError(f"there is no connection '{connection}'", hint=nearest(connection, project.connections))
    chosen = project.connections[connection]
    if columns and not path:
        raise UsageError("--columns looks into one file or table", hint=f"ingest browse {connection} PATH --columns")
    if columns:
        samples = sample_columns(chosen, path)
        if json:
            screen.as_json([{"column": s.column, "first": s.first, "suggested": s.suggested} for s in samples])
        else:
            print_columns(path, samples)
    elif chosen.type in FILE_TYPES:
        _print_files(connection, list_files(chosen, path), as_json=json)
    else:
        _print_tables(connection, list_tables(chosen, path), as_json=json)


def sample_columns(connection: Connection, path: str) -> list[ColumnSample]:
    """The columns of a file or table, from its first rows.

    Raises:
        SourceUnavailable, SourceDenied, ItemGone; UsageError: no columns can be read there.
    """
    from ingest_pipelines.config.connections import FILE_TYPES

    header, rows = _file_head(connection, path) if connection.type in FILE_TYPES else _table_head(connection, path)
    columns = list(zip(*rows, strict=False)) or [()] * len(header)
    samples = []
    for name, values in zip(header, columns, strict=False):
        present = [value for value in values if value not in {None, ""}]
        samples.append(ColumnSample(name, present[0] if present else "", suggest_type(present)))
    return samples


def suggest_type(values: Iterable[str]) -> str:
    """The narrowest type that all the values fit; `string` where there are none. A suggestion: a person decides."""
    found = list(values)
    if not found:
        return "string"
    for kind, fits in _SUGGESTIONS:
        if all(fits(value) for value in found):
            return _decimal(found) if kind == "decimal" else kind
    return "string"


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
    from ipaddress import ip_address

    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _is_object(value: str) -> bool:
    return isinstance(_parsed(value), dict)


def _is_objects(value: str) -> bool:
    parsed = _parsed(value)
    return isinstance(parsed, list) and bool(parsed) and all(isinstance(each, dict) for each in parsed)


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


def _file_head(connection: Connection, path: str) -> tuple[list[str], list[list[str]]]:
    """Header and first rows of a CSV file, from its first bytes."""
    from ingest_pipelines.sources import open_files

    with open_files(connection) as source:
        chunks = source.read(path)
        head = b""
        for chunk in chunks:
            head += chunk
            if len(head) >= HEAD:
                break
    text = _unpacked(path, head[:HEAD]).decode("utf-8-sig", errors="replace")
    cut = len(head) >= HEAD
    lines = csv.reader(text.splitlines(keepends=True))
    rows = [row for row, _ in zip(lines, range(ROWS + 1), strict=False)]
    if cut and len(rows) <= ROWS:
        rows = rows[:-1]  # the last one may be a part of itself
    if not rows:
        raise UsageError(f"{shown(path)} is empty")
    header, *rest = rows
    return header, [row for row in rest if len(row) == len(header)]


def _unpacked(path: str, head: bytes) -> bytes:
    """The beginning of what a .gz or .zip file holds."""
    try:
        if path.lower().endswith(".gz"):
            return zlib.decompressobj(31).decompress(head, HEAD)
        if path.lower().endswith(".zip") and head[:4] == b"PK\x03\x04":
            name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            body = head[30 + name + extra :]
            stored = head[8:10] == b"\0\0"
            return body if stored else zlib.decompressobj(-15).decompress(body, HEAD)
    except zlib.error:
        raise UsageError(f"{shown(path)} is not what its name says: it cannot be decompressed") from None
    return head


def _table_head(connection: Connection, table: str) -> tuple[list[str], list[list[str]]]:
    from ingest_pipelines.sources import open_query

    with open_query(connection) as source:
        batches = source.batches(source.select(table, []), {}, limit=ROWS)
        try:
            first = next(batches)
        finally:
            batches.close()
    rows = [["" if value is None else str(value) for value in row.values()] for row in first.to_pylist()]
    return list(first.schema.names), rows


def list_files(connection: Connection, folder: str = "") -> Listing:
    """The files below the folder, two folders deep."""
    from ingest_pipelines.sources import open_files

    with open_files(connection) as source:
        return source.listing(folder.strip("/"))


def list_tables(connection: Connection, part: str = "") -> list[str]:
    """The tables and views whose name has that part."""
    from ingest_pipelines.sources import open_query

    with open_query(connection) as source:
        return [name for name in source.tables() if part.lower() in name.lower()]


def _print_files(connection: str, listing: Listing, *, as_json: bool) -> None:
    if as_json:
        screen.as_json(
            {
                "files": [
                    {"path": file.path, "size": file.size, "modified_at": file.modified_at} for file in listing.files
                ],
                "too_deep": listing.too_deep,
            }
        )
        return
    screen.say(f"{screen.painted(connection, 'strong')}: {screen.plural(len(listing.files), 'file')}")
    screen.say()
    newest = sorted(listing.files, key=lambda file: file.modified_at, reverse=True)[:SHOWN]
    for line in screen.columns(("modified", "bytes", "file"), map(_file_row, newest), right=[1]):
        screen.say(line)
    if len(listing.files) > SHOWN:
        screen.say(f"  ... and {screen.number(len(listing.files) - SHOWN)} older ones; name a folder, or use --json")
    if listing.too_deep:
        screen.say(f"  {screen.plural(listing.too_deep, 'file')} more than two folders deep: no import can read them")
    if newest:
        screen.say()
        screen.say(f"  ingest browse {connection} '{shown(newest[0].path)}' --columns")


def _file_row(file: SourceFile) -> tuple[str, str, str]:
    return screen.moment(file.modified_at), screen.number(file.size), shown(file.path)


def _print_tables(connection: str, tables: list[str], *, as_json: bool) -> None:
    if as_json:
        screen.as_json({"tables": tables})
        return
    screen.say(f"{screen.painted(connection, 'strong')}: {screen.plural(len(tables), 'table')}")
    screen.say()
    for name in tables[:SHOWN]:
        screen.say(f"  {shown(name)}")
    if len(tables) > SHOWN:
        screen.say(f"  ... and {screen.number(len(tables) - SHOWN)} more; name a part of the table's name")
    if tables:
        screen.say()
        screen.say(f"  ingest browse {connection} '{shown(tables[0])}' --columns")


def print_columns(path: str, samples: list[ColumnSample]) -> None:
    """Each column with its suggested type and its first value."""
    screen.say(f"{screen.painted(shown(path), 'strong')}: {screen.plural(len(samples), 'column')}")
    screen.say()
    rows = [(shown(sample.column), sample.suggested, shown(sample.first, 60)) for sample in samples]
    for line in screen.columns(("column", "suggested type", "first value"), rows):
        screen.say(line)
