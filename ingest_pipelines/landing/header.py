"""Reads the header of a CSV file, or refuses the file because of it."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import BOM, content_of
from ingest_pipelines.model import OWN_COLUMNS, Landing

MAX_HEADER_BYTES = 8 << 20
"""The header must end within so many bytes."""

QUOTING = 'quote the whole cell, with no blank before the quote; write a quote inside it twice: "a ""b"" c"'
"""What to do about a quote in the wrong place."""

CONTENT_BYTES = 64 << 10
"""How many bytes are read to recognise the kind of file."""

_OTHER_DELIMITERS = {";": "semicolon", "\t": "tab", "|": "vertical bar"}
_CELL = rb'(?:"(?:[^"]|"")*+"|[^",\r\n]*+)'
_RECORD = re.compile(rb"[\r\n]*+" + _CELL + rb"(?:," + _CELL + rb")*+[\r\n]*+")
"""RFC 4180: quotes enclose a whole cell; inside it a quote is doubled."""


@dataclass(frozen=True)
class Header:
    """Where a file's rows begin.

    Attributes:
        columns: the header's cells.
        offset: bytes before the first row.
        lines: physical lines before the first row.
    """

    columns: tuple[str, ...]
    offset: int
    lines: int


def read_header(landing: Landing, required: Sequence[str], limits: Limits) -> Header:
    """The first line that is not blank, parsed as RFC 4180.

    Raises:
        ItemRefused: empty file, not UTF-8, another delimiter, duplicate names, a required column is missing, too
            many columns.
    """
    with landing.path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    _refuse_other_content(landing, head)
    start = len(BOM) if head.startswith(BOM) else 0
    lines = _HeaderLines(head, start)
    line = 1
    try:
        cells: list[str] = []
        for cells in csv.reader(lines, strict=True):
            if cells:
                break
            line = lines.count + 1
        if not cells:
            raise ItemRefused(
                f"{landing.item.uri}: the file is empty", line=1, hint="upload a file with a header and rows"
            )
        columns = tuple(cell.encode("latin-1").decode("utf-8") for cell in cells)
        if not _RECORD.fullmatch(head[start : lines.offset]):
            raise csv.Error
    except csv.Error:
        _refuse_delimiter(landing, head[start : lines.offset].decode("utf-8", "replace"), line, required)
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the header cannot be read: a quote in it never closes, or is inside "
            "a cell that does not begin with one",
            line=line,
            hint=QUOTING,
        ) from None
    except UnicodeDecodeError:
        raise not_utf8(landing, line, head[: lines.offset]) from None
    _refuse_columns(landing, columns, line, required, limits)
    return Header(columns, lines.offset, lines.count)


class _HeaderLines:
    """The physical lines of the file's head as text, one character per byte; counts what was read."""

    def __init__(self, head: bytes, start: int) -> None:
        self.offset = start
        self.count = 0
        self._text = io.StringIO(head[start:].decode("latin-1"), newline="")

    def __iter__(self) -> Iterator[str]:
        for text in self._text:
            self.offset += len(text)
            self.count += 1
            yield text


def _refuse_other_content(landing: Landing, head: bytes) -> None:
    if content := content_of(head[:CONTENT_BYTES], landing.item.path):
        raise ItemRefused(f"{landing.item.uri}, line 1: the file is {content.name}", line=1, hint=content.advice)


def not_utf8(landing: Landing, line: int, around: bytes) -> ItemRefused:
    """The refusal of bytes that are not UTF-8, with a guess at their encoding."""
    if around.count(b"\0") * 4 > len(around):
        guess, hint = "it looks like UTF-16", "save the file as UTF-8 (CSV UTF-8)"
    elif around and not any(0x80 <= byte <= 0x9F and byte in {0x81, 0x8D, 0x8F, 0x90, 0x9D} for byte in around):
        guess = "it looks like Windows-1252 (or Latin-1)"
        hint = "save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8"
    else:
        guess, hint = "its encoding is unknown", "save the file as UTF-8 (CSV UTF-8)"
    return ItemRefused(f"{landing.item.uri}, line {line}: not valid UTF-8; {guess}", line=line, hint=hint)


def _refuse_columns(
    landing: Landing, columns: tuple[str, ...], line: int, required: Sequence[str], limits: Limits
) -> None:
    where = f"{landing.item.uri}, line {line}"
    if any("\0" in column for column in columns):
        raise ItemRefused(
            f"{where}: the header contains NUL; it looks like UTF-16", line=line, hint="save the file as UTF-8"
        )
    missing = [column for column in required if column not in columns]
    if missing:
        _refuse_delimiter(landing, ",".join(columns), line, required)
    if len(columns) > limits.max_columns:
        raise ItemRefused(
            f"{where}: {len(columns):,} columns; at most {limits.max_columns:,} are allowed",
            line=line,
            hint="raise source.limits.max_columns, or remove columns",
        )
    if columns.count("") > 1:
        raise ItemRefused(
            f"{where}: columns {_places(columns, '')} have no name",
            line=line,
            hint="remove them (the header may end in commas), or give each its own name",
        )
    # Without any mapped column the first line may be a row: its cells are not named.
    named = set(required).intersection(columns)
    repeated = [column for column, times in Counter(columns).items() if times > 1] if named or not required else []
    if repeated:
        places = [f"'{printable(column)}' in columns {_places(columns, column)}" for column in repeated[:10]]
        raise ItemRefused(
            f"{where}: the header repeats {'; '.join(places)}", line=line, hint="give each column its own name"
        )
    own = [name for name in OWN_COLUMNS if name in columns]
    if own:
        raise ItemRefused(f"{where}: the column name '{own[0]}' is reserved", line=line, hint="rename the column")
    if missing:
        raise ItemRefused(
            f"{where}: the header lacks {'; '.join(_lacking(column, columns, same=not named) for column in missing)}",
            line=line,
            hint="correct the file's header, or the import's columns",
        )


def _refuse_delimiter(landing: Landing, header: str, line: int, required: Sequence[str]) -> None:
    """Raises ItemRefused if the header has all required columns when split at another delimiter than the comma."""
    for delimiter, name in _OTHER_DELIMITERS.items():
        if set(required) <= set(next(csv.reader(header.splitlines(), delimiter=delimiter), [])):
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: the delimiter is a {name}; it must be a comma",
                line=line,
                hint="export the file with commas",
            )


def _places(columns: Sequence[str], column: str) -> str:
    return ", ".join(str(index) for index, name in enumerate(columns, 1) if name == column)


def _lacking(column: str, columns: Sequence[str], *, same: bool) -> str:
    """The column, with the header's name that it may be; with `same` only one that differs in case and blanks."""
    folded = {name.strip().casefold(): name for name in columns}
    close = difflib.get_close_matches(column.strip().casefold(), folded, n=1, cutoff=1.0 if same else 0.6)
    return f"'{printable(column)}' (there is '{printable(folded[close[0]])}')" if close else f"'{printable(column)}'"
