"""Reads the header of a CSV file, or refuses the file because of it."""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import bytes_of_marks, content_of
from ingest_pipelines.landing.csv_signs import RFC_4180, CsvSigns
from ingest_pipelines.landing.encodings import encodings, is_modified_utf8
from ingest_pipelines.model import OWN_COLUMNS, Landing

MAX_HEADER_BYTES = 8 << 20
"""The header must end within so many bytes."""

QUOTING = 'quote the whole cell, with no blank before the quote; write a quote inside it twice: "a ""b"" c"'
"""What to do about a quote in the wrong place."""

CONTENT_BYTES = 64 << 10
"""How many bytes are read to recognise the kind of file."""

LONGEST_QUOTED = 60
"""Letters of a column's name that a message shows escaped."""

RULER = "a line of dashes below the header"
"""What a refusal says of a table as database clients print it."""

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

_SEVERAL_SIGNS = ("|||", "||", ";;", "~~", "^^", "::", "~|~", "|~|", "^|^", "|^|", "@@", "##", "\t\t")
"""What some programs write between cells, though it may be in a cell less likely than one character is."""


Spellings = Mapping[str, Sequence[str]]
"""Mapped column -> other names that it may have."""

NO_SPELLINGS: Spellings = {}


@dataclass(frozen=True)
class Header:
    """Where a file's rows begin.

    Attributes:
        columns: the header's cells.
        offset: bytes before the first row.
        lines: physical lines before the first row.
        spellings: other names of mapped columns, by which a second header may call them.
    """

    columns: tuple[str, ...]
    offset: int
    lines: int
    signs: CsvSigns = RFC_4180
    spellings: Spellings = field(default_factory=dict)


def read_header(
    landing: Landing,
    required: Sequence[str],
    limits: Limits,
    spellings: Spellings = NO_SPELLINGS,
    signs: CsvSigns = RFC_4180,
) -> Header:
    """The first line that is not blank, parsed as RFC 4180; or the declared names of a file without a header.

    Raises:
        ItemRefused: empty file, not UTF-8, another delimiter, duplicate names, a required column is missing or is
            there under two of its names, too many columns.
    """
    with landing.path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    start, skipped = bytes_of_marks(head), 0
    if signs.skip_lines:
        before = head[start:].splitlines(keepends=True)[: signs.skip_lines]
        start, skipped = start + sum(map(len, before)), len(before)
    _refuse_other_content(landing, head[start:] if skipped else head)
    lines = _HeaderLines(head, start)
    line = skipped + 1
    try:
        cells: list[str] = []
        for cells in csv.reader(lines, strict=True, **signs.of_csv):
            if cells:
                break
            line = skipped + lines.count + 1
        if not cells and signs.skip_lines and head[:start].strip():
            raise ItemRefused(
                f"{landing.item.uri}: no line is left below those that source.format.skip_lines skips",
                line=1,
                hint="correct source.format.skip_lines, or upload a file with a header and rows",
            )
        if not cells:
            raise ItemRefused(
                f"{landing.item.uri}: the file is empty", line=1, hint="upload a file with a header and rows"
            )
        columns = tuple(signs.restored(cell.encode("latin-1")).decode("utf-8") for cell in cells)
        if not _record(signs).fullmatch(head[start : lines.offset]):
            raise csv.Error
    except csv.Error:
        text = head[start : lines.offset].decode("utf-8", "replace")
        _refuse_delimiter(landing, text, line, required, spellings, signs)
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: the header cannot be read: a quote in it never closes, or is inside "
            "a cell that does not begin with one",
            line=line,
            hint=QUOTING,
        ) from None
    except UnicodeDecodeError:
        raise not_utf8(landing, line, head[: lines.offset]) from None
    if signs.names is None:
        _refuse_columns(landing, columns, line, required, limits, spellings, signs)
        _refuse_ruler(landing, head[lines.offset :].split(b"\n", 1)[0], skipped + lines.count + 1)
        return Header(columns, lines.offset, skipped + lines.count, signs, spellings)
    names = signs.names or tuple(f"column_{number}" for number in range(1, len(columns) + 1))
    _refuse_columns(landing, names, line, required, limits, spellings, signs)
    return Header(names, start, skipped, signs, spellings)


def is_ruler(line: str) -> bool:
    """Whether the line only divides the header from the rows: `----+------`, `|---|---|`, `==== ====`."""
    return re.fullmatch(r"[\s|+,;:.=-]*(?:--|==)[\s|+,;:.=-]*", line) is not None


def _refuse_ruler(landing: Landing, below: bytes, line: int) -> None:
    """Raises ItemRefused if the line below the header is none of its rows."""
    if below[:1] in b"-=|+ " and is_ruler(below[:CONTENT_BYTES].decode("latin-1")):
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: {RULER}: this is a table as a database client prints it for people",
            line=line,
            hint="export it as CSV: psql --csv, mysql --batch, bcp, or a client's own export",
        )


def _record(signs: CsvSigns) -> re.Pattern[bytes]:
    """RFC 4180: quotes enclose a whole cell; inside it a quote is doubled."""
    delimiter, quote = re.escape(signs.delimiter), re.escape(signs.quote)
    cell = rb"[^" + delimiter + quote + rb"\r\n]*+"
    if quote:
        cell = rb"(?:" + quote + rb"(?:[^" + quote + rb"]|" + quote + quote + rb")*+" + quote + rb"|" + cell + rb")"
    return re.compile(rb"[\r\n]*+" + cell + rb"(?:" + delimiter + cell + rb")*+[\r\n]*+")


class _HeaderLines:
    """The physical lines of the file's head as text, one character per byte; counts what was read."""

    def __init__(self, head: bytes, start: int) -> None:
        self.offset = start
        self.count = 0
        self._text = io.StringIO(head[start:].decode("latin-1"), newline="")

    def __iter__(self) -> Iterator[str]:
        for text in self._text:
            self.offset += len(text)
            self.count += 1
            yield text


def _refuse_other_content(landing: Landing, head: bytes) -> None:
    if content := content_of(head[:CONTENT_BYTES], landing.item.path):
        raise ItemRefused(f"{landing.item.uri}, line 1: the file is {content.name}", line=1, hint=content.advice)


def not_utf8(landing: Landing, line: int, around: bytes) -> ItemRefused:
    """The refusal of bytes that are not UTF-8, with a guess at their encoding."""
    if is_modified_utf8(around):
        return ItemRefused(
            f"{landing.item.uri}, line {line}: not valid UTF-8: it is the modified UTF-8 of Java, or CESU-8",
            line=line,
            hint="write the file as UTF-8: in Java by StandardCharsets.UTF_8, not writeUTF; in a database by utf8mb4 "
            "or AL32UTF8",
        )
    likely = next((decoded.encoding for decoded in encodings(around, whole=False)), "")
    hint = "declare it in source.format.encoding, or save the file as UTF-8"
    if likely.startswith("utf-16"):
        guess, hint = "it looks like UTF-16", "save the file as UTF-8 (CSV UTF-8)"
    elif likely:
        guess = f"it looks like {'Windows-1252 (or Latin-1)' if likely == 'cp1252' else likely}"
    else:
        guess = "its encoding is unknown"
    return ItemRefused(f"{landing.item.uri}, line {line}: not valid UTF-8; {guess}", line=line, hint=hint)


def _refuse_columns(
    landing: Landing,
    columns: tuple[str, ...],
    line: int,
    required: Sequence[str],
    limits: Limits,
    spellings: Spellings,
    signs: CsvSigns,
) -> None:
    where = f"{landing.item.uri}, line {line}"
    if any("\0" in column for column in columns):
        raise ItemRefused(
            f"{where}: the header contains NUL: the file is UTF-16, or it is damaged",
            line=line,
            hint="save the file as UTF-8, or upload it again",
        )
    missing = missing_columns(required, columns, spellings)
    if missing:
        _refuse_delimiter(landing, signs.delimiter.decode().join(columns), line, required, spellings, signs)
        if len(columns) == 1 and not missing_columns(required, _split(columns[0], signs.delimiter.decode()), spellings):
            raise ItemRefused(
                f"{where}: each line is quoted as a whole, so that it is one cell",
                line=line,
                hint="export the file again with quotes around cells, or with none",
            )
    if len(columns) > limits.max_columns:
        raise ItemRefused(
            f"{where}: {len(columns):,} columns; at most {limits.max_columns:,} are allowed",
            line=line,
            hint="raise source.limits.max_columns, or remove columns",
        )
    if columns.count("") > 1:
        raise ItemRefused(
            f"{where}: columns {_places(columns, '')} have no name",
            line=line,
            hint="remove them (the header may end in commas), or give each its own name",
        )
    # Without any mapped column the first line may be a row: its cells are not named.
    named = {*required, *chain.from_iterable(spellings.values())}.intersection(columns)
    repeated = [column for column, times in Counter(columns).items() if times > 1] if named or not required else []
    if repeated:
        places = [f"'{printable(column)}' in columns {_places(columns, column)}" for column in repeated[:10]]
        raise ItemRefused(
            f"{where}: the header repeats {'; '.join(places)}", line=line, hint="give each column its own name"
        )
    own = [name for name in OWN_COLUMNS if name in columns]
    if own:
        raise ItemRefused(f"{where}: the column name '{own[0]}' is reserved", line=line, hint="rename the column")
    _refuse_two_names(columns, spellings, where, line)
    if missing:
        meant = {column: _meant(column, columns, required, same=not named) for column in missing}
        raise ItemRefused(
            f"{where}: the header lacks {'; '.join(_lacking(column, name) for column, name in meant.items())}",
            line=line,
            hint=_other_name(meant, spellings) or "correct the file's header, or the import's columns",
        )


def names_of_columns(columns: Sequence[str], spellings: Spellings) -> dict[str, str]:
    """Every name that a header may have for each of the columns -> the one that this header has, both trimmed."""
    names = {trimmed(name): trimmed(name) for name in columns}
    for column, also in spellings.items():
        there = next((name for name in (column, *also) if name in columns), None)
        if there is not None:
            names |= {trimmed(name): trimmed(there) for name in (column, *also) if name not in columns}
    return names


def missing_columns(required: Sequence[str], columns: Collection[str], spellings: Spellings) -> list[str]:
    """Required columns that have none of their names in the header."""
    return [
        column for column in required if column not in columns and set(spellings.get(column, ())).isdisjoint(columns)
    ]


def check_names(what: str, columns: tuple[str, ...], required: Sequence[str], spellings: Spellings) -> None:
    """Passes if each required column has one of its names among the columns, and only one.

    Args:
        what: the file, for messages.

    Raises:
        ItemRefused.
    """
    _refuse_two_names(columns, spellings, what, 1)
    if missing := missing_columns(required, columns, spellings):
        meant = {column: _meant(column, columns, required, same=False) for column in missing}
        raise ItemRefused(
            f"{what}: the file lacks {'; '.join(_lacking(column, name) for column, name in meant.items())}",
            line=1,
            hint=_other_name(meant, spellings) or "correct the file's columns, or the import's columns",
        )


def _refuse_two_names(columns: tuple[str, ...], spellings: Spellings, where: str, line: int) -> None:
    for column, also in spellings.items():
        there = [name for name in columns if name == column or name in also]
        if len(there) > 1:
            names = " and ".join(f"'{printable(name)}'" for name in there)
            raise ItemRefused(
                f"{where}: {names} are names of one column, {printable(column)}, and the header has both",
                line=line,
                hint=f"remove one of them from the file, or from columns.{printable(column)}.also",
            )


def _refuse_delimiter(
    landing: Landing, header: str, line: int, required: Sequence[str], spellings: Spellings, signs: CsvSigns
) -> None:
    """Raises ItemRefused if the header has all required columns when split at another delimiter than its own."""
    own = signs.delimiter.decode()
    for several in _SEVERAL_SIGNS:
        if several in header and not missing_columns(required, header.strip("\r\n").split(several), spellings):
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: cells are separated by '{printable(several)}', and a delimiter is "
                "one character",
                line=line,
                hint="ask the sender to separate cells by one character, such as ;",
            )
    for delimiter, name in _DELIMITERS.items():
        if delimiter == own:
            continue
        if not missing_columns(required, _split(header, delimiter), spellings):
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: cells are separated by a {name}, not by a "
                f"{_DELIMITERS.get(own, repr(own))}",
                line=line,
                hint="declare it in source.format.delimiter",
            )

    padded = re.split(r"[ ]{2,}", header.strip())
    if len(padded) > 1 and not missing_columns(required, padded, spellings):
        raise ItemRefused(
            f"{landing.item.uri}, line {line}: cells are padded to a fixed width, and no sign is between them",
            line=line,
            hint="ask the sender for CSV: with a delimiter between the cells",
        )


def _split(header: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter), [])


def _places(columns: Sequence[str], column: str) -> str:
    return ", ".join(str(index) for index, name in enumerate(columns, 1) if name == column)


def _meant(column: str, columns: Sequence[str], required: Sequence[str], *, same: bool) -> str | None:
    """The header's name that the column may be; with `same` only one that differs in case, blanks and signs."""
    others = [name for name in columns if name and name not in required]
    folded = {_folded(name): name for name in others}
    if name := folded.get(_folded(column)):
        return name
    close = [] if same else difflib.get_close_matches(_folded(column), [fold for fold in folded if fold], n=1)
    return folded[close[0]] if close else None


def _folded(name: str) -> str:
    """The name's letters and digits: the same for every case, form, blank and sign."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())
    return letters or name


def _lacking(column: str, meant: str | None) -> str:
    return f"'{printable(column)}'" + (f" (there is {_quoted(meant, column)})" if meant is not None else "")


def _other_name(meant: Mapping[str, str | None], spellings: Spellings) -> str:
    """How to map columns that are there in another case or form; "" if there is none."""
    also = [
        f"columns.{printable(column)}.also: [{_quoted(name, column)}]"
        for column, name in meant.items()
        if name is not None and column in spellings and _folded(name) == _folded(column)
    ]
    return f"if it is the same column, write {' and '.join(also)}, or correct the file's header" if also else ""


def _quoted(name: str, column: str) -> str:
    """The header's name as YAML has it. Signs are escaped where nobody sees how it differs from the column's."""
    seen, other = (trimmed(unicodedata.normalize("NFC", text)) for text in (name, column))
    if seen != other and name.isprintable():
        return "'" + printable(name).replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, name[:LONGEST_QUOTED])) + '"'


def _escaped(letter: str) -> str:
    """The letter in YAML's double quotes."""
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isascii() and letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if letter <= "\uffff" else f"\\U{ord(letter):08x}"
