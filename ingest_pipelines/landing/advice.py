"""Which declared format would read a file that was refused: found by reading it, and named as a line of YAML."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.file_format import NONE, Format, written
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import IngestError, ItemRefused
from ingest_pipelines.file_content import content_of
from ingest_pipelines.landing.csv_reader import WRONG_WIDTH
from ingest_pipelines.landing.header import Spellings, missing_columns
from ingest_pipelines.landing.land import PART
from ingest_pipelines.landing.survey import NEVER_CLOSES
from ingest_pipelines.model import Landing

WHOLE = 32 << 20
"""A file of at most so many bytes is read whole to prove an advice; of a larger one its beginning and its end."""

HEAD, TAIL = 4 << 20, 1 << 20

_END = 64 << 10
"""Where a quote never closes, the next cell is looked for in so many last bytes."""

_LINES = 30
"""The header is looked for in so many first lines."""

_DELIMITERS = ",;\t|^~:¦§\x1f\x14\x01"
_TYPES = {"an Excel workbook (.xlsx)": "xlsx", "a Parquet file": "parquet", "JSON": "jsonl"}
_COMMENTS = ("#", "//", "--", "%")
_TRIALS = 40


def advise(
    refusal: ItemRefused,
    landing: Landing,
    required: Sequence[str],
    declared: Format,
    limits: Limits,
    spellings: Spellings,
) -> None:
    """Makes the refusal's hint the line of YAML that reads the file, if there is one."""
    if landing.item.kind == "replay" or not required:
        return
    try:
        with _Sample(landing) as sample:
            unclosed = NEVER_CLOSES in refusal.message and declared.trailer is None
            cut = unclosed and _may_be_cut(sample.path, declared)
            wide = WRONG_WIDTH in refusal.message
            found = _format(sample, required, declared, limits, spellings, wide=wide, cut=cut)
    except (OSError, IngestError):
        return
    if found is None:
        return
    line = written(found)
    # A header's names and a footer are what a person knows: the advice says on what they depend.
    if isinstance(found.get("header"), (list, tuple)) and declared.header is None:
        refusal.hint = f"if the file has no header, name its columns in their order: {line}"
    elif "footer" in found and declared.footer is None:
        refusal.hint = f"if the file is whole and its end is no row, write in the import's source: {line}"
    elif found.get("quote") == NONE and declared.quote != NONE:
        refusal.hint = f"if the file is whole and quotes are text in it, write in the import's source: {line}"
    elif not found:
        refusal.hint = "the file is CSV with commas in UTF-8: remove format from the import's source"
    else:
        refusal.hint = f"write in the import's source: {line}"


class _Sample:
    """The landing, or a short one of its beginning and end."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._path: Path | None = None

    def __enter__(self) -> Landing:
        size = self._landing.path.stat().st_size
        if size <= WHOLE:
            return self._landing
        handle, name = tempfile.mkstemp(prefix=PART, dir=self._landing.path.parent)
        self._path = Path(name)
        with os.fdopen(handle, "wb") as out, self._landing.path.open("rb") as file:
            head = file.read(HEAD)
            out.write(head[: head.rfind(b"\n") + 1])
            file.seek(size - TAIL)
            tail = file.read()
            out.write(tail[tail.find(b"\n") + 1 :])
        return replace(self._landing, path=self._path, quotes=1)

    def __exit__(self, *exception: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _may_be_cut(path: Path, declared: Format) -> bool:
    """Whether a file with a quote that never closes may end inside a cell: in a line, or in a last cell of its row.

    As long as another cell follows the quote, all rows have their width only if quotes are text.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END) // 4 * 4)  # UTF-16 and UTF-32 have two and four bytes
        end = file.read().decode(declared.encoding, errors="replace")
    return not end.endswith(("\n", "\r")) or declared.delimiter not in end[end.rfind(declared.quote) + 1 :]


def _format(
    landing: Landing, required: Sequence[str], declared: Format, limits: Limits, spellings: Spellings, *,
    wide: bool, cut: bool,
) -> dict[str, Any] | None:  # fmt: skip
    """The keys of the first format that reads the file, those that are declared already among them.

    Args:
        wide: rows have another width than the header, so that the last lines may be no rows.
        cut: the file may end inside a quoted cell, so that its quotes are no text.
    """
    for keys in islice(_candidates(landing, required, declared, spellings, wide=wide, cut=cut), _TRIALS):
        if keys != declared.given and _reads(landing, required, keys, limits, spellings):
            return keys
    return None


def _reads(
    landing: Landing, required: Sequence[str], keys: dict[str, Any], limits: Limits, spellings: Spellings
) -> bool:
    from ingest_pipelines.landing.file_reader import open_as

    try:
        with open_as(landing, required, Format.model_validate(keys), limits, spellings) as (columns, frames):
            if len(columns) < len(set(required)):
                return False
            for _ in frames:
                pass
    except (IngestError, ValidationError, UnicodeError, csv.Error):
        return False
    return True


def _candidates(
    landing: Landing,
    required: Sequence[str],
    declared: Format,
    spellings: Spellings,
    *,
    wide: bool,
    cut: bool,
) -> Iterator[dict[str, Any]]:
    with landing.path.open("rb") as file:
        head = file.read(1 << 20)
    own = {key: value for key, value in declared.given.items() if key != "type"}
    cells = {key: value for key, value in own.items() if key == "null_values"}
    content = content_of(head[: 64 << 10], landing.item.path)
    if content is not None and content.name in _TYPES:
        yield {"type": _TYPES[content.name], **cells}
        return
    if declared.type != "csv":
        own = cells
    for encoding in _encodings(head, landing):
        try:
            text = codecs.getincrementaldecoder(encoding or declared.encoding)().decode(head).removeprefix("\ufeff")
        except UnicodeError:
            continue
        base = {**own, **({"encoding": encoding} if encoding else {})}
        for signs in _headers(text, required, declared, spellings):
            keys = {**base, **signs}
            yield keys
            for more in _body(text, signs, declared, wide=wide, cut=cut):
                yield {**keys, **more}


def _encodings(head: bytes, landing: Landing) -> Iterator[str]:
    """Encodings that the bytes may have; "": the declared one."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        yield "utf-32"
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield "utf-16"
    elif head.count(b"\0") * 4 > len(head):
        yield "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    else:
        yield ""
        yield "utf-8"
        if not _is_utf8(head):
            yield "cp1252"


def _is_utf8(head: bytes) -> bool:
    """Whether there are letters beyond ASCII, all UTF-8's: as cp1252 they would be others, and marks would be text."""
    try:
        return not codecs.getincrementaldecoder("utf-8")().decode(head).isascii()
    except UnicodeError:
        return False


def _headers(text: str, required: Sequence[str], declared: Format, spellings: Spellings) -> Iterator[dict[str, Any]]:
    """Signs by which a line holds all required columns; those by which the file may have no header at all."""
    lines = text.splitlines(keepends=True)[:_LINES]
    filled = [number for number, line in enumerate(lines) if line.strip("\r\n")]
    delimiters = dict.fromkeys([declared.delimiter, *_DELIMITERS])
    for skip in filled:
        for delimiter in delimiters:
            for quote in dict.fromkeys([declared.quote, '"', "'"]):
                if quote in {NONE, delimiter}:
                    continue
                row = _row(lines[skip:], delimiter, quote)
                if missing_columns(required, {trimmed(cell) for cell in row}, spellings):
                    continue
                signs: dict[str, Any] = {}
                if delimiter != declared.delimiter:
                    signs["delimiter"] = delimiter
                if quote != declared.quote:
                    signs["quote"] = quote
                before = [lines[number] for number in filled if number < skip]
                yield from _before(before, skip, signs, declared)
                return
    first = filled[0] if filled else 0
    for delimiter in delimiters:
        row = _row(lines[first:], delimiter, '"') if filled else []
        if len(row) == len(set(required)) and not _folded(required) & _folded(row) and declared.header is None:
            changed = {} if delimiter == declared.delimiter else {"delimiter": delimiter}
            if len(row) > 1 or len(required) == 1:
                yield {**changed, "header": list(dict.fromkeys(required))}


def _folded(names: Sequence[str]) -> set[str]:
    """The names by their letters alone: `ID` in the first line is a header's, though not the import's."""
    return {"".join(filter(str.isalnum, name.casefold())) or name for name in names}


def _before(before: list[str], skip: int, signs: dict[str, Any], declared: Format) -> Iterator[dict[str, Any]]:
    for comment in _COMMENTS:
        if before and all(line.startswith(comment) for line in before):
            yield {**signs, "comment": comment}
    yield {**signs, "skip_lines": skip} if before and skip != declared.skip_lines else signs


def _row(lines: list[str], delimiter: str, quote: str) -> list[str]:
    """The first row of the lines, by signs of any width."""
    text = "".join(lines).replace(delimiter, "\x1f").replace(quote, "\x1e") if not (delimiter + quote).isascii() else ""
    signs = ("\x1f", "\x1e") if text else (delimiter, quote)
    reader = csv.reader(
        io.StringIO(text or "".join(lines), newline=""), delimiter=signs[0], quotechar=signs[1], skipinitialspace=True
    )
    try:
        return next((row for row in reader if row), [])
    except csv.Error:
        return []


def _encloses(text: str, delimiter: str, quote: str) -> bool:
    """Whether a cell begins and ends with the quote: there it is no text."""
    edge = rf"(?:^|$|[{re.escape(delimiter)}\r\n])"
    sign = re.escape(quote)
    return re.search(rf"{edge}{sign}[^{sign}\r\n]*{sign}{edge}", text) is not None


def _body(text: str, signs: dict[str, Any], declared: Format, *, wide: bool, cut: bool) -> Iterator[dict[str, Any]]:
    """What else the rows may need."""
    quote = signs.get("quote", declared.quote)
    single: list[dict[str, Any]] = []
    for comment in _COMMENTS:
        if f"\n{comment}" in text and not declared.comment and "comment" not in signs:
            single.append({"comment": comment})
            break
    if f"\\{quote}" in text:
        single.append({"escape": "\\"})
    single.append({"trim": True})
    if quote in text and not cut and not _encloses(text, signs.get("delimiter", declared.delimiter), quote):
        single.append({"quote": NONE})
    if wide and declared.footer is None:
        single += [{"footer": 1}, {"footer": 2}]
    yield from single
    for number, one in enumerate(single):
        for other in single[number + 1 :]:
            if not set(one) & set(other) and {*one, *other} != {"quote", "escape"}:
                yield {**one, **other}
