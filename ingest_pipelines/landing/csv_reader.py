"""Reads a landed CSV file as text frames with physical line numbers. Exactly RFC 4180, in bounded memory.

The signs may be others than the comma and the quote: `signs` says which.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from io import RawIOBase
from threading import Semaphore

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import BOM
from ingest_pipelines.landing.arrow_types import text_array
from ingest_pipelines.landing.csv_signs import RFC_4180, CsvSigns
from ingest_pipelines.landing.edges import trim_column
from ingest_pipelines.landing.frames import BATCH_BYTES, BATCH_ROWS, Frames
from ingest_pipelines.landing.header import NO_SPELLINGS, Header, Spellings, names_of_columns, read_header
from ingest_pipelines.landing.survey import Survey, survey
from ingest_pipelines.model import LINE, Landing

BLOCK = 4 << 20

READ_AHEAD = 4
"""How many blocks are read ahead of the parser."""

PATIENCE = 5.0
"""Seconds after which a block is read although none was parsed: Arrow does not report a block without a row."""

WRONG_WIDTH = "more or fewer cells than the header's"
"""What a refusal says of rows of the wrong width."""

WRONG_COUNT = "the trailer says"
"""What a refusal says of a file that has another number of rows than its trailer."""

NAMED_LINES = 20
"""How many lines of the wrong width a refusal names; it counts the others."""

MAX_WRONG_LINES = 100_000
"""Counting them stops here."""

Numbers = npt.NDArray[np.int64]


def read_csv(
    landing: Landing,
    required_columns: Sequence[str],
    limits: Limits,
    spellings: Spellings = NO_SPELLINGS,
    signs: CsvSigns = RFC_4180,
    *,
    batch_rows: int = BATCH_ROWS,
) -> tuple[tuple[str, ...], Frames]:
    """The header, and the rows as frames of about `batch_rows`.

    Columns of a frame: LINE (Int64: the physical line on which the row starts; the header's is 1), TRIM, then every
    source column under its name as String; NULL: empty, "": quoted empty. A blank line is no row.

    Header, encoding and quotes are checked before the first frame; the width of rows and the size of cells as they
    are read.

    Raises:
        ItemRefused: the content is not a valid CSV file; the message names the line.
    """
    header = read_header(landing, required_columns, limits, spellings, signs)
    surveyed = survey(landing, header, limits)
    return header.columns, Frames(
        partial(_frames, landing, header, surveyed, limits, batch_rows),
        partial(_some_columns, landing, header, surveyed, limits),
    )


def _frames(
    landing: Landing, header: Header, surveyed: Survey, limits: Limits, batch_rows: int
) -> Iterator[pl.DataFrame]:
    if landing.path.stat().st_size <= header.offset:
        return
    rows = _Rows(landing, header, surveyed, limits)
    pending: list[pa.RecordBatch] = []
    lines: list[Numbers] = []
    pending_rows = pending_bytes = all_rows = 0
    for batch in _batches(landing, header, rows, limits):
        numbers = rows.number(batch)
        if rows.wrong:
            pending.clear()  # the item is refused; reading goes on only to name the other lines
            continue
        pending.append(batch)
        lines.append(numbers)
        pending_rows += batch.num_rows
        all_rows += batch.num_rows
        pending_bytes += batch.nbytes
        if pending_rows >= batch_rows or pending_bytes >= BATCH_BYTES:
            yield _frame(header, pending, lines)
            pending, lines, pending_rows, pending_bytes = [], [], 0, 0
    if rows.wrong:
        raise rows.refusal()
    if header.signs.rows not in {None, all_rows}:
        raise ItemRefused(
            f"{landing.item.uri}: {WRONG_COUNT} {header.signs.rows:,} rows, and the file has {all_rows:,}",
            hint="upload the whole file; if that number counts something else: source.format.footer with count: none",
        )
    if pending_rows:
        yield _frame(header, pending, lines)


def _some_columns(
    landing: Landing, header: Header, surveyed: Survey, limits: Limits, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    if landing.path.stat().st_size <= header.offset:
        return
    wanted = [index for index, name in enumerate(header.columns) if name in columns]
    names = [header.columns[index] for index in wanted]
    try:
        for batch in _batches(landing, header, _Rows(landing, header, surveyed, limits), limits, wanted):
            cells = header.signs.with_letters(batch)
            frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([cells]).rename_columns(names)))
            yield frame.insert_column(0, trim_column([cells]))
    except ItemRefused:
        return


def _batches(
    landing: Landing, header: Header, rows: _Rows, limits: Limits, wanted: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The parser's batches, one per block; rows of the wrong width go to `rows` instead.

    Args:
        wanted: positions of the columns to parse; default: all.
    """
    names = [f"c{index}" for index in range(len(header.columns))]
    included = names if wanted is None else [names[index] for index in wanted]
    block = max(BLOCK, 4 * limits.max_cell_bytes)
    try:
        with (
            _Blocks(landing, header) as blocks,
            arrow_csv.open_csv(
                blocks,
                read_options=arrow_csv.ReadOptions(block_size=block, use_threads=False, column_names=names),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=header.signs.delimiter.decode(),
                    quote_char=header.signs.quote.decode() or False,
                    newlines_in_values=rows.survey.quoted,
                    invalid_row_handler=rows.wrong_width,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    check_utf8=False,  # the survey has checked it
                    include_columns=included,
                    column_types=dict.fromkeys(included, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            ) as reader,
        ):
            try:
                for batch in reader:
                    blocks.taken()
                    if batch.num_rows:
                        yield header.signs.with_breaks(batch)
            finally:
                blocks.close()  # first: else the reader waits for a block that waits for room
    except pa.ArrowInvalid:
        # Arrow's own message would show the row.
        if rows.wrong:
            raise rows.refusal() from None
        line = rows.next_line()
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the row that starts here is larger than {block:,} bytes",
            line=line,
            hint="raise source.limits.max_cell_bytes; a row may have four times as many bytes",
        ) from None


class _Blocks(RawIOBase):
    """The file after its header, which Arrow reads in a thread of its own, READ_AHEAD blocks ahead of the parser.

    Without this limit Arrow reads 32 blocks ahead: 128 MB.
    """

    def __init__(self, landing: Landing, header: Header) -> None:
        self._file = landing.path.open("rb", buffering=0)
        self._file.seek(header.offset)
        self._room = Semaphore(READ_AHEAD)

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next block, as soon as there is room for it."""
        self._room.acquire(timeout=PATIENCE)
        return self._file.read(size)

    def taken(self) -> None:
        """Reports that a block was parsed."""
        self._room.release()

    def close(self) -> None:
        """Closes the file; a waiting `read` continues."""
        self._room.release(64)
        self._file.close()
        super().close()


def _frame(header: Header, batches: list[pa.RecordBatch], lines: list[Numbers]) -> pl.DataFrame:
    batches = [header.signs.with_letters(batch) for batch in batches]
    table = pa.Table.from_batches(batches).rename_columns(list(header.columns))
    frame = pl.DataFrame(pl.from_arrow(table))
    frame.insert_column(0, pl.Series(LINE, np.concatenate(lines), dtype=pl.Int64))
    return frame.insert_column(1, trim_column(batches))


class _Rows:
    """The physical line on which each row starts, and the rows that are refused.

    Arrow numbers rows as it parses them, including those of the wrong width and without blank lines. A row's line
    is that number, plus the line breaks inside the cells before it, plus the blank lines before it.
    """

    def __init__(self, landing: Landing, header: Header, surveyed: Survey, limits: Limits) -> None:
        self.survey = surveyed
        self._landing = landing
        self._header = header
        self._limits = limits
        self._next_row = 1
        self._inner_breaks = 0
        self._wrong_rows = array("q")
        self._wrong_cells = array("q")
        self._wrong_breaks = array("q")
        self._wrong_lines: list[int] = []
        self._name_of = names_of_columns(header.columns, header.spellings)
        names = {*header.columns, *self._name_of}
        # A page of a report begins with a form feed.
        self._marks = (BOM.decode(), header.signs.mark, "\f")
        spellings = [*names, *(mark + name for name in names for mark in self._marks), None]
        self._names = text_array(spellings)
        # a blank line's number less the blank lines before it: comparable with numbers that don't count them
        self._blank = surveyed.blank - np.arange(len(surveyed.blank))

    @property
    def wrong(self) -> bool:
        """Whether a row's width differs from the header's."""
        return len(self._wrong_rows) > 0

    def wrong_width(self, row: arrow_csv.InvalidRow) -> str:
        """Arrow's callback for a row of the wrong width; its text is not kept."""
        self._wrong_rows.append(row.number)
        self._wrong_cells.append(row.actual_columns)
        self._wrong_breaks.append(_breaks_in(row.text))
        return "skip" if len(self._wrong_rows) < MAX_WRONG_LINES else "error"

    def number(self, batch: pa.RecordBatch) -> Numbers:
        """The physical line of each of the batch's rows.

        Raises:
            ItemRefused: a cell is larger than `max_cell_bytes`.
        """
        inner = _inner_breaks(batch) if self.survey.quoted or self._header.signs.translated else None
        lines = self._advance(batch.num_rows, inner)
        self._check_cells(batch, lines)
        self._check_second_header(batch, lines)
        return lines

    def next_line(self) -> int:
        """The physical line of the next row, which was not parsed."""
        return int(self._physical(np.array([self._next_row + self._inner_breaks + self._header.lines]))[0])

    def refusal(self) -> ItemRefused:
        """The refusal, which names every row of the wrong width by line."""
        self._advance(0, None)
        count, width = len(self._wrong_rows), len(self._header.columns)
        named = [
            f"line {line}: {cells} {'cell' if cells == 1 else 'cells'}"
            for line, cells in zip(self._wrong_lines[:NAMED_LINES], self._wrong_cells, strict=False)
        ]
        more = f"and {'at least ' if count >= MAX_WRONG_LINES else ''}{count - len(named):,} more"
        rows = "row has" if count == 1 else "rows have"
        hint = "quote cells that contain a delimiter or a line break; add or remove cells in the other rows"
        own = ""
        if self._header.signs.names:
            own = f": source.format.header has {width} {'name' if width == 1 else 'names'}"
            hint = f"name each column of the file in source.format.header, in the file's order; or {hint}"
        return ItemRefused(
            f"{self._landing.item.uri}: {count:,} {rows} {WRONG_WIDTH} {width}{own}\n  "
            + "\n  ".join([*named, more] if count > len(named) else named),
            line=self._wrong_lines[0],
            hint=hint,
        )

    def _advance(self, count: int, inner: Numbers | None) -> Numbers:
        """The lines of the next `count` rows of the right width; skips rows of the wrong width among and after them."""
        taken = len(self._wrong_lines)
        wrong = np.frombuffer(self._wrong_rows, np.int64)[taken:].copy() if self.wrong else np.empty(0, np.int64)
        rows = np.arange(self._next_row, self._next_row + count + len(wrong), dtype=np.int64)
        right = ~np.isin(rows, wrong, assume_unique=True)
        if count:
            rows = rows[: np.flatnonzero(right)[count - 1] + 1]
            right = right[: len(rows)]
        breaks = np.zeros(len(rows), np.int64)
        if inner is not None:
            breaks[right] = inner
        passed = len(rows) - count
        breaks[~right] = np.array(self._wrong_breaks[taken : taken + passed], np.int64)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(breaks)])
        lines = self._physical(rows + before[:-1] + (self._header.lines + self._inner_breaks))
        self._wrong_lines += lines[~right].tolist()
        self._next_row += len(rows)
        self._inner_breaks += int(before[-1])
        return lines[right]

    def _physical(self, lines: Numbers) -> Numbers:
        """Physical line numbers for line numbers that do not count blank lines."""
        if len(self._blank) == 0:
            return lines
        return lines + np.searchsorted(self._blank, lines, side="right")

    def _check_cells(self, batch: pa.RecordBatch, lines: Numbers) -> None:
        cap = self._limits.max_cell_bytes
        for name, column in zip(self._header.columns, batch.columns, strict=True):
            if _data(column).size <= cap:
                continue
            lengths = _numbers(pc.binary_length(column))
            if lengths.max() > cap:
                line = int(lines[int((lengths > cap).argmax())])
                raise ItemRefused(
                    f"{self._landing.item.uri}, line {line}: the cell in '{printable(name)}' is larger than "
                    f"{cap:,} bytes",
                    line=line,
                    hint="a quote that closes too late makes such cells; else raise source.limits.max_cell_bytes",
                )

    def _check_second_header(self, batch: pa.RecordBatch, lines: Numbers) -> None:
        """Refuses a row that consists of the header's names, in any order and spelling: it is a second header."""
        again: pa.Array | None = None
        for column in batch.columns:
            named = pc.is_in(column, value_set=self._names)
            again = named if again is None else pc.and_(again, named)
            if not pc.any(again).as_py():
                return
        for row in np.flatnonzero(np.asarray(again)):
            cells = [self._bare(str(column[int(row)].as_py() or "")) for column in batch.columns]
            if sorted(self._name_of.get(cell, cell) for cell in cells) == sorted(map(trimmed, self._header.columns)):
                line = int(lines[row])
                own = self._header.signs.names is not None and row == 0 and self._next_row == len(lines) + 1
                raise ItemRefused(
                    f"{self._landing.item.uri}, line {line}: "
                    + ("the file has a header" if own else "a second header: the file was put together from several"),
                    line=line,
                    hint="remove header from source.format"
                    if own
                    else "upload each file separately, or remove the line",
                )

    def _bare(self, cell: str) -> str:
        """The cell without blanks and marks around it."""
        return trimmed(cell.removeprefix(self._header.signs.mark))


def _data(column: pa.Array) -> pa.Buffer:
    return column.buffers()[2]


def _inner_breaks(batch: pa.RecordBatch) -> Numbers | None:
    """Line breaks inside each row's cells; None if the batch has none, which is cheap to check."""
    total: Numbers | None = None
    for column in batch.columns:
        data = _data(column).to_pybytes()
        if b"\n" in data or b"\r" in data:
            breaks = _count(column, "\n")
            if b"\r" in data:
                breaks = breaks + _count(column, "\r") - _count(column, "\r\n")
            total = breaks if total is None else total + breaks
    return total


def _count(column: pa.Array, text: str) -> Numbers:
    return _numbers(pc.count_substring(column, text)).astype(np.int64)


def _numbers(counts: pa.Array) -> Numbers:
    """The integers, 0 for NULL. Arrow's own conversion would import pandas, which takes half a second."""
    return pl.Series(counts).fill_null(0).to_numpy()


def _breaks_in(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
