"""Which cells of a workbook are its table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from ingest_pipelines.detection.reading import Choose, Option, Reading, preview, read_sample
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing.xlsx_reader import visible_sheets

MOST_SHEETS = 20
TOP_ROWS = 10
"""A header is looked for in so many first rows."""


def detect_workbook(content: bytes, name: str, choose: Choose) -> Reading:
    """The sheet that has a table; of several the one that is chosen. Titles above the header are left out by a range.

    Raises:
        ItemRefused: no sheet can be read.
    """
    readings: list[Reading] = []
    refusal: ItemRefused | None = None
    for sheet in _sheets(content):
        try:
            readings.append(_table(content, name, sheet, choose))
        except ItemRefused as error:
            refusal = refusal or error
    if not readings:
        raise refusal or ItemRefused(f"{name}: the workbook has no sheet", hint="is the file whole?")
    options = [Option(reading.label, preview(reading)) for reading in readings]
    return readings[choose("which sheet is the table", options) if len(readings) > 1 else 0]


def _sheets(content: bytes) -> Iterator[dict[str, Any]]:
    """The key of each visible sheet; the first one needs none."""
    import python_calamine as calamine

    try:
        names = visible_sheets(calamine.CalamineWorkbook.from_filelike(io.BytesIO(content)))
    except (calamine.CalamineError, OSError):
        names = []  # the reader says why
    yield {}
    yield from ({"sheet": sheet} for sheet in names[1:MOST_SHEETS])


def _table(content: bytes, name: str, sheet: dict[str, Any], choose: Choose) -> Reading:
    """The sheet from the first row on that names columns."""
    keys = {"type": "xlsx", **sheet}
    found: Reading | None = None
    for top in range(1, TOP_ROWS + 1):
        try:
            reading = read_sample(content, name, {**keys, **({"range": f"A{top}"} if top > 1 else {})})
        except ItemRefused:
            continue
        if found is not None and (reading.columns, reading.rows) != (found.columns, found.rows):
            break
        if found is not None or _is_header(reading.columns):
            found = reading
            if top == 1:
                break
    return found or _named_columns(content, name, keys, choose) or read_sample(content, name, keys)


def _is_header(columns: Sequence[str]) -> bool:
    """Whether a row names columns: no title, no numbers."""
    return len(columns) > 1 and all(columns) and not any(column.replace(".", "").isdecimal() for column in columns)


def _named_columns(content: bytes, name: str, keys: dict[str, Any], choose: Choose) -> Reading | None:
    """The columns that have a name, if cells beside them have none, and may be left out."""
    try:
        rows = read_sample(content, name, {**keys, "header": "none"}).rows
    except ItemRefused:
        return None
    for top, row in enumerate(rows[:TOP_ROWS]):
        width = next((place for place, cell in enumerate(row) if not cell), len(row))
        last = chr(ord("A") + width - 1) if 1 < width <= 26 else ""
        if not last or not _is_header([cell or "" for cell in row[:width]]):
            continue
        for line in range(top + 1, top + TOP_ROWS):
            try:
                reading = read_sample(content, name, {**keys, "range": f"A{line}:{last}"})
            except ItemRefused:
                continue
            if reading.columns == tuple(row[:width]):
                options = [Option(reading.label, preview(reading)), Option("no", "the sheet is not read")]
                return (
                    None if choose("cells beside the named columns have no name; leave them out", options) else reading
                )
    return None
