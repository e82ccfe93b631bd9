"""Cuts the declared footer off a translated file, and reads its trailer: the proof that the file is whole."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ingest_pipelines.config.file_format import NONE, Format, Trailer, written
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
    if not text.removeprefix('"').startswith(trailer.starts_with):
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
    if trailer.count is None:
        cells = text.removeprefix('"')[len(trailer.starts_with) :].split(declared.delimiter)
        numbers = [number for cell in cells for number in re.findall(r"(?<![\w.,-])[0-9]+(?![\w.,-]*[\w-])", cell)]
        if len(numbers) > 1:
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: the trailer has {len(numbers)} numbers, and which of them is the "
                "number of rows is not declared",
                line=line,
                hint=f"say which of its cells it is, such as {_with_count(trailer)}, or count: none",
            )
        return int(numbers[0]) if numbers else None
    reading: dict[str, object] = {"delimiter": declared.delimiter}
    reading |= {"quoting": csv.QUOTE_NONE} if declared.quote == NONE else {"quotechar": declared.quote}
    row = next(csv.reader([text], **reading), [])  # type: ignore[arg-type]
    cell = row[trailer.count - 1].strip() if trailer.count <= len(row) else ""
    if declared.thousands:
        cell = cell.replace(declared.thousands, "")
    if not re.fullmatch(r"[0-9]{1,15}", cell):
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: cell {trailer.count} of the trailer holds no number of rows",
            line=line,
            hint="source.format.footer.count is the place of the cell with the number of rows, from 1",
        )
    return int(cell)


def _with_count(trailer: Trailer) -> str:
    return written({"footer": Trailer(starts_with=trailer.starts_with, count=2)})
