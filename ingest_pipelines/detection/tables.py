"""By which signs a text may be a table whose rows are all as wide as its header. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.file_format import NONE
from ingest_pipelines.landing.dialects import COMMENTS, DELIMITERS, MOST_LINES, USUAL, delimiters, lines_of
from ingest_pipelines.landing.header import is_ruler

MOST_BEHIND = 10
"""Lines behind the last row that are looked at."""

FEW_ROWS = 4
"""A table of fewer rows below lines that are no rows may be a coincidence."""

_SEP = re.compile(r"\"?sep=(.)\"?[ ,;\t|]*(?:\r\n|\n|\r)", re.IGNORECASE)
"""A first line that names the delimiter for Excel."""

_Row = tuple[int, int, list[str]]
"""A row's first line and the line behind it, from 0, and its cells."""


@dataclass(frozen=True)
class Layout:
    """Keys of a format by which the text may be a table.

    Attributes:
        keys: without the encoding.
        text: the text, cut where a row ends.
        cost: how many keys say something besides which signs tell cells apart; the plainest layout has the fewest.
        may_be_one_column: so few rows fit that the file may be one column of text as well.
        last_line: the line at the end that is taken for no row, though nothing in it proves that.
    """

    keys: Mapping[str, Any]
    text: str
    cost: int = 0
    may_be_one_column: bool = False
    last_line: str = ""


@dataclass
class _Signs:
    """One way to tell cells apart."""

    delimiter: str
    quote: str = '"'
    escape: str | None = None
    comment: str | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    cost: int = 0

    def __post_init__(self) -> None:
        self.keys = {} if self.delimiter == "," else {"delimiter": self.delimiter}
        self.keys |= {} if self.quote == '"' else {"quote": self.quote}
        self.keys |= {"escape": self.escape} if self.escape else {}
        self.keys |= {"comment": self.comment} if self.comment else {}
        self.cost = bool(self.escape) + bool(self.comment) + (self.quote == NONE)


def layouts(text: str, *, whole: bool) -> Iterator[Layout]:
    """Every layout in which the text is a table of two columns or more, the plainest first."""
    if says := _SEP.match(text):
        signs = _Signs(says[1])
        yield Layout({**signs.keys, "skip_lines": 1}, _cut(text, signs, whole=whole))
        return
    if drawn := _drawn(text, whole=whole):
        yield drawn
        return
    found = [layout for signs in _signs(text) for layout in _of_signs(text, signs, whole=whole)]
    yield from sorted(found, key=lambda layout: layout.cost)


def _drawn(text: str, *, whole: bool) -> Layout | None:
    """The layout of a table as database clients and Markdown draw it: with a line of dashes below the header."""
    signs = _Signs("|", NONE)
    cut = _cut(text, signs, whole=whole)
    lines = cut.splitlines()
    first = next((place for place, line in enumerate(lines[:MOST_LINES]) if line.strip() and not is_ruler(line)), 0)
    if not is_ruler("".join(lines[first + 1 : first + 2])) or "|" not in lines[first]:
        return None
    names = [trimmed(cell) or f"column_{place}" for place, cell in enumerate(lines[first].split("|"), 1)]
    body = [line for line in lines[first + 2 :] if line.strip()]
    is_row = [line.count("|") == len(names) - 1 and not is_ruler(line) for line in body]
    rows = is_row.index(False) if False in is_row else len(body)
    behind = len(body) - rows
    if not rows or behind > MOST_BEHIND or len(set(names)) < len(names):
        return None
    keys: dict[str, Any] = {"delimiter": "|", "skip_lines": first + 2, "header": names}
    if '"' in cut:
        keys["quote"] = NONE
    return Layout({**keys, **({"footer": behind} if behind else {})}, cut)


def one_column(text: str, *, whole: bool) -> Iterator[Layout]:
    """Layouts in which the text may be a table of one column: nothing separates cells in its first line."""
    if any(len(rows[0][2]) > 1 for sign in USUAL if (rows := _rows(text, _Signs(sign)))):
        return
    for delimiter in DELIMITERS:
        for quote in ('"', NONE):
            signs = _Signs(delimiter, quote)
            yield Layout(signs.keys, _cut(text, signs, whole=whole))


def as_it_is(text: str, *, whole: bool) -> Layout:
    """The layout by the delimiter that separates most cells of the first line, whether it reads the text or not."""
    first_lines = {sign: _rows(text, _Signs(sign)) for sign in USUAL}
    widest = max(USUAL, key=lambda sign: len(first_lines[sign][0][2]) if first_lines[sign] else 0)
    signs = _Signs(widest)
    return Layout(signs.keys, _cut(text, signs, whole=whole))


def _signs(text: str) -> Iterator[_Signs]:
    """The signs that occur in the text in their places."""
    comments = [None, *(comment for comment in COMMENTS if re.search(rf"^{re.escape(comment)}", text, re.MULTILINE))]
    for delimiter in delimiters(text):
        if delimiter not in text:
            continue
        sign = re.escape(delimiter)
        quotes = ['"']
        if re.search(rf"(?:\A|[\r\n]|{sign})'[^']*(?:''[^']*)*'(?={sign}|[\r\n]|\Z)", text):
            quotes.append("'")
        for comment in comments:
            for quote in quotes:
                yield _Signs(delimiter, quote, comment=comment)
                if "\\" in text:
                    yield _Signs(delimiter, quote, "\\", comment)
            if '"' in text and not _never_closes(text, sign):
                yield _Signs(delimiter, NONE, comment=comment)


def _never_closes(text: str, sign: str) -> bool:
    """Whether a quote that begins a cell has no other one: the file is cut off, or damaged."""
    return text.count('"') % 2 == 1 and re.search(rf'(?:\A|[\r\n]|{sign})"', text) is not None


def _of_signs(text: str, signs: _Signs, *, whole: bool) -> Iterator[Layout]:
    cut = _cut(text, signs, whole=whole)
    rows = _rows(cut, signs)
    if not rows:
        return
    start, end = _table(rows, whole=whole)
    width = len(rows[start][2])
    if width < 2:
        return
    keys, cost = dict(signs.keys), signs.cost
    dropped = start + len(rows) - end
    if dropped and end - start < 2:
        return
    if start:
        # A line of nearly as many cells is a header or a row of the wrong width: that file is no table.
        if any(len(cells) > max(1, width // 2) for _, _, cells in rows[:start]) or rows[start][0] > MOST_LINES:
            return
        keys["skip_lines"], cost = rows[start][0], cost + 1
    footer: dict[str, Any] = {}
    if end < len(rows):
        lines_behind = len(rows) - end
        footer = {"footer": lines_behind} if lines_behind > 1 else _footer(rows[end][2], end - start - 1)
        cost += not _has_count(footer)  # one that has is certain: by other signs it would not be the number of rows
        if not _has_count(footer) and (len(rows[end][2]) > max(1, width // 2) or not text.endswith(("\n", "\r"))):
            return  # a row that is too short: the file was cut off, or is damaged
    elif whole and _may_be_trailer(rows[start + 1 :]):  # as wide as a row: both readings are asked about
        yield Layout({**keys, **_footer(rows[-1][2], end - start - 2)}, cut, cost)
    few = bool(dropped or signs.comment) and width == 2 and end - start < max(FEW_ROWS, dropped)
    last = "" if not footer or _has_count(footer) else signs.delimiter.join(rows[-1][2])
    yield Layout({**keys, **footer}, cut, cost, few, last)
    sign = re.escape(signs.delimiter)
    if re.search(rf'(?:[\r\n]|{sign})[ \t]+"|"[ \t]+(?={sign}|[\r\n])', cut):
        yield Layout({**keys, **footer, "trim": True}, cut, cost + 1, few, last)


def _table(rows: list[_Row], *, whole: bool) -> tuple[int, int]:
    """The first and the last row, exclusive, of the longest table at the end whose rows are all of one width."""
    end = len(rows)
    if whole:
        end -= _lines_behind(rows)
    width = len(rows[end - 1][2])
    start = end - 1
    while start and len(rows[start - 1][2]) == width:
        start -= 1
    return start, end


def _lines_behind(rows: list[_Row]) -> int:
    """How many last rows may be no rows: one of another width, or several lines of text."""
    texts = next((n for n, (_, _, cells) in enumerate(reversed(rows)) if len(cells) > 1), 0)
    if texts:
        return texts if texts <= MOST_BEHIND else 0
    return int(len(rows) > 2 and len(rows[-1][2]) != len(rows[-2][2]))


def _may_be_trailer(rows: list[_Row]) -> bool:
    """Whether the last row is words and the number of rows above it, whose first cells are no words."""
    if len(rows) < 3:
        return False
    firsts = [cells[0] for _, _, cells in rows]
    number = str(len(rows) - 1)
    others = [cell.strip() for cell in rows[-1][2][1:] if cell.strip()]
    is_word = re.fullmatch(r"[^\W\d](?:[^\W\d]|[ .:-])*", firsts[-1]) is not None
    return is_word and others == [number] and all(re.search(r"[\d@]", first) for first in firsts[:-1])


def _footer(cells: list[str], count: int) -> dict[str, Any]:
    """How the last line is declared: by its beginning, with the number of rows if it has that, or just as a line."""
    # The next file's number is another one: the line is known by what is before it.
    match = re.fullmatch(r"(?P<begins>[^\W\d](?:[^\W\d]|[ .:-])*)(?P<number>\d*)\D*", cells[0])
    if match is None:
        return {"footer": 1}
    begins = match["begins"].rstrip()
    if len(cells) == 1 and match["number"] and int(match["number"]) == count:
        return {"footer": begins}
    places = [place for place, cell in enumerate(cells, 1) if cell.strip() == str(count)]
    if len(places) == 1:
        return {"footer": {"starts_with": begins, "count": places[0]}}
    return {"footer": {"starts_with": begins, "count": NONE}}


def _has_count(footer: Mapping[str, Any]) -> bool:
    """Whether the trailer proves that the file is whole."""
    declared = footer.get("footer")
    return isinstance(declared, str) or (isinstance(declared, dict) and declared["count"] != NONE)


def _cut(text: str, signs: _Signs, *, whole: bool) -> str:
    """The text up to the last line break outside quotes; the whole text where it is the whole file."""
    if whole:
        return text
    ends = [match.end() for match in re.finditer("\r\n|\n|\r(?!\n|$)", text)]
    if signs.quote == NONE or not ends:
        return text[: ends[-1]] if ends else text
    bare = re.sub(re.escape(signs.escape) + ".", "  ", text, flags=re.DOTALL) if signs.escape else text
    quotes = [match.start() for match in re.finditer(re.escape(signs.quote), bare)]
    place = len(quotes)
    for end in reversed(ends):
        while place and quotes[place - 1] >= end:
            place -= 1
        if place % 2 == 0:
            return text[:end]
    return text


def _rows(text: str, signs: _Signs) -> list[_Row]:
    """The rows that are not blank, by a plain parser: only their widths and places matter."""
    reading: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if signs.quote == NONE else {"quotechar": signs.quote}
    if signs.escape:
        reading |= {"escapechar": signs.escape, "doublequote": False}
    # A comment becomes a blank line, so that the numbers of the others stay.
    kept = ("\n" if signs.comment and line.startswith(signs.comment) else line for line in lines_of(text))
    reader = csv.reader(kept, delimiter=signs.delimiter, skipinitialspace=True, **reading)
    rows: list[_Row] = []
    before = 0
    try:
        for cells in reader:
            if cells:
                rows.append((before, reader.line_num, cells))
            before = reader.line_num
    except csv.Error:
        return []
    return rows
