"""The file of exported rejects: its only writer and its only reader.

The source's columns come first, unchanged; ours follow. Names cannot collide: ours begin with `ingest.`, and a source
column with such a name gets a leading apostrophe, like a cell that a spreadsheet would run as a formula. The reader
removes it.

People edit the file with tools that reorder rows and columns, delete rows, delete or add empty cells at a line's end,
change line ends and quoting, or add a byte order mark. The reader accepts all of these.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from ingest_pipelines.actions.wording import why
from ingest_pipelines.config.nearest import no_such_file
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.formulas import escape_formula, escape_name, unescape_formula, unescape_name
from ingest_pipelines.model import NUL_PICTURES, PART_LINES, spelled_line

if TYPE_CHECKING:
    from ingest_pipelines.ledger import Load, RejectedRow

LOAD, LINE, CHECK, CODES, REASONS = OWN = (
    "ingest.load", "ingest.line", "ingest.check", "ingest.codes", "ingest.reasons",
)  # fmt: skip
"""Our columns. Load and line identify a reject; the check proves that both belong together and to this ledger; the
others are for people. The last one is never empty, so that no tool drops empty cells at a row's end."""

_PREFIX = "ingest."

_OLDER = ("line", "codes", "reasons")
"""The last columns of exports by older versions. They do not name the load of their rows."""

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

_PICTURE = re.compile("|".join(NUL_PICTURES.values()))
_UNPICTURED = {picture: text for text, picture in NUL_PICTURES.items()}

_PADDED = 500_000
"""Up to this line, a replay's rows keep the line they have in the export. Less than the limit of blank lines."""


@dataclass(frozen=True)
class Row:
    """A row of an export.

    Attributes:
        place: the physical line of the file on which the row starts.
        cells: the source's cells, unchanged or corrected by a person.
        load, line: the reject; `load` is None if an older version exported the file.
        check: the result of `check_of` at the export.
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
    """An export, whose rows are read whenever they are asked for: they may be more than the memory holds.

    Attributes:
        place: the physical line on which its header starts.
        columns: the source's columns.
        row_count: how many rows it has.
        version: size and time of change of the file that was read.
    """

    file: Path
    import_name: str
    place: int
    columns: tuple[str, ...]
    row_count: int
    version: tuple[int, int]

    def rows(self) -> Iterator[Row]:
        """Its rows in the file's order.

        Raises:
            UsageError: the file has changed since it was read first.
        """
        with _reading(self.file, self.import_name) as (_, _, rows):
            yield from rows
            if _version(self.file) != self.version:
                raise UsageError(
                    f"{printable(str(self.file))} changed while it was read",
                    hint=f"nothing was loaded; run it again: ingest rejects replay {self.import_name} FILE",
                )


def check_of(load: Load, line: int) -> str:
    """Ten letters that identify the row of the load: no other row of any load or ledger has them.

    Letters only: a spreadsheet may change anything else into a number or a date.
    """
    name = f"{load.run_id} {load.cursor_from} {load.id} {line}"
    return hashlib.sha256(name.encode()).hexdigest()[:10].translate(str.maketrans("0123456789abcdef", _LETTERS))


_LETTERS = "bcdfghjklmnpqrst"


def write_export(file: TextIO, load: Load, columns: Sequence[str], rows: Iterator[RejectedRow]) -> int:
    """Writes the load's rejected rows, streamed; returns how many.

    Args:
        file: opened with `newline=""`.
        columns: the source's columns.
    """
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([*map(escape_name, columns), *OWN])
    written = 0
    for row in rows:
        cells: Mapping[str, str | None] = row.row or {}
        reasons_of_fields = [why(field, reason) for field, reason in zip(row.fields, row.reasons, strict=True)]
        codes, reasons = " ".join(dict.fromkeys(row.codes)), escape_formula("; ".join(reasons_of_fields))
        source = (escape_formula(cells.get(column) or "") for column in columns)
        writer.writerow([*source, load.id, _line_cell(row.line), check_of(load, row.line), codes, reasons])
        written += 1
    return written


def _line_cell(line: int) -> str:
    """The line as a spreadsheet keeps it: a number, or `part 3 line 17`."""
    return spelled_line(line).removeprefix("line ")


_PART_AND_LINE = re.compile(r"part ([0-9]{1,6}) line ([0-9]{1,12})")


def read_export(file: Path, import_name: str) -> Export:
    """The export, once all of its rows are read; cells are unescaped.

    Args:
        import_name: for the command that exports again.

    Raises:
        UsageError: the file cannot be read, or is not an export; the message names the line.
    """
    with _reading(file, import_name) as (place, columns, rows):
        version = _version(file)
        return Export(file, import_name, place, columns, sum(1 for _ in rows), version)


@contextmanager
def _reading(file: Path, import_name: str) -> Iterator[tuple[int, tuple[str, ...], Iterator[Row]]]:
    """The physical line of the header, the source's columns, and the rows in the file's order, for the block."""
    csv.field_size_limit(2**31 - 1)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = _lines(csv.reader(opened, strict=True))
            place, header = next(lines, (1, []))
            layout = _Layout.of(file, header, import_name)
            columns = tuple(unescape_name(header[at]) for at in layout.source)
            yield place, columns, (layout.row(at, cells) for at, cells in lines if any(cells))
    except FileNotFoundError:
        raise no_such_file(file) from None
    except OSError as error:
        raise UsageError(f"{printable(str(file))} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{printable(str(file))} is not UTF-8", hint="save it as CSV UTF-8") from None
    except csv.Error as error:
        raise UsageError(
            f"{printable(str(file))} is not a comma-separated file: {error}", hint="save it as CSV UTF-8"
        ) from None


def _version(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def write_source(file: TextIO, export: Export, places: Container[int]) -> dict[int, int]:
    """Writes rows of the export in the source's format: only its columns, every cell quoted.

    Blank lines keep each row on the line that it has in the export, so messages name the line that a person sees.

    Args:
        file: opened with `newline=""`.
        places: the lines of the export on which the rows start.

    Returns:
        Physical line in the written file -> the line of the export on which the row starts.
    """
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    written: dict[int, int] = {}
    line = 1
    rows = ((row.place, row.cells) for row in export.rows() if row.place in places)
    for place, cells in chain([(export.place, export.columns)], rows):
        blank = max(0, min(place, _PADDED) - line)
        file.write("\n" * blank)
        line += blank
        written[line] = place
        writer.writerow(cells)
        line += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in cells)
    return {line: place for line, place in written.items() if place != export.place}


def unescape_cell(cell: str) -> str:
    """The source's cell: reverses `escape_formula`, and restores NUL characters."""
    return _PICTURE.sub(lambda match: _UNPICTURED[match[0]], unescape_formula(cell))


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
        own: positions of our columns, by their current names (older exports have other names).
    """

    file: Path
    width: int
    source: tuple[int, ...]
    own: Mapping[str, int]

    @classmethod
    def of(cls, file: Path, header: Sequence[str], import_name: str) -> Self:
        """The layout of a file with this header.

        Raises:
            UsageError: the header is not that of an export.
        """
        places = {name: [at for at, column in enumerate(header) if column == name] for name in OWN}
        for name, positions in places.items():
            if len(positions) > 1:
                raise UsageError(
                    f"{printable(str(file))}: the column '{name}' occurs {len(positions)} times",
                    hint=f'a source column of that name is exported as "\'{name}"; keep its apostrophe',
                )
        own = {name: positions[0] for name, positions in places.items() if positions}
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
                    hint="save it as CSV UTF-8, separated by commas",
                )
        *others, last = [name for name in (LOAD, LINE, CHECK) if name not in own]
        missing = f"columns {', '.join(others)} and {last}" if others else f"column {last}"
        raise UsageError(
            f"{printable(str(file))} has no {missing}, so it does not say which rejects its rows correct",
            hint=f"export again and keep all columns: ingest rejects export {import_name} --output F",
        )

    def row(self, place: int, row_cells: Sequence[str]) -> Row:
        """The row that starts on line `place`. Empty cells at its end may be missing or in excess.

        Raises:
            UsageError: it has too many cells, or does not name the reject that it corrects.
        """
        if any(row_cells[self.width :]):
            raise UsageError(
                f"{printable(str(self.file))}, line {place}: {len(row_cells)} cells, and the header has {self.width}"
            )
        cells = [*row_cells, *[""] * (self.width - len(row_cells))]
        return Row(
            place,
            tuple(unescape_cell(cells[at]) for at in self.source),
            self._number(LOAD, place, cells) if LOAD in self.own else None,
            self._number(LINE, place, cells),
            cells[self.own[CHECK]].strip() if CHECK in self.own else "",
            frozenset(cells[self.own[CODES]].split()) if CODES in self.own else frozenset(),
        )

    def _number(self, name: str, place: int, cells: Sequence[str]) -> int:
        text = cells[self.own[name]].strip()
        if name == LINE and (of_a_part := _PART_AND_LINE.fullmatch(text)):
            return int(of_a_part[1]) * PART_LINES + int(of_a_part[2])
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise UsageError(
                f"{printable(str(self.file))}, line {place}: the column '{name if LOAD in self.own else 'line'}' "
                "holds no number, so the row names no reject",
                hint="restore the exported value, or remove the row",
            )
        return int(text)
