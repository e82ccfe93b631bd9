"""Checks a CSV file's bytes before they are parsed: encoding, quotes, blank lines.

The parser is fast and lenient; this pass makes reading exact. It finds the first byte that is not
UTF-8, the quote that never closes, text after a closing quote, and the lines that are blank, each with its
physical line. A line ends with LF, CRLF or CR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.file_content import BOM
from ingest_pipelines.landing.header import QUOTING, Header, not_utf8
from ingest_pipelines.model import Landing

PIECE = 4 << 20
"""Bytes checked in one step; more than a cell may have."""

MAX_BLANK_LINES = 1_000_000
"""A file with more is refused: it is not a table."""

NEVER_CLOSES = "the quote that opens here never closes"
"""What a refusal says of a file that ends inside a quoted cell."""

_LF, _CR = b"\n\r"

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Survey:
    """What the parser must know about the file.

    Attributes:
        blank: physical line numbers of blank lines after the header, ascending.
        quoted: whether the body holds quotes, so that cells may hold line breaks.
    """

    blank: Positions
    quoted: bool


def survey(landing: Landing, header: Header, limits: Limits) -> Survey:
    """Proves that the file's body is UTF-8 with RFC 4180 quoting.

    Raises:
        ItemRefused: it is not; the message names the line.
    """
    with landing.path.open("rb", buffering=0) as file, landing.path.open("rb", buffering=0) as again:
        walk = _CsvWalk(landing, header, again, limits)
        file.seek(header.offset)
        for piece, data in _pieces(file, walk.quote):
            walk.look_at(piece, data)
        walk.finish()
    return Survey(np.concatenate([np.empty(0, np.int64), *walk.blank]), walk.quoted)


def _pieces(file: FileIO, quote: int) -> Iterator[tuple[memoryview, Bytes]]:
    """The rest of the file in pieces that split no character, no CRLF and no pair of quotes; one buffer for all."""
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    array = np.frombuffer(buffer, np.uint8)
    filled = 0
    while (got := file.readinto(view[filled:])) or filled:
        filled += got or 0
        cut = filled if not got else buffer.rfind(b"\n", 0, filled) + 1 or _cut(array, filled, quote)
        if cut:
            yield view[:cut], array[:cut]
        rest = filled - cut
        buffer[:rest] = buffer[cut:filled]
        filled = rest


def _cut(data: Bytes, filled: int, quote: int) -> int:
    """Where to end a piece without a line feed."""
    if filled < PIECE:
        return 0
    for cut in range(filled - 1, 1, -1):
        if data[cut - 1] not in (_CR, quote) and not 0x80 <= data[cut] <= 0xBF:
            return cut
    return filled


class _CsvWalk:
    def __init__(self, landing: Landing, header: Header, again: FileIO, limits: Limits) -> None:
        self._landing = landing
        self._lines = _LineCount(again, header)
        self._limits = limits
        self._signs = signs = header.signs
        self._checked = signs.is_utf8
        self.quote = signs.quote[0] if signs.quote else -1
        self._edge = np.isin(np.arange(256), list(signs.delimiter + signs.quote + b"\n\r"))
        """Bytes that may be next to a cell's quotes: delimiter, line ends, and the other half of a doubled quote."""
        self._offset = header.offset
        """Where the piece starts in the file."""
        self._inside = False
        self._opened = 0
        self._previous = _LF
        self._blanks = 0
        self.blank: list[Positions] = []
        self.quoted = False

    def look_at(self, piece: memoryview, data: Bytes) -> None:
        """Checks the next piece; `data` are the same bytes."""
        if not self._checked:
            self._check_utf8(piece)
        inside = self._inside
        toggles = np.empty(0, np.int64)
        if self._landing.quotes and self.quote >= 0:
            quotes = np.flatnonzero(data == self.quote)
            if len(quotes):
                self.quoted = True
                toggles = self._check_quotes(data, quotes)
        if self._may_hold_blank_lines(data):
            self._find_blank_lines(data, toggles, inside)
        self._offset += len(data)
        self._previous = int(data[-1])

    def finish(self) -> None:
        """Raises ItemRefused if the last quote never closed."""
        if self._inside:
            line = self._lines.at(self._opened)
            raise ItemRefused(
                f"{self._landing.item.uri}, line {line}: {NEVER_CLOSES}",
                line=line,
                hint="upload the whole file if it was cut off, or close the quote; a quote inside a quoted cell is "
                "written twice",
            )

    def _check_utf8(self, piece: memoryview) -> None:
        ends = pa.py_buffer(np.array([0, len(piece)], np.int64))
        whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(piece)])
        try:
            whole.cast(pa.large_string())
        except pa.ArrowInvalid:
            text = bytes(piece)
            try:
                text.decode("utf-8")
            except UnicodeDecodeError as error:
                around = text[max(0, error.start - 512) : error.start + 512]
                raise not_utf8(self._landing, self._lines.at(self._offset + error.start), around) from None

    def _check_quotes(self, data: Bytes, quotes: Positions) -> Positions:
        """Positions at which quotes open and close in turn; refuses text after a closing quote."""
        first = int(self._inside)
        before, after = _before(data, quotes[first::2], self._previous), _after(data, quotes[1 - first :: 2])
        if not (self._edge[before].all() and self._edge[after].all()):
            self._refuse_quote(data, quotes, before, after)
        begins = quotes[first::2][before != self.quote]
        if len(begins):
            self._opened = self._offset + int(begins[-1])
        self._inside = (len(quotes) % 2 == 1) != self._inside
        return quotes

    def _refuse_quote(self, data: Bytes, quotes: Positions, before: Bytes, after: Bytes) -> NoReturn:
        """Raises ItemRefused for the first quote that is not at the edge of its cell.

        Args:
            before, after: the bytes before quotes that open, and after those that close.
        """
        first = int(self._inside)
        opening, closing = quotes[first::2], quotes[1 - first :: 2]
        inner, early = opening[~self._edge[before]], closing[~self._edge[after]]
        uri = self._landing.item.uri
        if len(inner) and not (len(early) and early[0] < inner[0]):
            position = int(inner[0])
            line = self._lines.at(self._offset + position)
            if data[max(0, position - 3) : position].tobytes() == BOM:
                raise ItemRefused(
                    f"{uri}, line {line}: a byte order mark inside the file: the file was put together from several",
                    line=line,
                    hint="upload each file separately",
                )
            raise ItemRefused(
                f"{uri}, line {line}: a quote inside a cell that does not begin with one",
                line=line,
                hint=QUOTING,
            )
        position = int(early[0])
        begins = opening[(before != self.quote) & (opening < position)]
        opened = self._offset + int(begins[-1]) if len(begins) else self._opened
        line, closes = self._lines.at(opened), self._lines.at(self._offset + position)
        where = "here" if closes == line else f"on line {closes}"
        raise ItemRefused(
            f"{uri}, line {line}: the quote that opens here closes {where} with text after it",
            line=line,
            hint='a quote inside a quoted cell is written twice: "a ""b"" c"',
        )

    def _may_hold_blank_lines(self, data: Bytes) -> bool:
        if self._previous in (_LF, _CR) and data[0] in (_LF, _CR):
            return True
        pairs = [data[start : len(data) - (len(data) - start) % 2].view("<u2") for start in (0, 1)]
        may_hold = any((pair == 0x0A0A).any() for pair in pairs)
        if not may_hold and (data == _CR).any():
            may_hold = any(((pair == 0x0D0A) | (pair == 0x0D0D)).any() for pair in pairs)
        return may_hold

    def _find_blank_lines(self, data: Bytes, toggles: Positions, inside: bool) -> None:
        starts = _ends_of_lines(data, self._previous)
        before = _before(data, starts, self._previous)
        outside = (np.searchsorted(toggles, starts) % 2 == 1) == inside
        blank = np.flatnonzero(((before == _LF) | (before == _CR)) & outside)
        if self._signs.translated and len(blank):  # line breaks that are text have stand-ins, and are lines of the file
            physical = np.frombuffer(self._signs.physical(data.tobytes()), np.uint8)
            previous = self._signs.physical(bytes([self._previous]))[0]
            blank = np.searchsorted(_ends_of_lines(physical, previous), starts[blank])
        blank = blank + self._lines.at(self._offset)
        self._blanks += len(blank)
        if self._blanks > MAX_BLANK_LINES:
            line = int(blank[-1])
            raise ItemRefused(
                f"{self._landing.item.uri}, line {line}: more than {MAX_BLANK_LINES:,} blank lines", line=line
            )
        self.blank.append(blank.astype(np.int64))


class _LineCount:
    """Physical line numbers of byte offsets, counted on demand; offsets mostly ascend."""

    def __init__(self, file: FileIO, header: Header) -> None:
        self._file = file
        self._physical = header.signs.physical
        self._start = (header.offset, header.lines + 1)
        self._last = self._start

    def at(self, offset: int) -> int:
        """The line of the byte at `offset`."""
        position, line = self._last if self._last[0] <= offset else self._start
        self._file.seek(position)
        while position < offset:
            text = self._physical(self._file.read(min(PIECE, offset - position)))
            if text.endswith(b"\r") and position + len(text) < offset:
                text += self._physical(self._file.read(1))
            line += text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
            position += len(text)
        self._last = (position, line)
        return line


def _ends_of_lines(data: Bytes, previous: int) -> Positions:
    """Where each line ends: its LF, its CR or the CR of its CRLF."""
    breaks = np.flatnonzero((data == _LF) | (data == _CR))
    second = (data[breaks] == _LF) & (_before(data, breaks, previous) == _CR)
    ends_line = ~np.append(second[1:], False)  # the CR of a CRLF does not end a line
    ends: Positions = (breaks - second)[ends_line]
    return ends


def _before(data: Bytes, positions: Positions, previous: int) -> Bytes:
    before = data[positions - 1]
    if len(positions) and positions[0] == 0:
        before[0] = previous
    return before


def _after(data: Bytes, positions: Positions) -> Bytes:
    following = positions + 1
    after = data[np.minimum(following, len(data) - 1)]
    if len(following) and following[-1] == len(data):
        after[-1] = _LF
    return after
