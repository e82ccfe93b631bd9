"""Finds the cells of a sheet that the library hands over as empty though they are not, in the workbook's XML.

They are errors such as #N/A, and formulas without a result. A program that writes formulas does not calculate them: a
spreadsheet does that when it opens the workbook. Until then the cell is empty, and an empty cell clears a field.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from ingest_pipelines.config.file_format import range_of
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.model import Landing


class NotCalculated:
    """A cell with a formula that has no result."""


@dataclass
class Unread:
    """What occurs in any sheet of a workbook."""

    errors: bool = False
    formulas: bool = False


def find_unread(path: Path) -> Unread:
    """Whether to look for such cells at all. The sheets are read in pieces."""
    unread = Unread()
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if _SHEET.fullmatch(member):
                _look(archive, member, unread)
    return unread


def _look(archive: zipfile.ZipFile, member: str, unread: Unread) -> None:
    with archive.open(member) as xml:
        last = b""
        while not (unread.errors and unread.formulas) and (piece := xml.read(1 << 20)):
            text = last + piece
            # To look for the patterns at once takes a third of the time of the reader's parser.
            if not unread.errors and (b't="e"' in text or b"t='e'" in text):
                unread.errors = _ERROR.search(text) is not None
            if not unread.formulas and b"<f" in text:
                unread.formulas = _FORMULA.search(text) is not None
            last = piece[-16:]


def put_unread(landing: Landing, rows: list[list[Any]], sheet: str, unread: Unread) -> None:
    """Puts the errors' texts, and `NotCalculated`, into their cells of the sheet's rows.

    Raises:
        ItemRefused: the workbook has such cells, and their places are not known.
    """
    if not (unread.errors or unread.formulas):
        return
    try:
        with zipfile.ZipFile(landing.path) as archive:
            book = archive.read("xl/workbook.xml").decode()
            xml = archive.read(_member_of(archive, book, sheet))
        if unread.errors:
            _put_errors(rows, xml)
        if unread.formulas:
            _put_not_calculated(rows, xml, stale=_STALE.search(book) is not None)
    except (KeyError, StopIteration, UnicodeDecodeError):
        raise ItemRefused(
            f"{landing.item.uri}: the workbook has cells with errors such as #N/A or with formulas, and which they are "
            "is not known",
            hint="correct these cells, or export the sheet as CSV",
        ) from None


_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_ERROR = re.compile(rb"\st=[\"']e[\"']")
_ERROR_CELL = re.compile(
    rb"<c\b(?P<attributes>[^>]*\st=[\"']e[\"'][^>]*)>(?:(?!</c>).)*?<v>(?P<text>[^<]*)</v>", re.DOTALL
)
_PLACE = re.compile(rb"\sr=[\"']([A-Z]{1,3}[0-9]{1,7})[\"']")
_FORMULA = re.compile(rb"<f[\s/>]")
_FORMULA_CELL = re.compile(rb"<f(?:\s[^>]*?)?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v[^>]*>(?P<value>[^<]*)</v>)?")
_TEXT = re.compile(rb"\st=[\"']str[\"']")
_STALE = re.compile(r"<(?:\w+:)?calcPr\b[^>]*\sfullCalcOnLoad=[\"'](?:1|true)[\"']")
"""The program asks for all formulas to be calculated when the workbook is opened: a 0 may be a result or none."""


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
        start = xml.rindex(b"<c", 0, formula.start())
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
