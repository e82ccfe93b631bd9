"""Reads a sheet of a landed Excel workbook as text frames, with the sheet's row numbers. It is in memory as a whole."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.file_format import Format, range_of
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import content_of
from ingest_pipelines.landing.cell_caps import check_cells, check_columns
from ingest_pipelines.landing.edges import trim_column
from ingest_pipelines.landing.frames import BATCH_ROWS, Frames
from ingest_pipelines.landing.header import Spellings
from ingest_pipelines.landing.land import FREE_EXPANSION
from ingest_pipelines.model import LINE, Landing

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

_AGAIN = "save it as an Excel workbook (.xlsx) without a password, or export it as CSV"


def read_xlsx(
    landing: Landing,
    required_columns: Sequence[str],
    spellings: Spellings,
    declared: Format,
    limits: Limits,
    *,
    batch_rows: int = BATCH_ROWS,
) -> tuple[tuple[str, ...], Frames]:
    """The sheet's header, and its rows as frames: LINE (the sheet's row), TRIM, a String per column.

    A number has the digits that Excel shows at most (15), a date and a moment are ISO 8601 with a time of day, a truth
    value is `true` or `false`; empty cells are NULL. An empty row is no row.

    Raises:
        ItemRefused: not a workbook, damaged, encrypted; there is no such sheet; a column is missing or occurs twice; a
            limit is exceeded.
    """
    rows, lines = _rows(landing, declared, limits)
    columns, rows, lines = _columns(landing, rows, lines, declared)
    check_columns(landing, columns, required_columns, spellings, limits)
    _refuse_second_header(landing, columns, rows, lines)
    # Not by zip: its iterators, one a row, set off the garbage collector over and over.
    cells = [[row[place] for row in rows] for place in range(len(columns))]
    batch = pa.RecordBatch.from_arrays(
        [_texts(landing, name, column, lines) for name, column in zip(columns, cells, strict=True)], names=list(columns)
    )
    check_cells(landing, batch, lines, limits)
    numbers = np.array(lines, np.int64)
    return columns, Frames(partial(_frames, batch, numbers, batch_rows), partial(_some_columns, batch, batch_rows))


def _rows(landing: Landing, declared: Format, limits: Limits) -> tuple[list[list[Any]], list[int]]:
    """The rows of the declared range that are not empty, and their numbers in the sheet."""
    import python_calamine as calamine

    _refuse_expansion(landing, limits)
    uri = landing.item.uri
    try:
        with landing.path.open("rb") as file:
            workbook = calamine.CalamineWorkbook.from_filelike(file)
            name = _sheet_name(landing, workbook.sheet_names, declared.sheet, visible_sheets(workbook))
            sheet = workbook.get_sheet_by_name(name)
            rows = sheet.to_python(skip_empty_area=False)
            merged = sheet.merged_cell_ranges or []
        _fill_errors(landing, rows, name)
    except calamine.PasswordError:
        raise ItemRefused(f"{uri}: the workbook is encrypted", hint=_AGAIN) from None
    except (calamine.CalamineError, OSError):
        raise ItemRefused(f"{uri}: it cannot be read as an Excel workbook", hint=_AGAIN) from None
    top, left, bottom, right = range_of(declared.range) if declared.range else (0, 0, None, None)
    if declared.range:
        width = None if right is None else right + 1
        rows = [row[left:width] for row in rows[top : None if bottom is None else bottom + 1]]
    filled = [(row, number) for number, row in enumerate(rows, top + 1) if row.count("") < len(row)]
    _refuse_merged(landing, merged, [number for _, number in filled], left, right)
    return [row for row, _ in filled], [number for _, number in filled]


def visible_sheets(workbook: CalamineWorkbook) -> list[str]:
    """The sheets of cells that a person sees, in order; of a workbook that hides all of them, all."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    visible = [sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible]
    return visible or [sheet.name for sheet in sheets]


def _refuse_merged(
    landing: Landing, merged: Sequence[tuple[tuple[int, int], tuple[int, int]]], lines: list[int], left: int,
    right: int | None,
) -> None:  # fmt: skip
    """Raises ItemRefused for merged cells below the header: only the first has the value, and an empty one clears."""
    below = set(lines[1:])
    for (first, start), (last, end) in merged:
        line = next((number for number in range(first + 1, last + 2) if number in below), None)
        if line is not None and end >= left and (right is None or start <= right):
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: merged cells, of which only the first has a value",
                line=line,
                hint="unmerge the cells below the header and fill each, or leave them out: source.format.range",
            )


def _refuse_expansion(landing: Landing, limits: Limits) -> None:
    """A workbook is a zip archive, which the reader unpacks into memory."""
    uri = landing.item.uri
    try:
        with zipfile.ZipFile(landing.path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError):
        with landing.path.open("rb") as file:
            content = content_of(file.read(64 << 10), landing.item.path)
        what = f"the file is {content.name}" if content else "it is not an Excel workbook (.xlsx)"
        raise ItemRefused(f"{uri}: {what}", hint=_AGAIN) from None
    if unpacked > limits.max_bytes:
        raise ItemRefused(
            f"{uri}: unpacked, the workbook is larger than {limits.max_bytes:,} bytes",
            hint="split the file, or raise source.limits.max_bytes",
        )
    if unpacked > max(FREE_EXPANSION, landing.bytes * limits.max_expansion):
        raise ItemRefused(
            f"{uri}: it expands to more than {limits.max_expansion} times its compressed size",
            hint="if the file is valid, raise source.limits.max_expansion",
        )


def _fill_errors(landing: Landing, rows: list[list[Any]], sheet: str) -> None:
    """Puts errors such as #N/A into their cells: the library has them as empty, and an empty cell clears a field."""
    with zipfile.ZipFile(landing.path) as archive:
        if not any(_has_errors(archive, member) for member in archive.namelist() if _SHEET.fullmatch(member)):
            return
        try:
            xml = archive.read(_member_of(archive, sheet))
        except (KeyError, StopIteration):
            raise _unknown_errors(landing) from None
    found = list(_ERROR_CELL.finditer(xml))
    if len(found) != len(_ERROR.findall(xml)):
        raise _unknown_errors(landing)
    for cell in found:
        place = _PLACE.search(cell["attributes"])
        if place is None:
            raise _unknown_errors(landing)
        row, column, _, _ = range_of(place[1].decode())
        if row < len(rows) and column < len(rows[row]):
            rows[row][column] = unescape(cell["text"].decode())


_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_ERROR = re.compile(rb"\st=[\"']e[\"']")
_ERROR_CELL = re.compile(
    rb"<c\b(?P<attributes>[^>]*\st=[\"']e[\"'][^>]*)>(?:(?!</c>).)*?<v>(?P<text>[^<]*)</v>", re.DOTALL
)
_PLACE = re.compile(rb"\sr=[\"']([A-Z]{1,3}[0-9]{1,7})[\"']")


def _has_errors(archive: zipfile.ZipFile, member: str) -> bool:
    """Whether a sheet has a cell with an error; it is read in pieces."""
    with archive.open(member) as xml:
        last = b""
        while piece := xml.read(1 << 20):
            text = last + piece
            # To look for the pattern at once takes a third of the time of the reader's parser.
            if (b't="e"' in text or b"t='e'" in text) and _ERROR.search(text):
                return True
            last = piece[-16:]
    return False


def _member_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """The archive's file with the sheet."""
    book = archive.read("xl/workbook.xml").decode()
    tags = (tag for tag in re.findall(r"<(?:\w+:)?sheet\b[^>]*>", book))
    tag = next(tag for tag in tags if unescape(_attribute(tag, "name")) == sheet)
    links = re.findall(r"<(?:\w+:)?Relationship\b[^>]*>", archive.read("xl/_rels/workbook.xml.rels").decode())
    link = next(link for link in links if _attribute(link, "Id") == _attribute(tag, r"\w+:id"))
    target = _attribute(link, "Target")
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _attribute(tag: str, name: str) -> str:
    match = re.search(rf"\s{name}=[\"']([^\"']*)[\"']", tag)
    return match[1] if match else ""


def _unknown_errors(landing: Landing) -> ItemRefused:
    return ItemRefused(
        f"{landing.item.uri}: the workbook has cells with errors such as #N/A, and which they are is not known",
        hint="correct these cells, or export the sheet as CSV",
    )


def _sheet_name(landing: Landing, names: Sequence[str], wanted: str | int | None, visible: Sequence[str]) -> str:
    if wanted is None and visible:
        return visible[0]
    there = ", ".join(f"'{printable(name)}'" for name in names[:10])
    if isinstance(wanted, str) and wanted in names:
        return wanted
    number = 1 if wanted is None else wanted
    if isinstance(number, int) and number <= len(names):
        return names[number - 1]
    raise ItemRefused(
        f"{landing.item.uri}: the workbook has no sheet {printable(str(number))}; it has {there or 'none'}",
        hint="name one of them in source.format.sheet",
    )


def _columns(
    landing: Landing, rows: list[list[Any]], lines: list[int], declared: Format
) -> tuple[tuple[str, ...], list[list[Any]], list[int]]:
    """The names of the columns, and the rows without the header and without columns that are empty."""
    if not rows:
        raise ItemRefused(f"{landing.item.uri}: the sheet is empty", hint="source.format says sheet and range")
    if declared.header == "none":
        return tuple(f"column_{number}" for number in range(1, len(rows[0]) + 1)), rows, lines
    if isinstance(declared.header, tuple):
        names = list(declared.header)
    else:
        names = [_text(cell) or "" for cell in rows[0]]
        rows, lines = rows[1:], lines[1:]
    width = max((len(row) for row in rows), default=len(names))
    names += [""] * (width - len(names))
    empty = [n for n, name in enumerate(names) if not name and not any(n < len(r) and r[n] != "" for r in rows)]
    nameless = [n for n, name in enumerate(names) if not name and n not in empty]
    if nameless:
        raise ItemRefused(
            f"{landing.item.uri}, line {lines[0] if lines else 1}: cells without a column's name, in "
            f"{', '.join(f'column {n + 1}' for n in nameless[:10])}",
            line=lines[0] if lines else 1,
            hint="give each its own name, or leave them out: source.format.range",
        )
    if empty:
        left = [n for n in range(len(names)) if n not in empty]
        names, rows = [names[n] for n in left], [[row[n] for n in left] for row in rows]
    if rows and len(rows[0]) != len(names):
        raise ItemRefused(
            f"{landing.item.uri}: source.format.header has {len(names)} names, and the sheet {len(rows[0])} columns",
            hint="name each column, or choose them: source.format.range",
        )
    return tuple(names), rows, lines


def _refuse_second_header(landing: Landing, columns: Sequence[str], rows: list[list[Any]], lines: list[int]) -> None:
    """Raises ItemRefused for a row that consists of the header's names in any order."""
    names = sorted(map(trimmed, columns))
    known = set(names)
    for row, line in zip(rows, lines, strict=True):
        first = row[0]
        if (
            isinstance(first, str)
            and first.strip() in known
            and sorted(trimmed(_text(cell) or "") for cell in row) == names
        ):
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: a second header: the sheet was put together from several",
                line=line,
                hint="upload each sheet separately, or remove the row",
            )


def _texts(landing: Landing, name: str, cells: Sequence[Any], lines: Sequence[int]) -> pa.Array:
    kinds = set(map(type, cells))
    if kinds <= {str}:
        return pa.array([cell or None for cell in cells], pa.string())
    return pa.array([cell or None if type(cell) is str else _WRITE[type(cell)](cell) for cell in cells], pa.string())


def _text(cell: Any) -> str | None:
    return cell or None if isinstance(cell, str) else _WRITE[type(cell)](cell)


def _number(cell: float) -> str:
    """The number with the digits that Excel has: 15. Others are of its arithmetic, such as 0.30000000000000004."""
    if cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    text = format(cell, ".15g")
    return format(Decimal(text), "f") if "e" in text else text


_WRITE: dict[type, Callable[[Any], str]] = {
    float: _number,
    int: str,
    bool: lambda cell: "true" if cell else "false",
    # The library has a moment at midnight as a date; a date field reads both, a datetime field only moments.
    date: lambda cell: f"{cell.isoformat()}T00:00:00",
    datetime: lambda cell: cell.isoformat(),
    time: lambda cell: cell.isoformat(),
    timedelta: str,
}


def _frames(batch: pa.RecordBatch, lines: np.ndarray, batch_rows: int) -> Iterator[pl.DataFrame]:
    for start in range(0, batch.num_rows, batch_rows):
        part = batch.slice(start, batch_rows)
        frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([part])))
        frame.insert_column(0, pl.Series(LINE, lines[start : start + batch_rows], dtype=pl.Int64))
        yield frame.insert_column(1, trim_column([part]))


def _some_columns(batch: pa.RecordBatch, batch_rows: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    some = batch.select(list(columns))
    for start in range(0, some.num_rows, batch_rows):
        part = some.slice(start, batch_rows)
        yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([part]))).insert_column(0, trim_column([part]))
