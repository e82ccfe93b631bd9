"""The file of exported rejects: its only writer and its only reader.

The source's columns come first, as they were; ours follow. Names cannot collide: ours begin with `ingest.`, and a
source's own name that does so gets an apostrophe in front, like a cell that a spreadsheet would run as a formula. The
reader takes it off again.

People edit the file with tools that reorder rows and columns, drop rows, drop or add empty cells at a line's end,
change line ends and quoting, add a byte order mark. All of that is understood.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from ingest_pipelines.cli import screen
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.model import NUL_PICTURES

if TYPE_CHECKING:
    from ingest_pipelines.ledger import Load, RejectedRow

LOAD, LINE, CHECK, CODES, REASONS = OWN = (
    "ingest.load", "ingest.line", "ingest.check", "ingest.codes", "ingest.reasons",
)  # fmt: skip
"""Our columns: load and line name a reject, the check proves that they belong together and to this ledger; the others
are for people. The last one is never empty, so that no tool takes a row's empty cells for its end."""

_PREFIX = "ingest."

_OLDER = ("line", "codes", "reasons")
"""The last columns of exports before ours had a prefix. They did not say which load their rows are of."""

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
"""What a spreadsheet would run, or what already looks like a neutralised cell."""

_ODD_NAME = re.compile(rf"{_FORMULA.pattern}|'*(?:ingest\.|\ufeff|$)")
"""The same for a column's name, and names that could be taken for ours, for the file's byte order mark, or for a
spreadsheet's empty column."""

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

_PICTURE = re.compile("|".join(NUL_PICTURES.values()))
_UNPICTURED = {picture: text for text, picture in NUL_PICTURES.items()}

_PADDED = 500_000
"""Lines on which rows of a replay stay where they are in the export; below the blank lines that a file may have."""


@dataclass(frozen=True)
class Row:
    """A row of an export.

    Attributes:
        place: the physical line of the file on which it starts.
        cells: the source's cells, as they were before the export or as a person corrected them.
        load, line: the reject; `load` is None where the file was exported by an older version.
        check: what `check_of` said of them.
        codes: the rules that the row broke.
    """

    place: int
    cells: tuple[str, ...]
    load: int | None
    line: int
    check: str
    codes: frozenset[str]


@dataclass(frozen=True)
class Export:
    """An export that was read.

    Attributes:
        place: the physical line on which its header starts.
        columns: the source's.
    """

    file: Path
    place: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def check_of(load: Load, line: int) -> str:
    """Ten letters that no other row of any load has, in this ledger or another.

    Letters only: a spreadsheet makes numbers and dates out of much else.
    """
    name = f"{load.run_id} {load.cursor_from} {load.id} {line}"
    return hashlib.sha256(name.encode()).hexdigest()[:10].translate(str.maketrans("0123456789abcdef", _LETTERS))


_LETTERS = "bcdfghjklmnpqrst"


def write_export(file: TextIO, load: Load, columns: Sequence[str], rows: Iterator[RejectedRow]) -> int:
    """Writes the load's rejected rows, streamed; returns how many.

    Args:
        file: opened with `newline=""`.
        columns: the source's.
    """
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([*(f"'{name}" if _ODD_NAME.match(name) else name for name in columns), *OWN])
    written = 0
    for row in rows:
        cells: Mapping[str, str | None] = row.row or {}
        why = [screen.why(field, reason) for field, reason in zip(row.fields, row.reasons, strict=True)]
        codes, reasons = " ".join(dict.fromkeys(row.codes)), escape_formula("; ".join(why))
        source = (escape_formula(cells.get(column) or "") for column in columns)
        writer.writerow([*source, load.id, row.line, check_of(load, row.line), codes, reasons])
        written += 1
    return written


def read_export(file: Path) -> Export:
    """The export's rows in the file's order, cells as they were before `write_export`.

    Raises:
        UsageError: the file cannot be read, or is no export; the message names the line.
    """
    csv.field_size_limit(2**31 - 1)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = _lines(csv.reader(opened, strict=True))
            place, header = next(lines, (1, []))
            layout = _Layout.of(file, header)
            rows = tuple(layout.row(at, cells) for at, cells in lines if any(cells))
    except FileNotFoundError:
        raise UsageError(f"there is no file {printable(str(file))}") from None
    except OSError as error:
        raise UsageError(f"{printable(str(file))} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{printable(str(file))} is not UTF-8", hint="save it as CSV UTF-8") from None
    except csv.Error as error:
        raise UsageError(
            f"{printable(str(file))} is not a comma-separated file: {error}", hint="save it as CSV UTF-8"
        ) from None
    return Export(file, place, tuple(_unescaped_name(header[at]) for at in layout.source), rows)


def write_source(file: TextIO, export: Export, rows: Sequence[Row]) -> dict[int, Row]:
    """Writes rows of the export as the source would have: its columns only, every cell quoted.

    Blank lines keep each row on the line that it has in the export, so that messages name the line that a person sees.

    Args:
        file: opened with `newline=""`.
        rows: in the export's order.

    Returns:
        Physical line in the written file -> the row that starts on it.
    """
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    written: dict[int, Row] = {}
    line = 1
    for place, cells, row in ((export.place, export.columns, None), *((row.place, row.cells, row) for row in rows)):
        blank = max(0, min(place, _PADDED) - line)
        file.write("\n" * blank)
        line += blank
        if row is not None:
            written[line] = row
        writer.writerow(cells)
        line += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in cells)
    return written


def escape_formula(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet would run it; `unescape_formula` removes just that."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape_formula(cell: str) -> str:
    """The source's cell: the opposite of `escape_formula`, and NUL characters come back."""
    kept = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _PICTURE.sub(lambda found: _UNPICTURED[found[0]], kept)


def _unescaped_name(name: str) -> str:
    return name[1:] if name.startswith("'") and _ODD_NAME.match(name) else name


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the physical line on which it starts."""
    place = 1
    for cells in reader:
        if cells:
            yield place, cells
        place = reader.line_num + 1


@dataclass(frozen=True)
class _Layout:
    """Where an export's columns are.

    Attributes:
        source: positions of the source's columns.
        own: our columns' positions by name; an older export's under the names of now.
    """

    file: Path
    width: int
    source: tuple[int, ...]
    own: Mapping[str, int]

    @classmethod
    def of(cls, file: Path, header: Sequence[str]) -> Self:
        """The layout that the header tells.

        Raises:
            UsageError: it is no export's.
        """
        places = {name: [at for at, column in enumerate(header) if column == name] for name in OWN}
        for name, found in places.items():
            if len(found) > 1:
                raise UsageError(
                    f"{printable(str(file))}: the column '{name}' comes {len(found)} times",
                    hint=f"the file's own column of that name is exported as \"'{name}\"; leave its apostrophe there",
                )
        own = {name: found[0] for name, found in places.items() if found}
        if {LOAD, LINE, CHECK} <= own.keys():
            source = [at for at, name in enumerate(header) if name and not name.startswith(_PREFIX)]
            return cls(file, len(header), tuple(source), own)
        for older in (_OLDER, _OLDER[:2]):
            first = len(header) - len(older)
            if first > 0 and tuple(header[first:]) == older and not own:
                return cls(file, len(header), tuple(range(first)), {LINE: first, CODES: first + 1})
        for delimiter, name in _OTHER_DELIMITERS.items():
            if any(f"{LOAD}{delimiter}" in column for column in header):
                raise UsageError(
                    f"{printable(str(file))} is separated by {name}, not by commas",
                    hint="save it as CSV UTF-8 with commas, or keep the exported file's separator",
                )
        raise UsageError(
            f"{printable(str(file))} lacks a column of '{LOAD}', '{LINE}', '{CHECK}': "
            "it does not say which rejects its rows correct",
            hint="correct the file that this writes, and keep its columns: ingest rejects export NAME --output F",
        )

    def row(self, place: int, given: Sequence[str]) -> Row:
        """The row that starts on the line `place`. Empty cells at its end may be missing, or too many.

        Raises:
            UsageError: it has too many cells, or does not say which reject it corrects.
        """
        if any(given[self.width :]):
            raise UsageError(
                f"{printable(str(self.file))}, line {place}: {len(given)} cells, and the header has {self.width}"
            )
        cells = [*given, *[""] * (self.width - len(given))]
        return Row(
            place,
            tuple(unescape_formula(cells[at]) for at in self.source),
            self._number(LOAD, place, cells) if LOAD in self.own else None,
            self._number(LINE, place, cells),
            cells[self.own[CHECK]].strip() if CHECK in self.own else "",
            frozenset(cells[self.own[CODES]].split()) if CODES in self.own else frozenset(),
        )

    def _number(self, name: str, place: int, cells: Sequence[str]) -> int:
        text = cells[self.own[name]].strip()
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise UsageError(
                f"{printable(str(self.file))}, line {place}: the column '{name if LOAD in self.own else 'line'}' "
                "holds no number: the row does not say which reject it corrects",
                hint="remove the row, or give it back what was exported there",
            )
        return int(text)
