"""The bytes that the CSV parser tells cells apart by, and the stand-ins of those that are text. Pure.

The parser knows one delimiter and one quote, both of one ASCII byte. Where a file has others (a delimiter beyond ASCII,
a backslash before a delimiter that is text), it is translated first. What is text then, and would be taken for a sign,
is written as a byte that UTF-8 never has, and is replaced in the parsed cells.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

DELIMITER_TEXT, QUOTE_TEXT, LF_TEXT, CR_TEXT, LF_LETTER, CR_LETTER = (
    b"\xff",
    b"\xfe",
    b"\xfc",
    b"\xfb",
    b"\xfa",
    b"\xf9",
)
"""Stand-ins of a delimiter, a quote, line breaks of the file, and line breaks that it spells as letters: they are no
lines of the file."""

WIDE_DELIMITER, WIDE_QUOTE = b"\x1f", b"\x1e"
"""What signs beyond ASCII become."""


@dataclass(frozen=True)
class CsvSigns:
    """How a file of UTF-8, perhaps a translated one, tells its cells apart.

    Attributes:
        delimiter: one ASCII byte.
        quote: one ASCII byte; empty: no cell is enclosed.
        translated: the file has stand-ins.
        is_utf8: what it has besides is known to be UTF-8.
        quote_text: what a doubled quote means, where that is another text than `quote`.
        skip_lines: lines before the header.
        names: names of the columns where the file has no header; empty: they are numbered. None: it has one.
        rows: how many rows its trailer says it has.
        mark: what a byte order mark of UTF-8 becomes in the delivered file's encoding.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    translated: bool = False
    is_utf8: bool = False
    quote_text: bytes = b""
    skip_lines: int = 0
    names: tuple[str, ...] | None = None
    rows: int | None = None
    mark: str = "\ufeff"

    @property
    def of_csv(self) -> dict[str, Any]:
        """The signs as Python's own `csv` takes them."""
        quoting: dict[str, Any] = {"quotechar": self.quote.decode()} if self.quote else {"quoting": csv.QUOTE_NONE}
        return {"delimiter": self.delimiter.decode(), **quoting}

    def restored(self, data: bytes) -> bytes:
        """The bytes of a cell as the file means them."""
        if not self.translated:
            return data
        if self.quote_text:
            data = data.replace(self.quote, self.quote_text)
        return data.translate(self._physical).translate(_LETTERS)

    def physical(self, data: bytes) -> bytes:
        """The bytes with each line break of the file; they are as many."""
        return data.translate(self._physical) if self.translated else data

    def with_breaks(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The parsed cells with their signs and line breaks, without those that are spelled as letters."""
        if not self.translated:
            return batch
        if self.quote_text:
            batch = _each(batch, self._with_quotes)
        return _each(batch, lambda column: _translated(column, self._physical))

    def with_letters(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The cells of `with_breaks` as the file means them."""
        return _each(batch, lambda column: _translated(column, _LETTERS)) if self.translated else batch

    def _with_quotes(self, column: pa.Array) -> pa.Array:
        data = column.buffers()[2]
        if data is None or self.quote not in data.to_pybytes():
            return column
        cells = pa.Array.from_buffers(pa.binary(), len(column), column.buffers(), column.null_count, column.offset)
        cells = pc.replace_substring(cells, self.quote, self.quote_text)
        return pa.Array.from_buffers(pa.string(), len(cells), cells.buffers(), cells.null_count, cells.offset)

    @property
    def _physical(self) -> bytes:
        return bytes.maketrans(
            DELIMITER_TEXT + QUOTE_TEXT + LF_TEXT + CR_TEXT, self.delimiter + (self.quote or QUOTE_TEXT) + b"\n\r"
        )


RFC_4180 = CsvSigns()

_LETTERS = bytes.maketrans(LF_LETTER + CR_LETTER, b"\n\r")


def breaks_in(text: bytes) -> int:
    """The line breaks in the text: LF, CRLF and CR."""
    return text.count(b"\n") + (text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else 0)


def _each(batch: pa.RecordBatch, change: Callable[[pa.Array], pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([change(column) for column in batch.columns], names=batch.schema.names)


def _translated(column: pa.Array, table: bytes) -> pa.Array:
    validity, offsets, data = column.buffers()
    if data is None:
        return column
    changed = pa.py_buffer(data.to_pybytes().translate(table))
    return pa.Array.from_buffers(
        column.type, len(column), [validity, offsets, changed], column.null_count, column.offset
    )
