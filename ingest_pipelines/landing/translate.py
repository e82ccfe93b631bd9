"""Translates a landed file of a declared format into one that the strict CSV reader reads, line by line.

The translated file is UTF-8, has a delimiter and a quote of one byte, and as many lines as the delivered one: comment
lines are blank lines. It is written in blocks, each handled as a whole.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from io import FileIO
from pathlib import Path
from typing import IO, NoReturn

import numpy as np
import numpy.typing as npt

from ingest_pipelines.config.file_format import NONE, Format
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import BOM, bytes_of_marks
from ingest_pipelines.landing.csv_signs import (
    CR_LETTER,
    CR_TEXT,
    DELIMITER_TEXT,
    LF_LETTER,
    LF_TEXT,
    QUOTE_TEXT,
    WIDE_DELIMITER,
    WIDE_QUOTE,
    CsvSigns,
    breaks_in,
)
from ingest_pipelines.landing.encodings import is_ebcdic, with_line_feeds
from ingest_pipelines.landing.footer import cut_footer
from ingest_pipelines.model import Landing

BLOCK = 1 << 20
"""Bytes decoded in one step."""

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

_LF, _CR = b"\n\r"
_LETTERS = {
    b"n": LF_LETTER, b"r": CR_LETTER, b"t": b"\t", b"0": b"\0", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"Z": b"\x1a",
}  # fmt: skip
"""What letters after an escape mean to MySQL and Postgres."""


def signs_of(declared: Format) -> CsvSigns:
    """The bytes by which the reader tells the file's cells apart, once it is translated if it has to be."""
    delimiter, quote = declared.delimiter.encode(), b"" if declared.quote == NONE else declared.quote.encode()
    names = () if isinstance(declared.header, str) else declared.header
    return CsvSigns(
        delimiter if len(delimiter) == 1 else WIDE_DELIMITER,
        quote if len(quote) <= 1 else WIDE_QUOTE,
        translated=declared.escape is not None or len(delimiter) > 1 or len(quote) > 1,
        quote_text=quote if len(quote) > 1 else b"",
        skip_lines=declared.skip_lines,
        names=names,
        mark=_mark_in(declared.encoding),
    )


def _mark_in(encoding: str) -> str:
    """A byte order mark of UTF-8 where a file that has one was appended to a file of the encoding."""
    try:
        return codecs.lookup(encoding).decode(BOM)[0] or BOM.decode()
    except UnicodeError:
        return BOM.decode()


def needs_translation(declared: Format) -> bool:
    """Whether the reader cannot read the delivered file as it is."""
    return (
        not _is_utf8(declared.encoding)
        or signs_of(declared).translated
        or declared.trim
        or declared.comment is not None
        or declared.footer is not None
    )


def translate(landing: Landing, declared: Format, limits: Limits, to: Path) -> tuple[Landing, CsvSigns]:
    """The landing's content in `to`, an empty file, and how its cells are told apart.

    Raises:
        ItemRefused: bytes that are not of the encoding, an escape without meaning, a footer that is not there.
    """
    signs = replace(signs_of(declared), is_utf8=True)
    with landing.path.open("rb", buffering=0) as file, to.open("r+b") as out:
        text = _Text(landing, file, declared.encoding)
        rewriter = _Rewriter(landing, declared, signs)
        for block in _whole_lines(landing, text, declared, limits):
            out.write(rewriter.translated(block))
    if declared.footer is not None:
        signs = replace(signs, rows=cut_footer(landing, declared, signs, to, rewriter.lines))
    return replace(landing, path=to, bytes=to.stat().st_size, quotes=quotes_in(landing, declared)), signs


def quotes_in(landing: Landing, declared: Format) -> int:
    """How many quotes the file may have: 0, or some. Landing counts the bytes of the usual quote."""
    is_counted = declared.quote == '"' and b'"' in '"'.encode(declared.encoding) and not _has_escapes(declared.encoding)
    return min(landing.quotes, 1) if is_counted else 1


def _has_escapes(encoding: str) -> bool:
    """Whether the encoding may write a quote as other characters."""
    return codecs.lookup(encoding).name in {"utf-7", "unicode_escape", "unicode-escape", "raw-unicode-escape"}


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}


class _Text:
    """The file as UTF-8, block by block, decoded strictly."""

    def __init__(self, landing: Landing, file: IO[bytes] | FileIO, encoding: str) -> None:
        self._landing = landing
        self._file = file
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ascii_is_same = _keeps_ascii(encoding)
        self._latin = _LikeLatin1.of(encoding)
        self._is_ebcdic = is_ebcdic(encoding)
        self._offset = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            block = self._file.read(BLOCK)
            waiting = self._decoder.getstate()
            if block and self._ascii_is_same and not waiting[0] and block.isascii():
                text = block
            elif self._latin is None or (text := self._latin.decoded(block)) is None:
                text = self._decoded(block, waiting)
            if not block and not text:
                return
            yield text
            self._offset += len(block)
            if not block:
                return

    def _decoded(self, block: bytes, state: tuple[bytes, int]) -> bytes:
        try:
            text = self._decoder.decode(block, final=not block)
            return (with_line_feeds(text, self._encoding) if self._is_ebcdic else text).encode()
        except UnicodeError as error:
            start = getattr(error, "start", 0) - len(state[0])
            self._decoder.setstate(state)
            try:
                before = with_line_feeds(self._decoder.decode(block[: max(0, start)]), self._encoding).encode()
            except UnicodeError:
                before = b""
            line = self._lines_before() + breaks_in(before)
            at = self._offset + max(start, -len(state[0]))
            raise ItemRefused(
                f"{self._landing.item.uri}, line {line}, byte {at + 1:,}: not valid {self._encoding}",
                line=line,
                hint="the file has another encoding than source.format.encoding says, or it is damaged there",
            ) from None

    def _lines_before(self) -> int:
        """The number of the line that the block begins in: read again, because only a refusal asks for it."""
        with self._landing.path.open("rb") as file:
            decoder = codecs.getincrementaldecoder(self._encoding)()
            lines, last_cr, left = 1, False, self._offset
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                decoded = with_line_feeds(decoder.decode(block), self._encoding).encode()
                lines += breaks_in(decoded) - (last_cr and decoded.startswith(b"\n"))
                last_cr = decoded.endswith(b"\r") if decoded else last_cr
        return lines


@cache
def _keeps_ascii(encoding: str) -> bool:
    """Whether each byte below 128 is its ASCII character and nothing else: it begins no escape sequence or shift.

    False for ISO-2022, HZ and UTF-7, whose letters are ASCII bytes after a shift, and for backslash escapes.
    """
    try:
        for number in range(128):
            decoder = codecs.getincrementaldecoder(encoding)()
            decoder.decode(b"a")  # so that a byte order mark is no longer expected
            state = decoder.getstate()
            if decoder.decode(bytes([number])) != chr(number) or decoder.getstate() != state:
                return False
    except UnicodeError:
        return False
    return True


@dataclass(frozen=True)
class _LikeLatin1:
    """An encoding of single bytes that is Latin-1 but for a few of them: Python decodes Latin-1 several times as fast.

    Attributes:
        others: byte -> the UTF-8 of its letter, where it is not Latin-1's; empty: the byte means nothing.
        is_other: per byte whether it is one of these.
        only_controls: all of these are from 0x80 to 0x9F, as in cp1252. Few texts have any, and that is quickly seen.
    """

    others: Mapping[int, bytes]
    is_other: npt.NDArray[np.bool_]
    only_controls: bool

    @classmethod
    def of(cls, encoding: str) -> _LikeLatin1 | None:
        """None: it is not like Latin-1, or its characters have several bytes."""
        if not _keeps_ascii(encoding):
            return None
        others: dict[int, bytes] = {}
        for number in range(256):
            try:
                letter = bytes([number]).decode(encoding)
            except UnicodeError:
                letter = ""
            if letter != chr(number):
                others[number] = letter.encode()
        known = bytes(number for number in range(256) if number not in others)
        moved = {chr(number).encode() for number in others} & set(others.values())
        try:
            is_single = known.decode(encoding) == known.decode("latin-1")
        except UnicodeError:
            return None
        if not is_single or moved or len(others) > _FEW:
            return None
        return cls(others, np.isin(np.arange(256), list(others)), all(number < 0xA0 for number in others))

    def decoded(self, block: bytes) -> bytes | None:
        """The block as UTF-8; None: a byte means nothing."""
        text = block.decode("latin-1").encode()
        if not block or (self.only_controls and np.frombuffer(block, np.int8).min() >= _FIRST_LETTER):
            return text
        data = np.frombuffer(block, np.uint8)
        for number in np.unique(data[self.is_other[data]]).tolist():
            if not self.others[number]:
                return None
            text = text.replace(chr(number).encode(), self.others[number])
        return text


_FIRST_LETTER = 0xA0 - 0x100
"""The first byte after the controls, as a signed one."""

_FEW = 64
"""Encodings that differ from Latin-1 in more bytes have letters of another script: nothing would be gained."""


def _whole_lines(landing: Landing, text: _Text, declared: Format, limits: Limits) -> Iterator[bytes]:
    """The text in blocks that end where a line ends; a line break after an escape ends none."""
    escape = b"" if declared.escape is None else declared.escape.encode()
    longest = max(4 << 20, 4 * limits.max_cell_bytes)
    kept = b""
    for block in text:
        whole = kept + block
        # A CR at the very end may be half of a CRLF.
        cut = _last_end(whole, b"\n", len(whole), escape) or _last_end(whole, b"\r", len(whole) - 1, escape)
        if not cut and len(whole) > longest:
            raise ItemRefused(
                f"{landing.item.uri}: a line is longer than {longest:,} bytes",
                hint="raise source.limits.max_cell_bytes; a line may have four times as many bytes",
            )
        if cut:
            yield whole[:cut]
        kept = whole[cut:]
    if kept:
        yield kept


def _last_end(text: bytes, sign: bytes, end: int, escape: bytes) -> int:
    """Where the last line before `end` ends that ends with the sign; 0: none does."""
    place = text.rfind(sign, 0, max(0, end))
    while escape and place >= 0 and _is_escaped(text, place, escape):
        place = text.rfind(sign, 0, place)
    return place + 1


def _is_escaped(text: bytes, place: int, escape: bytes) -> bool:
    """Whether the line break at the place, perhaps a CRLF's LF, follows an odd number of escapes."""
    first = place - 1 if text[place : place + 1] == b"\n" and text[place - 1 : place] == b"\r" else place
    before = first
    while before and text[before - 1 : before] == escape:
        before -= 1
    return (first - before) % 2 == 1


class _Rewriter:
    """Rewrites signs that the reader does not know; keeps whether a quote is open from block to block.

    Attributes:
        lines: line breaks so far, where a refusal may have to name a line.
    """

    def __init__(self, landing: Landing, declared: Format, signs: CsvSigns) -> None:
        self._landing = landing
        self._declared = declared
        self._signs = signs
        self._delimiter = signs.delimiter
        self._quote = signs.quote
        self._wide_delimiter = declared.delimiter.encode() if len(declared.delimiter.encode()) > 1 else b""
        self._escape = declared.escape
        self._to_skip = declared.skip_lines
        self._inside = False
        self._begun = False
        self.lines = 0
        self._needed = signs.translated or declared.trim or declared.comment is not None
        self._counts = self._needed or declared.footer is not None

    def translated(self, block: bytes) -> bytes:
        """The block as the reader reads it."""
        head, rest = self._skipped(block)
        if rest and self._needed:
            if not self._begun and (marks := bytes_of_marks(rest)):
                head, rest = head + rest[:marks], rest[marks:]
            self._begun = True
            rest = self._rewritten(rest)
        if self._counts:
            self.lines += breaks_in(block)
        return head + rest if head else rest

    def _skipped(self, block: bytes) -> tuple[bytes, bytes]:
        """The lines before the header, which are not looked at, and the rest."""
        if not self._to_skip:
            return b"", block
        lines = block.splitlines(keepends=True)
        skipped = b"".join(lines[: self._to_skip])
        self._to_skip -= min(self._to_skip, len(lines))
        return skipped, block[len(skipped) :]

    def _rewritten(self, block: bytes) -> bytes:
        block = self._without_wide_signs(block)
        if self._escape is not None and self._escape.encode() in block:
            block = self._without_escapes(block)
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == self._quote[0]) if self._quote else np.empty(0, np.int64)
        deleted: list[tuple[Positions, Positions]] = []
        if self._declared.comment is not None:
            quotes, starts, ends = self._comments(block, data, quotes)
            deleted.append((starts, ends))
        if self._declared.trim:
            deleted.append(self._blanks(data, quotes))
        if self._wide_delimiter and self._wide_delimiter in block:
            block, wide = self._one_byte_delimiters(block, data, quotes)
            deleted.append(wide)
        self._inside = (len(quotes) % 2 == 1) != self._inside
        if not any(len(starts) for starts, _ in deleted):
            return block
        change = np.zeros(len(block) + 1, np.int32)
        for starts, ends in deleted:
            np.add.at(change, starts, 1)
            np.add.at(change, ends, -1)
        kept: bytes = np.frombuffer(block, np.uint8)[np.cumsum(change)[:-1] == 0].tobytes()
        return kept

    def _outside(self, quotes: Positions, positions: Positions) -> npt.NDArray[np.bool_]:
        """Whether the positions are outside quotes."""
        outside: npt.NDArray[np.bool_] = (np.searchsorted(quotes, positions) % 2 == 1) == self._inside
        return outside

    def _without_wide_signs(self, block: bytes) -> bytes:
        """The block with a quote of one byte; its own such bytes, and those of a delimiter to be, are text."""
        if self._wide_delimiter:
            block = block.replace(WIDE_DELIMITER, DELIMITER_TEXT)
        if self._signs.quote_text:
            block = block.replace(WIDE_QUOTE, QUOTE_TEXT).replace(self._signs.quote_text, WIDE_QUOTE)
        return block

    def _one_byte_delimiters(
        self, block: bytes, data: Bytes, quotes: Positions
    ) -> tuple[bytes, tuple[Positions, Positions]]:
        """The block with the first byte of each delimiter replaced, and the other bytes, to be deleted."""
        wide = np.frombuffer(self._wide_delimiter, np.uint8)
        found = np.flatnonzero(data == wide[0])
        for place in range(1, len(wide)):
            found = found[found + place < len(data)]
            found = found[data[found + place] == wide[place]]
        found = found[self._outside(quotes, found)]
        changed = data.copy()
        changed[found] = self._delimiter[0]
        return changed.tobytes(), (found + 1, found + len(wide))

    def _without_escapes(self, block: bytes) -> bytes:
        """The block with what an escape makes text as stand-ins, and without the escapes."""
        assert self._escape is not None
        sign = self._escape.encode()
        data = np.frombuffer(block, np.uint8)
        places = np.flatnonzero(data == sign[0])
        # Of a row of escapes every other one is text: 1st, 3rd ... make the next byte text.
        begins = np.flatnonzero(np.diff(places, prepend=-2) != 1)
        in_row = np.arange(len(places)) - np.repeat(begins, np.diff(np.append(begins, len(places))))
        places = places[in_row % 2 == 0]
        if places[-1] + 1 == len(data):
            self._refuse_escape(block, int(places[-1]))
        table, known = self._escaped_bytes
        after = data[places + 1]
        unknown = ~known[after]
        # `\N` that is a whole cell is an empty one.
        null = np.flatnonzero(after == ord("N"))
        if len(null):
            edge = np.isin(np.arange(256), list(self._delimiter + b"\n\r"))
            before = np.where(places[null] > 0, data[places[null] - 1], _LF)
            behind = np.where(places[null] + 2 < len(data), data[np.minimum(places[null] + 2, len(data) - 1)], _LF)
            first, last = before != self._delimiter[0], behind != self._delimiter[0]
            unknown[null] = ~(edge[before] & edge[behind]) | (first & last)
        if unknown.any():
            self._refuse_escape(block, int(places[int(unknown.argmax())]))
        changed = data.copy()
        changed[places + 1] = table[after]
        keep = np.ones(len(data), np.bool_)
        keep[places] = False
        keep[places[null] + 1] = False
        breaks = places[(after == _CR) & (places + 2 < len(data))]
        crlf = breaks[data[breaks + 2] == _LF]
        changed[crlf + 2] = LF_TEXT[0]
        kept: bytes = changed[keep].tobytes()
        return kept

    @property
    def _escaped_bytes(self) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """What a byte after an escape becomes, and which bytes may follow one."""
        table = np.arange(256, dtype=np.uint8)
        known = np.zeros(256, np.bool_)
        meanings = {**_LETTERS, b"\n": LF_TEXT, b"\r": CR_TEXT}
        for letter, text in meanings.items():
            table[letter[0]] = text[0]
            known[letter[0]] = True
        assert self._escape is not None
        for sign, text in (
            (self._escape.encode(), self._escape.encode()), (self._quote, QUOTE_TEXT), (self._delimiter, DELIMITER_TEXT)
        ):  # fmt: skip
            if sign:
                table[sign[0]] = text[0]
                known[sign[0]] = True
        if self._delimiter == b"\t":
            table[ord("t")] = DELIMITER_TEXT[0]
        for other in b"\"'":
            known[other] = True
        return table, known

    def _refuse_escape(self, block: bytes, place: int) -> NoReturn:
        line = self.lines + breaks_in(block[:place]) + 1
        raise ItemRefused(
            f"{self._landing.item.uri}, line {line}: the escape {printable(str(self._escape))} stands before a "
            "character that it gives no meaning",
            line=line,
            hint="write the escape twice where it is text; or remove escape from source.format",
        )

    def _comments(self, block: bytes, data: Bytes, quotes: Positions) -> tuple[Positions, Positions, Positions]:
        """The quotes that are not in comments, and where the comments start and end."""
        comment = str(self._declared.comment).encode()
        starts, ends = [], []
        first = data == comment[0]
        first[1:] &= (data[:-1] == _LF) | (data[:-1] == _CR)
        for start in np.flatnonzero(first).tolist():
            if not block.startswith(comment, start):
                continue
            before = int(np.searchsorted(quotes, start))
            if (before % 2 == 1) != self._inside:
                continue
            match = _LINE_END.search(block, start)
            end = match.start() if match else len(block)
            quotes = np.concatenate([quotes[:before], quotes[np.searchsorted(quotes, end) :]])
            starts.append(start)
            ends.append(end)
        return quotes, np.array(starts, np.int64), np.array(ends, np.int64)

    def _blanks(self, data: Bytes, quotes: Positions) -> tuple[Positions, Positions]:
        """Where blanks beside a delimiter or a line's end start and end."""
        blank = data == ord(" ")
        if self._delimiter != b"\t":
            blank |= data == ord("\t")
        turns = np.flatnonzero(np.diff(np.concatenate([[False], blank, [False]])))
        starts, ends = turns[::2], turns[1::2]
        edge = np.isin(np.arange(256), list(self._delimiter + b"\n\r"))
        if self._wide_delimiter:
            edge[[self._wide_delimiter[0], self._wide_delimiter[-1]]] = True
        before = np.where(starts > 0, data[starts - 1], _LF)
        after = np.where(ends < len(data), data[np.minimum(ends, len(data) - 1)], _LF)
        cut = (edge[before] | edge[after]) & self._outside(quotes, starts)
        return starts[cut], ends[cut]


_LINE_END = re.compile(rb"[\r\n]")
