"""Looks through a sheet's XML for what the library would not survive or not say.

It takes memory for every cell up to the last row and column, so that one stray cell can need more than there is. It
hands over as empty what is not: errors such as #N/A, and formulas without a result. A program that writes formulas does
not calculate them: a spreadsheet does that when it opens the workbook. Until then the cell is empty, and an empty cell
clears a field.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np

from ingest_pipelines.config.file_format import range_of
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.model import Landing

MOST_EMPTY = 5_000_000
"""Cells up to the last row and column that a sheet may have, whatever is in them. A larger one has a byte for each."""


class NotCalculated:
    """A cell with a formula that has no result."""


@dataclass(frozen=True)
class SheetFacts:
    """What occurs in a sheet.

    Attributes:
        members: the archive's files to look into: the sheet's, or those of all sheets if it is not known.
    """

    members: tuple[str, ...]
    errors: bool
    formulas: bool


def look_through(landing: Landing, sheet: str) -> SheetFacts:
    """What occurs in the sheet, whose XML is read in pieces.

    Raises:
        ItemRefused: it has a cell far away from the others.
    """
    errors = formulas = False
    with zipfile.ZipFile(landing.path) as archive:
        try:
            members: tuple[str, ...] = (_member_of(archive, archive.read("xl/workbook.xml").decode(), sheet),)
            archive.getinfo(members[0])
        except (KeyError, StopIteration, UnicodeDecodeError):
            members = tuple(name for name in archive.namelist() if _SHEET.fullmatch(name))
        for member in members:
            far = False
            for text in _pieces(archive, member):
                # To look for the patterns at once takes a third of the time of the reader's parser.
                if not errors and _holds(text, b'="e"', b"='e'"):
                    errors = _ERROR.search(text) is not None
                if not formulas and _holds(text, b"<f", b":f"):  # with or without a prefix
                    formulas = _FORMULA.search(text) is not None
                far = far or _FAR.search(text) is not None
            if far:
                _refuse_empty_area(landing, archive, member)
    return SheetFacts(members, errors, formulas)


def _holds(text: bytes, *patterns: bytes) -> bool:
    """Whether one of the patterns, of two or of four letters, is in the text: many letters are compared at a time."""
    width = len(patterns[0])
    numbers = [np.frombuffer(pattern, f"u{width}")[0] for pattern in patterns]
    letters = np.frombuffer(text, np.uint8)
    for start in range(min(width, len(text))):
        words = letters[start : start + (len(text) - start) // width * width].view(f"u{width}")
        if any((words == number).any() for number in numbers):
            return True
    return False


def _pieces(archive: zipfile.ZipFile, member: str) -> Iterator[bytes]:
    """The file's bytes; each piece begins with the end of the one before, so that no short pattern is cut."""
    with archive.open(member) as xml:
        last = b""
        while piece := xml.read(1 << 20):
            yield last + piece
            last = piece[-16:]


def _refuse_empty_area(landing: Landing, archive: zipfile.ZipFile, member: str) -> None:
    row = column = 0
    for text in _pieces(archive, member):
        for letters, number in set(_REFERENCE.findall(text)):
            _, place, _, _ = range_of(f"{letters.decode()}1")
            row, column = max(row, int(number)), max(column, place + 1)
    if row * column > max(MOST_EMPTY, archive.getinfo(member).file_size):
        raise ItemRefused(
            f"{landing.item.uri}: the sheet reaches to row {row:,} and column {column:,}, and almost all of it is "
            "empty: a cell far away from the others has a value or a format",
            hint="delete the rows below and the columns right of the table (Ctrl+End shows the last cell), or export "
            "the sheet as CSV",
        )


def put_unread(landing: Landing, rows: list[list[Any]], facts: SheetFacts) -> None:
    """Puts the errors' texts, and `NotCalculated`, into their cells of the sheet's rows.

    Raises:
        ItemRefused: the workbook has such cells, and their places are not known.
    """
    if not (facts.errors or facts.formulas):
        return
    try:
        with zipfile.ZipFile(landing.path) as archive:
            (member,) = facts.members
            xml = archive.read(member)
            stale = _STALE.search(archive.read("xl/workbook.xml").decode()) is not None
        if facts.errors:
            _put_errors(rows, xml)
        if facts.formulas:
            _put_not_calculated(rows, xml, stale=stale)
    except (KeyError, ValueError):
        raise ItemRefused(
            f"{landing.item.uri}: the workbook has cells with errors such as #N/A or with formulas, and which they are "
            "is not known",
            hint="correct these cells, or export the sheet as CSV",
        ) from None


_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_FAR = re.compile(rb"r=[\"'](?:[A-Z]{2,3}[0-9]|[A-Z]?[0-9]{7})")
"""The place of a cell that may make the area large: right of column Z, or below row 999,999."""
_REFERENCE = re.compile(rb"\sr=[\"']([A-Z]{1,3})([0-9]{1,7})[\"']")
_ERROR = re.compile(rb"\st=[\"']e[\"']")
_ERROR_CELL = re.compile(
    rb"<(?:\w+:)?c\b(?P<attributes>[^>]*\st=[\"']e[\"'][^>]*)>(?:(?!</(?:\w+:)?c>).)*?<(?:\w+:)?v>(?P<text>[^<]*)</",
    re.DOTALL,
)
_PLACE = re.compile(rb"\sr=[\"']([A-Z]{1,3}[0-9]{1,7})[\"']")
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_FORMULA_CELL = re.compile(
    rb"<(?:\w+:)?f(?:\s[^>]*?)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*(?:<(?:\w+:)?v(?:\s[^>]*?)?(?:/>|>(?P<value>[^<]*)</))?"
)
_DAY_60 = re.compile(
    rb"<(?:\w+:)?c\b[^>]*\sr=[\"'][A-Z]{1,3}([0-9]{1,7})[\"'][^>]*>(?:(?!</(?:\w+:)?c>).)*?<(?:\w+:)?v>60(?:\.[0-9]+)?</",
    re.DOTALL,
)
_TEXT = re.compile(rb"\st=[\"']str[\"']")
_STALE = re.compile(r"<(?:\w+:)?calcPr\b[^>]*\sfullCalcOnLoad=[\"'](?:1|true)[\"']")
"""The program asks for all formulas to be calculated when the workbook is opened: a 0 may be a result or none."""


def first_with_day_60(landing: Landing, members: Sequence[str], lines: Sequence[int]) -> int | None:
    """The first of these rows of the sheet that has the number 60: as a date, 29 February 1900."""
    with zipfile.ZipFile(landing.path) as archive:
        there = {int(cell[1]) for member in members for cell in _DAY_60.finditer(archive.read(member))}
    return next((line for line in lines if line in there), None)


def _put_errors(rows: list[list[Any]], xml: bytes) -> None:
    cells = list(_ERROR_CELL.finditer(xml))
    if len(cells) != len(_ERROR.findall(xml)):
        raise KeyError
    for cell in cells:
        _put(rows, cell["attributes"], unescape(cell["text"].decode()))


def _put_not_calculated(rows: list[list[Any]], xml: bytes, *, stale: bool) -> None:
    for formula in _FORMULA_CELL.finditer(xml):
        value = (formula["value"] or b"").strip()
        if value and not (stale and value == b"0"):
            continue
        start = xml.rindex(b"<", 0, formula.start())
        attributes = xml[start : xml.index(b">", start)]
        if value or not _TEXT.search(attributes):  # the result may be an empty text
            _put(rows, attributes, NotCalculated())


def _put(rows: list[list[Any]], attributes: bytes, value: object) -> None:
    place = _PLACE.search(attributes)
    if place is None:
        raise KeyError
    row, column, _, _ = range_of(place[1].decode())
    if row < len(rows) and column < len(rows[row]):
        rows[row][column] = value


def _member_of(archive: zipfile.ZipFile, book: str, sheet: str) -> str:
    """The archive's file with the sheet."""
    tags = (tag for tag in re.findall(r"<(?:\w+:)?sheet\b[^>]*>", book))
    tag = next(tag for tag in tags if unescape(_attribute(tag, "name")) == sheet)
    links = re.findall(r"<(?:\w+:)?Relationship\b[^>]*>", archive.read("xl/_rels/workbook.xml.rels").decode())
    link = next(link for link in links if _attribute(link, "Id") == _attribute(tag, r"\w+:id"))
    target = _attribute(link, "Target")
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _attribute(tag: str, name: str) -> str:
    match = re.search(rf"\s{name}=[\"']([^\"']*)[\"']", tag)
    return match[1] if match else ""
