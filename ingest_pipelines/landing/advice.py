"""Which declared format would read a file that was refused: found by reading it, and named as a line of YAML."""

from __future__ import annotations

import codecs
import csv
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
from ingest_pipelines.errors import IngestError, ItemRefused, printable
from ingest_pipelines.file_content import NO_TABLES, content_of
from ingest_pipelines.landing.csv_reader import WRONG_COUNT, WRONG_WIDTH
from ingest_pipelines.landing.dialects import COMMENTS, DELIMITERS, MOST_LINES, TYPES, delimiters, lines_of
from ingest_pipelines.landing.encodings import encodings, plausible, with_line_feeds
from ingest_pipelines.landing.header import Spellings, is_ruler, missing_columns
from ingest_pipelines.landing.land import PART
from ingest_pipelines.landing.survey import NEVER_CLOSES
from ingest_pipelines.model import Landing

WHOLE = 32 << 20
"""A file of at most so many bytes is read whole to prove an advice; of a larger one its beginning and its end."""

HEAD, TAIL = 4 << 20, 1 << 20

_END = 64 << 10
"""Where a quote never closes, the next cell is looked for in so many last bytes."""

_TRIALS = 40

_ZEROS = 16
"""More bytes than the last character of any encoding has."""

_DRAWN = 5
"""The line that divides header and rows of a table for people is among so many first ones."""

_TRAILERS = re.compile(
    r'"?((?:t|tr|trl|trlr|trailer|ftr|footer|total|totals|sum|count|records|rows|lines|end|eof)(?![^\W\d_]))\D*\d',
    re.IGNORECASE,
)
"""A last line that says how many rows there are. It begins with one of these words: any other may be a row's value."""

_NO_TEXT = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"%PDF", b"PAR1")
"""What archives and documents begin with. Their bytes are text in some encoding, and no table."""


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
        if _ends_in_zeros(landing.path):
            refusal.hint = "the file ends in zero bytes, so its upload was cut: upload it again"
            return
        with _Sample(landing) as sample:
            if _refused(sample, required, declared, limits, spellings) is None:
                return  # it was refused for another reason than its format, or in the middle of a large file
            unclosed = NEVER_CLOSES in refusal.message and declared.trailer is None
            cut = unclosed and _may_be_cut(sample.path, declared)
            wide = WRONG_WIDTH in refusal.message or _is_drawn(sample.path)
            found = _format(sample, required, declared, limits, spellings, wide=wide, cut=cut)
            others = _other_encodings(sample, required, found, declared, limits, spellings)
            whole = found is None or _reads(sample, required, found, limits, spellings)
    except (OSError, IngestError):
        return
    if found is None:
        return
    line = written(found)
    # A header's names and a footer are what a person knows: the advice says on what they depend.
    if isinstance(found.get("header"), (list, tuple)) and declared.header is None and "skip_lines" not in found:
        refusal.hint = f"if the file has no header: {_unnamed(found)}"
    elif not whole:
        refusal.hint = (
            f"if the last line says how many rows the file has, write in the import's source: {line}; that number is "
            "another one, so upload the whole file then"
        )
    elif isinstance(found.get("footer"), (str, dict)) and declared.footer is None:
        refusal.hint = f"if the last line is the file's trailer, write in the import's source: {line}"
    elif "footer" in found and declared.footer is None:
        refusal.hint = f"if the file is whole and its end is no row, write in the import's source: {line}"
    elif found.get("quote") == NONE and declared.quote != NONE and _has_formulas(landing, declared):
        refusal.hint = (
            'cells such as ="001" are formulas, which only Excel reads: export the file with plain cells, such as 001'
        )
    elif found.get("quote") == NONE and declared.quote != NONE:
        refusal.hint = f"if the file is whole and quotes are text in it, write in the import's source: {line}"
    elif not found:
        refusal.hint = "the file is CSV with commas in UTF-8: remove format from the import's source"
    elif others:
        refusal.hint = f"if its letters then read as they should, write in the import's source: {line}"
    else:
        refusal.hint = f"write in the import's source: {line}"
    if others:
        refusal.hint += f"; or, if they read so in another encoding: {', '.join(others)}"


def _other_encodings(
    landing: Landing,
    required: Sequence[str],
    found: dict[str, Any] | None,
    declared: Format,
    limits: Limits,
    spellings: Spellings,
) -> list[str]:
    """Encodings in which the file can be read as well, with other letters: only who knows the names sees which."""
    if found is None or "encoding" not in found or found["encoding"] in {declared.encoding, "utf-8"}:
        return []
    with landing.path.open("rb") as file:
        head = file.read(1 << 20)
    others = [name for name in plausible(_letters(landing.path, head)) if name not in {"", found["encoding"]}]
    return [name for name in others if _reads(landing, required, {**found, "encoding": name}, limits, spellings)]


def _unnamed(keys: dict[str, Any]) -> str:
    """The line for a file without a header. In which order it has its columns, only a person can say."""
    names = keys["header"]
    if len(names) == 1:
        return f"write in the import's source: {written(keys)}"
    line = written({**keys, "header": ["NAMES"]}).replace("NAMES", "...")
    return (
        f"write in the import's source {line} with the names of its {len(names)} columns in the file's order; the "
        f"import has {', '.join(map(printable, names))}"
    )


def _has_formulas(landing: Landing, declared: Format) -> bool:
    """Whether a cell of the file's beginning is written as `="001"`, so that Excel keeps its zeros."""
    with landing.path.open("rb") as file:
        text = file.read(64 << 10).decode(declared.encoding, errors="replace")
    return re.search(r'(?:^|[,;|\t\r\n])="[^"\r\n]*"(?:$|[,;|\t\r\n])', text) is not None


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


def _ends_in_zeros(path: Path) -> bool:
    """Whether space was reserved for the file that its upload did not fill."""
    with path.open("rb") as file:
        file.seek(-min(_ZEROS, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read() == bytes(_ZEROS)


def _is_drawn(path: Path) -> bool:
    """Whether the file is a table for people, whose end often counts its rows."""
    with path.open("rb") as file:
        return any(is_ruler(line.decode("latin-1")) for line in file.read(1 << 16).splitlines()[:_DRAWN])


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

    A trailer may say that rows are missing: then the format is right, and the file is not.

    Args:
        wide: rows have another width than the header, so that the last lines may be no rows.
        cut: the file may end inside a quoted cell, so that its quotes are no text.
    """
    for keys in islice(_candidates(landing, required, declared, spellings, wide=wide, cut=cut), _TRIALS):
        header = keys.get("header")
        if isinstance(header, list) and len(header) > limits.max_columns:
            continue  # a row of millions of delimiters names as many columns
        if keys != declared.given and _reads(
            landing, required, keys, limits, spellings, or_counts=declared.footer is None
        ):
            return keys
    return None


def _reads(
    landing: Landing, required: Sequence[str], keys: dict[str, Any], limits: Limits, spellings: Spellings, *,
    or_counts: bool = False,
) -> bool:  # fmt: skip
    """Whether a format of these keys reads the file; or, with `or_counts`, only its trailer counts other rows."""
    try:
        refused = _refused(landing, required, Format.model_validate(keys), limits, spellings)
    except ValidationError:
        return False
    trailer = keys.get("footer")
    return refused is None or (
        or_counts and WRONG_COUNT in refused and isinstance(trailer, str) and bool(_TRAILERS.match(f"{trailer}1"))
    )


def _refused(
    landing: Landing, required: Sequence[str], declared: Format, limits: Limits, spellings: Spellings
) -> str | None:
    """Why a format does not read the file; None: it does."""
    from ingest_pipelines.landing.file_reader import open_as

    try:
        with open_as(landing, required, declared, limits, spellings) as (columns, frames):
            if len(columns) < len(set(required)):
                return "columns are missing"
            rows = sum(map(len, frames))
    except IngestError as error:
        return error.message
    except (UnicodeError, csv.Error):
        return "it is no text"
    # Lines are a footer only below rows: where all of them have the wrong width, they are rows.
    return "no rows" if rows == 0 and declared.footer_lines else None


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
    if content is not None and content.name in TYPES:
        yield {"type": TYPES[content.name], **cells}
        return
    if head.startswith(_NO_TEXT) or (content is not None and content.name in NO_TABLES):
        return
    if declared.type != "csv":
        own = cells
    for encoding in _encodings(_letters(landing.path, head), declared):
        try:
            name = encoding or declared.encoding
            text = with_line_feeds(codecs.getincrementaldecoder(name)().decode(head), name).removeprefix("\ufeff")
        except UnicodeError:
            continue
        base = {**own, **({"encoding": encoding} if encoding else {})}
        for signs in _headers(text, required, declared, spellings):
            keys = {**base, **signs}
            yield keys
            for more in _body(text, signs, declared, wide=wide, cut=cut):
                yield {**keys, **more}


def _letters(path: Path, head: bytes) -> bytes:
    """The first part of the file that has letters beyond ASCII: only they tell its encoding."""
    if not head.isascii():
        return head
    with path.open("rb") as file:
        return next((part for part in iter(lambda: file.read(1 << 20), b"") if not part.isascii()), head)


def _encodings(head: bytes, declared: Format) -> Iterator[str]:
    """Encodings that the bytes may have, the likeliest first; "": the declared one.

    In place of a declared one only those that prove themselves: any bytes are text in most others, with wrong letters.
    """
    likely = [decoded.encoding or "utf-8" for decoded in encodings(head, whole=False)]
    if declared.encoding != Format().encoding:
        likely = [encoding for encoding in likely if encoding.startswith("utf")]
    if not likely or not likely[0].startswith(("utf-16", "utf-32")):
        yield ""
        yield "utf-8"
    yield from likely


def _headers(text: str, required: Sequence[str], declared: Format, spellings: Spellings) -> Iterator[dict[str, Any]]:
    """Signs by which a line holds all required columns; those by which the file may have no header at all."""
    lines = list(islice(lines_of(text), MOST_LINES))
    filled = [number for number, line in enumerate(lines) if line.strip("\r\n")]
    for skip in filled:
        for delimiter in dict.fromkeys([declared.delimiter, *delimiters(text, any_sign=len(required) > 1)]):
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
                if not is_ruler("".join(lines[skip + 1 : skip + 2])):
                    yield from _before(before, skip, signs, declared)
                yield from _named(row, lines[skip + 1 :], delimiter, quote, skip, signs, declared)
                return
    first = filled[0] if filled else 0
    for delimiter in dict.fromkeys([declared.delimiter, *DELIMITERS]):
        row = _row(lines[first:], delimiter, '"') if filled else []
        if row and row[0].lstrip("\x1e ").startswith(("{", "[")):
            return  # JSON that cannot be read
        if len(row) == len(set(required)) and not _folded(required) & _folded(row) and declared.header is None:
            changed = {} if delimiter == declared.delimiter else {"delimiter": delimiter}
            if len(row) > 1 or len(required) == 1:
                yield {**changed, "header": list(dict.fromkeys(required))}


def _named(
    header: list[str], below: list[str], delimiter: str, quote: str, skip: int, signs: dict[str, Any], declared: Format
) -> Iterator[dict[str, Any]]:
    """Names for all columns, where a line is between header and rows, or where lines end in delimiters."""
    if declared.header is not None or not below:
        return
    ruled = is_ruler(below[0])
    first = _row(below[ruled:], delimiter, quote)
    names = [trimmed(cell) for cell in header]
    if names[-1:] == [""] and len(first) == len(names) - 1:
        names.pop()  # only the header ends in a delimiter
    else:
        names += [""] * (len(first) - len(names))
    unnamed = [place for place, name in enumerate(names) if not name]
    changed = ruled or unnamed or len(names) < len(header)
    # A cell that the header does not have at all may shift the others: only one that it leaves empty has a place.
    beyond = any(trimmed(first[place]) for place in unnamed if place >= len(header))
    if changed and len(first) == len(names) and not beyond:
        filled = [name or f"column_{place}" for place, name in enumerate(names, 1)]
        yield {**signs, "skip_lines": skip + 1 + ruled, "header": filled}


def _folded(names: Sequence[str]) -> set[str]:
    """The names by their letters alone: `ID` in the first line is a header's, though not the import's."""
    return {"".join(filter(str.isalnum, name.casefold())) or name for name in names}


def _before(before: list[str], skip: int, signs: dict[str, Any], declared: Format) -> Iterator[dict[str, Any]]:
    for comment in COMMENTS:
        if before and all(line.startswith(comment) for line in before):
            yield {**signs, "comment": comment}
    yield {**signs, "skip_lines": skip} if before and skip != declared.skip_lines else signs


def _row(lines: list[str], delimiter: str, quote: str) -> list[str]:
    """The first row of the lines."""
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote, skipinitialspace=delimiter != " ")
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
    for comment in COMMENTS:
        if f"\n{comment}" in text and not declared.comment and "comment" not in signs:
            single.append({"comment": comment})
            break
    if f"\\{quote}" in text:
        single.append({"escape": "\\"})
    single.append({"trim": True})
    if quote != "'" and _encloses(text, signs.get("delimiter", declared.delimiter), "'"):
        single.append({"quote": "'"})
    if quote in text and not cut and not _encloses(text, signs.get("delimiter", declared.delimiter), quote):
        single.append({"quote": NONE})
    if wide and declared.footer is None:
        last = text.rstrip("\r\n").replace("\r", "\n").rpartition("\n")[2]
        begins = re.match(r"[^\W\d]+[^\w\d,;|\t]*(?=\d+$)", last)
        known = _TRAILERS.match(last)
        trailer = begins[0] if begins else known[1] if known else None
        delimiter = signs.get("delimiter", declared.delimiter)
        single += [{"footer": trailer}] if trailer else []  # with the number of rows: it is a proof
        counts = [place for place, cell in enumerate(_row([last], delimiter, '"'), 1) if cell.strip().isdecimal()]
        if trailer and len(counts) > 1:  # the one that is the number of rows proves itself
            single += [{"footer": {"starts_with": trailer, "count": place}} for place in counts]
        single.append({"footer": 1})
        cells = [line.count(delimiter) for line in text.splitlines() if line.strip("\0")]
        if all(count != cells[min(len(cells) - 1, signs.get("skip_lines", 0))] for count in cells[-2:]):
            single.append({"footer": 2})  # else the last line is a row
    yield from single
    for number, one in enumerate(single):
        for other in single[number + 1 :]:
            if not set(one) & set(other) and {*one, *other} != {"quote", "escape"}:
                yield {**one, **other}
