"""Cuts the declared footer off a translated file, and reads its trailer: the proof that the file is whole."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from ingest_pipelines.config.file_format import NONE, Format, Trailer, written
from ingest_pipelines.config.number_signs import BETWEEN_DIGITS, Grouping, NumberSigns
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.landing.csv_signs import CsvSigns, breaks_in
from ingest_pipelines.model import Landing

TAIL = 8 << 20
"""The footer must begin in so many last bytes."""


def cut_footer(landing: Landing, declared: Format, signs: CsvSigns, path: Path, lines: int) -> int | None:
    """Cuts the footer off the file; how many rows its trailer says there are."""
    uri, size = landing.item.uri, path.stat().st_size
    with path.open("r+b") as file:
        start = max(0, size - TAIL)
        file.seek(start)
        tail = file.read()
        wanted = declared.footer_lines or 1
        end = len(tail)
        removed: list[bytes] = []
        for last in reversed(tail.splitlines(keepends=True)):
            end -= len(last)
            if last.strip(b"\r\n"):
                removed.append(last.strip(b"\r\n"))
            if len(removed) == wanted:
                break
        if len(removed) < wanted or (end == 0 and start):
            raise ItemRefused(f"{uri}: it has fewer lines than source.format.footer says", hint="is the file whole?")
        file.truncate(start + end)
    trailer = declared.trailer
    if trailer is None:
        return None
    line = lines + 1 - breaks_in(tail[end:])
    delimiter = declared.delimiter.encode()
    text = signs.restored(removed[-1].replace(signs.delimiter, delimiter)).decode()
    if not text.startswith(trailer.starts_with) and not text.removeprefix('"').startswith(trailer.starts_with):
        raise ItemRefused(
            f"{uri}, line {line}: the last line does not begin with '{printable(trailer.starts_with)}': the file was "
            "cut off, or it has no trailer",
            line=line,
            hint="upload the whole file; source.format.footer says how its last line begins",
        )
    return _count_in(landing, declared, trailer, text, line)


def _count_in(landing: Landing, declared: Format, trailer: Trailer, text: str, line: int) -> int | None:
    """The number of rows in the trailer."""
    if isinstance(trailer.count, str):
        return None
    signs = declared.number_signs
    if trailer.count is None:
        cells = _cells(declared, text, trailer.starts_with)
        numbers = [number for cell in cells for number in _whole_numbers(cell, signs)]
        if not numbers:
            _refuse_undeclared_groups(landing, declared, cells, line)
            _refuse_other_number(landing, trailer, cells, line)
        if len(numbers) > 1:
            other = _with_groups(declared, cells)
            as_one = f"; if they are one number in groups: {written(other.given)}" if other else ""
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: the trailer has {len(numbers)} numbers, and which of them is the "
                "number of rows is not declared",
                line=line,
                hint=f"say which of its cells it is, such as {_with_count(trailer)}, or count: none{as_one}",
            )
        return numbers[0] if numbers else None
    cells = _cells(declared, text)
    cell = cells[trailer.count - 1].strip() if trailer.count <= len(cells) else ""
    rows = signs.whole_number(cell)
    if rows is None:
        _refuse_undeclared_groups(landing, declared, [cell], line)
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: cell {trailer.count} of the trailer holds no number of rows",
            line=line,
            hint="source.format.footer.count is the place of the cell with the number of rows, from 1",
        )
    return rows


def _cells(declared: Format, text: str, begins: str = "") -> list[str]:
    """The cells of the trailer, which begins with a text that is none of them."""
    quote = "" if declared.quote == NONE else declared.quote
    enclosed = quote if quote and text.startswith(quote) and not begins.startswith(quote) else ""
    text = enclosed + text.removeprefix(enclosed)[len(begins) :]
    reading: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    try:
        return next(csv.reader([text], delimiter=declared.delimiter, **reading), [])
    except csv.Error:  # a cell is too long to be a number
        return text.split(declared.delimiter)


def _whole_numbers(cell: str, signs: NumberSigns) -> list[int]:
    """The whole numbers in a cell, with groups or without."""
    found = _numbers(f"{signs.groups}|[0-9]+" if signs.thousands else "[0-9]+", cell)
    return [number for text in found if (number := signs.whole_number(text)) is not None]


def _numbers(pattern: str, cell: str) -> list[str]:
    """What fits the pattern, and is no part of a word, a fraction or a number with other signs."""
    return re.findall(rf"(?<![\w.,-])(?:{pattern})(?![\w.,-]*[\w-])", cell)


def _with_groups(declared: Format, cells: Sequence[str]) -> Format | None:
    """A format in which the cells have a number in groups that `declared` does not have; None: there is none."""
    has_decimal = declared.thousands is not None or "decimal" in declared.model_fields_set
    for thousands, grouping in product(BETWEEN_DIGITS, (None, *get_args(Grouping))):
        if thousands == declared.decimal:
            if has_decimal:
                continue  # it is a fraction
            signs = replace(declared.number_signs, decimal="," if thousands == "." else ".")
        else:
            signs = declared.number_signs
        signs = replace(signs, thousands=thousands, grouping=grouping)
        if any((signs.whole_number(text) or 0) > 999 for cell in cells for text in _numbers(signs.groups, cell)):
            with suppress(ValidationError):  # the sign is the delimiter, and there is no quote
                return declared.with_signs(signs)
    return None


def _refuse_undeclared_groups(landing: Landing, declared: Format, cells: Sequence[str], line: int) -> None:
    """Raises ItemRefused for a number that is the number of rows, if the sign between its groups is declared."""
    other = _with_groups(declared, cells)
    if other is not None:
        trailer = declared.trailer
        assert trailer is not None
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the trailer has a number with '{other.thousands}' between its digits, "
            "and which sign separates thousands is not declared",
            line=line,
            hint=f"if it is the number of rows: {written(other.given)}; if it is not: {_without_count(trailer)}",
        )


def _refuse_other_number(landing: Landing, trailer: Trailer, cells: Sequence[str], line: int) -> None:
    """Raises ItemRefused for a number that counts no rows: a negative one, or one in other digits than 0 to 9."""
    if any(re.fullmatch(r"[-\u2212+]?\d+", cell.strip()) for cell in cells):
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the trailer has a number with a sign, or in other digits than 0 to 9: "
            "that is no number of rows",
            line=line,
            hint=f"correct it and upload the file again; if it counts no rows: {_without_count(trailer)}",
        )


def _without_count(trailer: Trailer) -> str:
    return written({"footer": Trailer(starts_with=trailer.starts_with, count=NONE)})


def _with_count(trailer: Trailer) -> str:
    return written({"footer": Trailer(starts_with=trailer.starts_with, count=2)})
