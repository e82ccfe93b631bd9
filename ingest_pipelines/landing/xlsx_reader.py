"""Reads a sheet of a landed Excel workbook as text frames, with the sheet's row numbers. It is in memory as a whole."""

from __future__ import annotations

import gc
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.file_format import Format, range_of, written
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import content_of
from ingest_pipelines.landing.arrow_types import text_array
from ingest_pipelines.landing.cell_caps import check_cells, check_columns
from ingest_pipelines.landing.edges import trim_column
from ingest_pipelines.landing.frames import BATCH_ROWS, Frames
from ingest_pipelines.landing.header import Spellings, missing_columns, names_of_columns
from ingest_pipelines.landing.land import FREE_EXPANSION
from ingest_pipelines.landing.xlsx_cells import NotCalculated, first_with_day_60, look_through, put_unread
from ingest_pipelines.model import LINE, Landing

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

HEADER_ROWS = 50
"""Rows among which a refusal looks for the header, below a title."""

OTHER_SHEETS = 20
"""Sheets that a refusal looks into for the import's columns."""

EXACT = 2.0**53
"""Whole numbers below it are exact in a workbook, which has all numbers as floats."""

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

    A whole number below EXACT has all of its digits, another number the 15 that Excel shows at most; a date and a
    moment are ISO 8601 with a time of day, a truth value is `true` or `false`; empty cells are NULL. An empty row is no
    row.

    Raises:
        ItemRefused: not a workbook, damaged, encrypted; there is no such sheet; a column is missing or occurs twice; a
            limit is exceeded.
    """
    with _no_collections():
        rows, lines, members = _rows(landing, declared, limits)
        try:
            columns, below, their_lines = _columns(landing, rows, lines, declared)
            check_columns(landing, columns, required_columns, spellings, limits)
        except ItemRefused as refusal:
            named = _name_range(refusal, rows, lines, declared, required_columns, spellings)
            if not named:
                _name_sheet(refusal, landing, declared, required_columns, spellings)
            raise
        rows, lines = below, their_lines
        _refuse_second_header(landing, columns, rows, lines, spellings)
        cells = [[row[place] for row in rows] for place in range(len(columns))]
        del rows
        mapped = {name for column in required_columns for name in (column, *spellings.get(column, ()))}
        kinds = [set(map(type, column)) for column in cells]
        for name, column, found in zip(columns, cells, kinds, strict=True):
            if name in mapped:
                _refuse_lost(landing, name, column, found, lines)
                _refuse_no_day(landing, members, name, column, found, lines)
        texts = [_texts(column, found) for column, found in zip(cells, kinds, strict=True)]
    batch = pa.RecordBatch.from_arrays(texts, names=list(columns))
    check_cells(landing, batch, lines, limits)
    numbers = np.array(lines, np.int64)
    return columns, Frames(partial(_frames, batch, numbers, batch_rows), partial(_some_columns, batch, batch_rows))


@contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage collection in the block: each row is a list, thousands set one off, and none of them is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _rows(landing: Landing, declared: Format, limits: Limits) -> tuple[list[list[Any]], list[int], Sequence[str]]:
    """The rows of the declared range that are not empty, their numbers in the sheet, and the archive's files of it."""
    import python_calamine as calamine

    _refuse_expansion(landing, limits)
    uri = landing.item.uri
    try:
        with landing.path.open("rb") as file:
            workbook = calamine.CalamineWorkbook.from_filelike(file)
            name = _sheet_name(landing, workbook.sheet_names, declared.sheet, visible_sheets(workbook))
            facts = look_through(landing, name)
            sheet = workbook.get_sheet_by_name(name)
            rows = sheet.to_python(skip_empty_area=False)
            merged = sheet.merged_cell_ranges or []
        put_unread(landing, rows, facts)
    except calamine.PasswordError:
        raise ItemRefused(f"{uri}: the workbook is encrypted", hint=_AGAIN) from None
    except (calamine.CalamineError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError):
        raise ItemRefused(f"{uri}: it cannot be read as an Excel workbook", hint=_AGAIN) from None
    top, left, bottom, right = range_of(declared.range) if declared.range else (0, 0, None, None)
    if declared.range:
        width = None if right is None else right + 1
        rows = [row[left:width] for row in rows[top : None if bottom is None else bottom + 1]]
    filled = [(row, number) for number, row in enumerate(rows, top + 1) if row.count("") < len(row)]
    _refuse_merged(landing, merged, [number for _, number in filled], left, right)
    return [row for row, _ in filled], [number for _, number in filled], facts.members


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
            head = file.read(64 << 10)
        if head.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in head or b"xl/" in head):
            raise ItemRefused(
                f"{uri}: the workbook is damaged or was cut off",
                hint="upload the whole file again; if it stays so, open it in Excel, repair it and save it",
            ) from None
        content = content_of(head, landing.item.path)
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


def _name_range(
    refusal: ItemRefused, rows: list[list[Any]], lines: list[int], declared: Format, required: Sequence[str],
    spellings: Spellings,
) -> bool:  # fmt: skip
    """Makes the refusal's hint the range that begins with the header, if one of the first rows holds all columns."""
    if declared.header is not None or not required:
        return False
    for row, line in zip(rows[1:HEADER_ROWS], lines[1:HEADER_ROWS], strict=True):
        names = {_text(cell) or "" for cell in row}
        if not missing_columns(required, names, spellings):
            left = range_of(declared.range)[1] if declared.range else 0
            cells = f"{_letters(left)}{line}"
            refusal.hint = f"write in the import's source: {written({**declared.given, 'range': cells})}"
            return True
    return False


def _name_sheet(
    refusal: ItemRefused, landing: Landing, declared: Format, required: Sequence[str], spellings: Spellings
) -> None:
    """Makes the refusal's hint the sheet whose first row holds all columns, if no sheet is declared."""
    if declared.sheet is not None or declared.header is not None or declared.range is not None or not required:
        return
    import python_calamine as calamine

    with landing.path.open("rb") as file:
        workbook = calamine.CalamineWorkbook.from_filelike(file)
        for name in visible_sheets(workbook)[1:OTHER_SHEETS]:
            try:
                look_through(landing, name)
                rows = workbook.get_sheet_by_name(name).to_python(nrows=1)
            except (ItemRefused, calamine.CalamineError):
                continue
            names = {_text(cell) or "" for cell in (rows[0] if rows else ())}
            if not missing_columns(required, names, spellings):
                refusal.hint = f"write in the import's source: {written({**declared.given, 'sheet': name})}"
                return


def _letters(column: int) -> str:
    """The letters of a sheet's column, which counts from 0."""
    return (_letters(column // 26 - 1) if column >= 26 else "") + chr(ord("A") + column % 26)


def _refuse_second_header(
    landing: Landing, columns: Sequence[str], rows: list[list[Any]], lines: list[int], spellings: Spellings
) -> None:
    """Raises ItemRefused for a row that consists of the header's names, in any order and spelling."""
    name_of = names_of_columns(columns, spellings)
    names = sorted(map(trimmed, columns))
    for row, line in zip(rows, lines, strict=True):
        first = row[0]
        if (
            isinstance(first, str)
            and trimmed(first) in name_of
            and sorted(name_of.get(text, text) for text in (trimmed(_text(cell) or "") for cell in row)) == names
        ):
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: a second header: the sheet was put together from several",
                line=line,
                hint="upload each sheet separately, or remove the row",
            )


def _refuse_lost(
    landing: Landing, name: str, cells: Sequence[Any], kinds: Collection[type], lines: Sequence[int]
) -> None:
    """Raises ItemRefused for a cell of which the workbook does not have the value.

    That is a formula without a result, and a whole number of which the last digits are lost.
    """
    if NotCalculated in kinds:
        line = next(line for line, cell in zip(lines, cells, strict=True) if isinstance(cell, NotCalculated))
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the formula in '{printable(name)}' has no result: the program that "
            "wrote the workbook did not calculate it",
            line=line,
            hint="open the workbook in Excel or LibreOffice, save it and upload it again; or write values instead "
            "of formulas",
        )
    numbers = [cell for cell in cells if type(cell) is float] if float in kinds else []
    if numbers and (np.abs(np.array(numbers)) >= EXACT).any():
        line = next(line for line, cell in zip(lines, cells, strict=True) if type(cell) is float and abs(cell) >= EXACT)
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the number in '{printable(name)}' is above 2^53, and a workbook does "
            "not keep all digits of such a number",
            line=line,
            hint="format the column as text and enter its numbers again, or export them as CSV from where they are "
            "exact",
        )


def _refuse_no_day(
    landing: Landing, members: Sequence[str], name: str, cells: Sequence[Any], kinds: Collection[type],
    lines: Sequence[int],
) -> None:  # fmt: skip
    """Raises ItemRefused for 29 February 1900, which Excel has and no calendar: the library reads the day before."""
    if date not in kinds and datetime not in kinds:
        return
    before = [
        line for line, cell in zip(lines, cells, strict=True)
        if isinstance(cell, date) and (cell.year, cell.month, cell.day) == (1900, 2, 28)
    ]  # fmt: skip
    line = first_with_day_60(landing, members, before) if before else None
    if line is not None:
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the date in '{printable(name)}' is 29 February 1900, a day that only "
            "Excel's calendar has",
            line=line,
            hint="correct the cell: it is often the number 60 in a column of dates, or an unknown date",
        )


def _texts(cells: Sequence[Any], kinds: set[type]) -> pa.Array:
    if kinds <= {float, str} and float in kinds and (numbers := _numbers(cells)) is not None:
        return numbers
    if kinds <= {str}:
        texts = pl.Series(cells, dtype=pl.String)
        return texts.set(texts == "", None).to_arrow().cast(pa.string())
    return text_array([cell or None if type(cell) is str else _WRITE[type(cell)](cell) for cell in cells])


def _numbers(cells: Sequence[float | str]) -> pa.Array | None:
    """What `_number` makes of each cell; None if a cell is text."""
    values = [None if cell == "" else cell for cell in cells]
    if any(type(value) is str for value in values):
        return None
    numbers = pl.Series(values, dtype=pl.Float64)
    whole = ((numbers == numbers.floor()) & (numbers.abs() < EXACT)).fill_null(False)
    texts = numbers.cast(pl.String)  # the fewest digits that mean the number: up to 15 of them are Excel's, too
    others = (~whole & ((texts.str.len_bytes() > 16) | texts.str.contains("[^0-9.-]"))).fill_null(False)
    texts = numbers.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole, texts)
    if others.any():
        places = others.arg_true()
        texts = texts.scatter(places, [_number(number) for number in numbers.gather(places)])
    return texts.to_arrow().cast(pa.string())


def _text(cell: Any) -> str | None:
    return cell or None if isinstance(cell, str) else _WRITE[type(cell)](cell)


def _number(cell: float) -> str:
    """A whole number that is exact; another one with the digits that Excel has: 15.

    More digits are of its arithmetic, such as 0.30000000000000004.
    """
    if cell.is_integer() and abs(cell) < EXACT:
        return str(int(cell))
    text = format(cell, ".15g")
    return format(Decimal(text), "f") if "e" in text else text


def _duration(cell: timedelta) -> str:
    """Hours, minutes and seconds, as `[h]:mm:ss` shows them: 36:00:00, not 1 day and 12 hours."""
    seconds, rest = divmod(abs(cell) // timedelta(microseconds=1), 1_000_000)
    sign, fraction = "-" if cell < timedelta() else "", f".{rest:06}" if rest else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


_WRITE: dict[type, Callable[[Any], str | None]] = {
    float: _number,
    int: str,
    bool: lambda cell: "true" if cell else "false",
    # The library has a moment at midnight as a date; a date field reads both, a datetime field only moments.
    date: lambda cell: f"{cell.isoformat()}T00:00:00",
    datetime: lambda cell: cell.isoformat(),
    time: lambda cell: cell.isoformat(),
    timedelta: _duration,
    NotCalculated: lambda _: None,
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
