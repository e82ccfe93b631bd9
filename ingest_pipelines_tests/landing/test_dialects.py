"""What a declared format writes is read back: the same cells, on the right lines."""

# ruff: noqa: E501

from __future__ import annotations

import encodings
import pkgutil
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import land_file, open_rows, survey, translate
from ingest_pipelines.landing.translate import _LikeLatin1
from ingest_pipelines.model import TRIM, Item, ItemKey
from ingest_pipelines.sources import open_upload

Rows = list[tuple[object, ...]]


def opened(
    content: bytes, folder: Path, declared: Format, *required: str, limits: Limits | None = None
) -> tuple[tuple[str, ...], Rows]:
    """Columns and rows of the content, each row as (line, cell, cell ...)."""
    path = folder / "Customers.csv"
    path.write_bytes(content)
    with open_upload(path) as source:
        item = Item("loyalty", ItemKey("k"), "upload", uri=source.uri(str(path)), path=str(path))
        landing = land_file(item, source, folder / "spool", limits or Limits())
    with open_rows(landing, required, declared, limits or Limits()) as (columns, frames):
        read = [row for frame in frames for row in frame.drop(TRIM).rows()]
        some = [row for part in frames.read_only(columns[:1]) for row in part.drop(TRIM).rows()]
        assert some == [row[1:2] for row in read]  # what is read ahead is what is read
    assert {file.suffix for file in (folder / "spool").iterdir()} == {".csv"}  # nothing else is left
    return columns, read


def _format(**keys: Any) -> Format:
    return Format.model_validate(keys)


@pytest.fixture(params=["whole", "tiny pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as in production, once with pieces so small that every boundary falls somewhere awkward."""
    if request.param == "tiny pieces":
        monkeypatch.setattr(survey, "PIECE", 24)
        monkeypatch.setattr(translate, "BLOCK", 5)


_SIGNS = st.sampled_from([
    {"delimiter": ";"}, {"delimiter": "\t"}, {"delimiter": "|", "quote": "'"}, {"delimiter": "¦"}, {"quote": "“"},
    {"delimiter": "þ", "quote": "¦"}, {"delimiter": ";", "escape": "\\"}, {"escape": "\\"}, {"delimiter": "\x14"},
    {"delimiter": "\t", "escape": "\\", "quote": "'"}, {"delimiter": ";", "comment": "#"},
    {"delimiter": "¦", "comment": "//"}, {"delimiter": ";", "footer": 2, "skip_lines": 2}, {"footer": "T-"},
])  # fmt: skip
_ENCODINGS = st.sampled_from(["utf-8", "cp1252", "latin-1", "utf-16", "utf-16-be", "cp1250", "utf-32", "gb18030"])
_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
_CELL = st.text(st.sampled_from(list("ab,;|'\"\n\r \t#/é¦þ“\\N\x14\x1e\x1fT-")), max_size=8)


@st.composite
def _tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(2, 4))
    return draw(st.lists(st.lists(_CELL, min_size=width, max_size=width), min_size=1, max_size=8))


def _write(table: list[list[str]], signs: dict[str, Any], end: str) -> tuple[str, Rows]:
    """The table by a writer of these signs, cell by cell, and its rows as they are to be read."""
    delimiter, quote, escape = signs.get("delimiter", ","), signs.get("quote", '"'), signs.get("escape")
    text = "".join(f'odd "line {end}' for _ in range(signs.get("skip_lines", 0)))
    text += delimiter.join(f"c{number}" for number in range(len(table[0]))) + end
    expected: Rows = []
    for number, row in enumerate(table):
        if "comment" in signs and number % 2:
            text += f"{signs['comment']} a {quote} comment{end}"
        cells = []
        for cell in row:
            inner = cell.replace(escape, escape * 2).replace(quote, escape + quote) if escape else ""
            cells.append(quote + (inner if escape else cell.replace(quote, quote * 2)) + quote)
        expected.append((_line(text), *row))
        text += delimiter.join(cells) + end
    if signs.get("footer") == 2:
        text += f'odd "line{end}{end}another{end}'
    elif "footer" in signs:
        text += f"T-{len(table)}{end}"
    return text, expected


def _line(text: str) -> int:
    return len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


@pytest.mark.usefixtures("pieces")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=_tables(), signs=_SIGNS, encoding=_ENCODINGS, end=_ENDS)
def test_rows_of_any_declared_format_come_back_with_their_lines(
    table: list[list[str]], signs: dict[str, Any], encoding: str, end: str
) -> None:
    text, expected = _write(table, signs, end)
    content = text.encode(encoding, "replace")
    if content.decode(encoding) != text:
        content, encoding = text.encode("utf-8"), "utf-8"
    with tempfile.TemporaryDirectory() as folder:
        assert opened(content, Path(folder), _format(**signs, encoding=encoding))[1] == expected


@pytest.mark.usefixtures("pieces")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@given(
    cells=st.lists(st.text(st.sampled_from(list("ab#^,\r\n")), min_size=1, max_size=6), min_size=1, max_size=4),
    keys=st.sampled_from([{}, {"comment": "#"}, {"footer": 2}, {"footer": "#T"}, {"comment": "#", "footer": 2}]),
    encoding=st.sampled_from(["utf-8", "utf-16-le"]),
    end=_ENDS,
)
def test_an_escaped_line_break_ends_no_line_wherever_a_block_ends(
    cells: list[str], keys: dict[str, Any], encoding: str, end: str
) -> None:
    text = f"id,b{end}"
    expected: Rows = []
    for cell in cells:
        assume(not (cell.endswith("\r") and end == "\n"))  # both are one escaped CRLF
        expected.append(("1", cell))
        # What an escaped CR and a LF are together is one break, of which the one escape is enough.
        text += "1," + re.sub(r"(\r\n|[\^,\r\n])", r"^\1", cell) + end
        if "comment" in keys:
            text += f"# a, comment{end}"
    text += {2: f"a{end}{end}b{end}", "#T": f"#T {len(cells)}{end}", None: ""}[keys.get("footer")]
    with tempfile.TemporaryDirectory() as folder:
        declared = _format(quote="none", escape="^", encoding=encoding, **keys)
        rows = opened(text.encode(encoding), Path(folder), declared)[1]
    assert [row[1:] for row in rows] == expected


def _encodings_of_python() -> list[str]:
    names = sorted(module.name for module in pkgutil.iter_modules(encodings.__path__))
    usable = []
    for name in names:
        with suppress(ValidationError):
            usable.append(_format(encoding=name).encoding)
    return usable


@pytest.mark.parametrize("encoding", _encodings_of_python())
def test_letters_of_every_encoding_are_decoded_or_refused(encoding: str, tmp_path: Path) -> None:
    letters = [letter for letter in "éßжあ漢한עαक" if _has(encoding, letter)]
    if not letters:
        assert encoding in {"ascii", "undefined"} or not _has(encoding, "é")
        letters = ["a"]
    word = "".join(letters)
    try:
        content = f"id,tier\n1,{word}~\n2,x\n".encode(encoding)
    except UnicodeError:
        content = f"id,tier\n1,{word}\n2,x\n".encode(encoding, "replace")
    try:
        text = content.decode(encoding)
    except UnicodeError:
        with pytest.raises(ItemRefused):
            opened(content, tmp_path, _format(encoding=encoding))
        return
    _, rows = opened(content, tmp_path, _format(encoding=encoding))
    assert rows == [(2, "1", text.splitlines()[1].partition(",")[2].strip()), (3, "2", "x")]


def _has(encoding: str, letter: str) -> bool:
    try:
        return letter.encode(encoding).decode(encoding) == letter
    except UnicodeError:
        return False


READ: dict[str, tuple[bytes, dict[str, Any], Rows]] = {
    "no quotes": (b'id|tier\n1|5" disk\n2|"a\n', {"delimiter": "|", "quote": "none"}, [(2, "1", '5" disk'), (3, "2", '"a')]),
    "what MySQL writes": (
        b"id\ttier\n1\t\\N\n2\ta\\tb\\\n\\\\c\n3\t\\nd\\0\n", {"delimiter": "tab", "quote": "none", "escape": "\\"},
        [(2, "1", None), (3, "2", "a\tb\n\\c"), (5, "3", "\nd\0")],
    ),
    "an escaped line break is a line": (
        b"id,tier\n1,a\\\r\nb\n\n2,x\n", {"escape": "\\"}, [(2, "1", "a\r\nb"), (5, "2", "x")],
    ),
    "a comment before the header and at the end": (
        b'# a "\nid,tier\n#1,2\n3,"\n#4"\n# end', {"comment": "#"}, [(4, "3", "\n#4")],
    ),
    "blanks around quotes": (
        b'id , "tier" \n 1 ,\t" x " \n2, y z\n', {"trim": True}, [(2, "1", " x "), (3, "2", "y z")],
    ),
    "a file without a header": (b"1,x\n2,y\n", {"header": ["id", "tier"]}, [(1, "1", "x"), (2, "2", "y")]),
    "lines before one": (b"Report\n\nid,tier\n1,x\n", {"skip_lines": 2}, [(4, "1", "x")]),
    "a sep= line": (b"sep=;\nid;tier\n1;x\n", {"skip_lines": 1, "delimiter": ";"}, [(3, "1", "x")]),
    "a trailer with a number": (b"id,tier\n1,x\nTotal rows: 1\n\n", {"footer": "Total"}, [(2, "1", "x")]),
    "a trailer with groups": (
        b"id;tier\n" + b"1;x\n" * 1204 + b"Total: 1.204\n", {"delimiter": ";", "decimal": ",", "thousands": ".", "footer": "Total:"},
        [(line, "1", "x") for line in range(2, 1206)],
    ),
    "a trailer with groups in a cell": (
        b"id,tier\n" + b"1,x\n" * 1204 + b'"Total","1,204"\n', {"thousands": ",", "footer": {"starts_with": "Total", "count": 2}},
        [(line, "1", "x") for line in range(2, 1206)],
    ),
    "a trailer with groups in quotes": (
        b"id,tier\n" + b"1,x\n" * 1204 + b'"Total: 1,204"\n', {"thousands": ",", "footer": "Total"},
        [(line, "1", "x") for line in range(2, 1206)],
    ),
    "a trailer with a sum": (
        b"id;tier\n1;x\nTotal;1.204,50;EUR\n", {"delimiter": ";", "decimal": ",", "footer": "Total"}, [(2, "1", "x")],
    ),
    "a trailer with a fraction": (
        b"id;tier\n1;x\nTotal;1.204\n", {"delimiter": ";", "decimal": ".", "footer": "Total"}, [(2, "1", "x")],
    ),
    "a trailer with a number below one": (b"id,tier\n1,x\nTotal,0.500\n", {"footer": "Total"}, [(2, "1", "x")]),
    **{
        f"an escaped line break before a {what}, as {brk!r}": (
            b"id,tier\na\\" + brk + b",x\nb,x\n" + between + b"\nc,x\n", {"quote": "none", "escape": "\\", "comment": "#"},
            [(2, "a" + brk.decode(), "x"), (4, "b", "x"), (6, "c", "x")],
        )
        for what, between in (("comment", b"#c"), ("blank line", b""))
        for brk in (b"\n", b"\r", b"\r\n")
    },
    "a trailer that is declared with its quotes": (b'id,tier\n1,x\n"TRL",1\n', {"footer": '"TRL"'}, [(2, "1", "x")]),
    "a trailer with a day": (b"id,tier\n1,x\nTRL,2026-11-29\n", {"footer": "TRL"}, [(2, "1", "x")]),
    "a trailer without one": (b"id,tier\n1,x\nEND", {"footer": "END"}, [(2, "1", "x")]),
    "a trailer of cells": (
        b"id;tier\n1;x\n\"T\";20261129;1\n", {"footer": {"starts_with": "T", "count": 3}, "delimiter": ";"}, [(2, "1", "x")],
    ),
    "a trailer whose number is another": (
        b"id,tier\n1,x\nT,99\n", {"footer": {"starts_with": "T", "count": "none"}}, [(2, "1", "x")],
    ),
    "a signature at the end": (b"id,tier\n1,x\n\nby hand\n17\n", {"footer": 2}, [(2, "1", "x")]),
}  # fmt: skip


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("case", READ)
def test_what_is_declared_is_read_exactly(case: str, tmp_path: Path) -> None:
    content, keys, expected = READ[case]
    columns, rows = opened(content, tmp_path, _format(**keys), "id", "tier")
    assert (columns, rows) == (("id", "tier"), expected)


def test_columns_without_names_have_numbers(tmp_path: Path) -> None:
    columns, rows = opened(b"1,x\n2,y\n", tmp_path, _format(header="none"), "column_2")
    assert (columns, rows[0]) == (("column_1", "column_2"), (1, "1", "x"))


REFUSED: dict[str, tuple[bytes, dict[str, Any], int | None, str]] = {
    "bytes that cp1252 does not have": (b"id,tier\n1,x\n2,\x81\n", {"encoding": "cp1252"}, 3, "line 3, byte 15: not valid cp1252"),
    "half a character of UTF-16": ("id,tier\n1,x\n".encode("utf-16-le") + b"x", {"encoding": "utf-16-le"}, 3, "byte 25: not valid utf-16"),
    "a surrogate of UTF-16": ("id,tier\n1,".encode("utf-16-le") + b"\x00\xd8x\x00", {"encoding": "utf-16-le"}, 2, "line 2, byte 21"),
    "UTF-8 that is not, in a translated file": (b"id,tier\n1,\xff\n", {"comment": "#"}, 2, "line 2, byte 11: not valid utf-8"),
    "an escape without meaning": (b"id,tier\n1,x\n2,C:\\data\n", {"escape": "\\"}, 3, "line 3: the escape"),
    "NULL inside a cell": (b"id,tier\n1,a\\N\n", {"escape": "\\"}, 2, "no meaning|gives no"),
    "an escape at the very end": (b"id,tier\n1,a\\", {"escape": "\\"}, 2, "the escape"),
    "a file that was cut off": (b"id,tier\n1,x\n", {"footer": "END"}, 2, "does not begin with 'END': the file was cut off"),
    "fewer rows than the trailer says": (b"id,tier\n1,x\nEND 2\n", {"footer": "END"}, None, "says 2 rows, and the file has 1"),
    **{
        f"fewer rows than the trailer says in a cell: {delimiter}": (
            b"id,tier\n1,x\nEND,2\n".replace(b",", delimiter.encode()), {"footer": "END", "delimiter": delimiter}, None,
            "says 2 rows, and the file has 1",
        )
        for delimiter in ",;|\t."
    },
    "a trailer with groups of digits, which a comma file has in two cells": (
        b"id,tier\n1,x\nEND: 1,204\n", {"footer": "END"}, 3, "2 numbers, and which",
    ),
    "a trailer with groups that are not declared": (
        b"id;tier\n1;x\nTotal: 1.204\n", {"delimiter": ";", "footer": "Total:"}, 3, "a number with '.' between its digits",
    ),
    "a trailer with Indian groups that are not declared": (
        b"id;tier\n1;x\nTotal;12,34,567\n", {"delimiter": ";", "footer": {"starts_with": "Total", "count": 2}}, 3,
        "a number with ',' between its digits",
    ),
    "a trailer with groups, and fewer rows": (
        b"id;tier\n1;x\nTotal;1'204\n", {"delimiter": ";", "thousands": "'", "footer": "Total"}, None, "says 1,204 rows",
    ),
    "a trailer with wrong groups": (
        b"id;tier\n1;x\nTotal;1.2.0\n", {"delimiter": ";", "decimal": ",", "thousands": ".", "footer": {"starts_with": "Total", "count": 2}}, 3,
        "cell 2 of the trailer",
    ),
    "a trailer of several numbers": (b"id,tier\n1,x\nEND 2 7\n", {"footer": "END"}, 3, "2 numbers, and which"),
    "a trailer with a negative number": (b"id;tier\n1;x\nTRL;-2\n", {"delimiter": ";", "footer": "TRL"}, 3, "a number with a sign"),
    "a trailer in other digits": ("id;tier\n1;x\nTRL;\u0661\n".encode(), {"delimiter": ";", "footer": "TRL"}, 3, "other digits than 0 to 9"),
    "fewer rows than a trailer in declared quotes says": (b'id,tier\n1,x\n"TRL",2\n', {"footer": '"TRL"'}, None, "says 2 rows, and the file has 1"),
    "a trailer without its cell": (b"id,tier\n1,x\nEND,2\n", {"footer": {"starts_with": "END", "count": 3}}, 3, "cell 3 of the trailer"),
    "a footer longer than the file": (b"id\n", {"footer": 3}, None, "fewer lines"),
    "a quote that never closes": (b"id;tier\n1;'x\n", {"delimiter": ";", "quote": "'"}, 2, "never closes"),
    "a row of another width": (b"id;tier\n1;x;y\n", {"delimiter": ";"}, 2, "the header's 2"),
    "more cells than names": (b"1,x,y\n", {"header": ["id", "tier"]}, 1, "the header's 2: source.format.header has 2 names"),
    "fewer cells than names": (b"1,x\n2,y\n", {"header": ["id", "tier", "n"]}, 1, "the header's 3: source.format.header has 3 names"),
    "a header although there is none": (b"id,tier\n1,x\n", {"header": ["id", "tier"]}, 1, "the file has a header"),
    "a workbook": (b"PK\x03\x04" + b"\0" * 22 + b"\x0b\0\0\0xl/workbook", {"delimiter": ";"}, 1, "Excel workbook|zip"),
}  # fmt: skip


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_declared_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    content, keys, line, message = REFUSED[case]
    with pytest.raises(ItemRefused, match=message) as refused:
        opened(content, tmp_path, _format(**keys), "id")
    assert refused.value.line == line
    assert [file.suffix for file in (tmp_path / "spool").iterdir()] == [".csv"]


UNDECLARED = {
    "Total: 1.204": 'format: {delimiter: ";", decimal: ",", thousands: ".", footer: "Total"}',
    "Total: 1,204": 'format: {delimiter: ";", thousands: ",", footer: "Total"}',
    "Total: 12,34,567": 'format: {delimiter: ";", thousands: ",", grouping: indian, footer: "Total"}',
    "Total: 1 204": 'format: {delimiter: ";", thousands: " ", footer: "Total"}',
    "Total: 1\u00a0204": 'format: {delimiter: ";", thousands: "\\xa0", footer: "Total"}',
}


@pytest.mark.parametrize("trailer", UNDECLARED)
def test_a_trailer_with_groups_names_the_line_that_declares_them(trailer: str, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(f"id;tier\n1;x\n{trailer}\n".encode(), tmp_path, _format(delimiter=";", footer="Total"), "id")
    assert UNDECLARED[trailer].replace('"Total"', "Total") in (refused.value.hint or "")
    assert "count: none" in (refused.value.hint or "")


LIKE_LATIN_1 = ("latin-1", "cp1252", "cp1254", "iso8859-9", "iso8859-15", "iso8859-1")
UNLIKE = ("utf-8", "iso2022_jp", "raw_unicode_escape", "shift_jis", "cp037", "mac_roman", "koi8-r", "cp1251", "utf-16")


@pytest.mark.parametrize("encoding", LIKE_LATIN_1)
def test_every_byte_of_an_encoding_like_latin_1_is_read_as_python_reads_it(encoding: str) -> None:
    like = _LikeLatin1.of(encoding)
    assert like is not None
    known = b""
    for number in range(256):
        byte = bytes([number])
        try:
            expected: bytes | None = byte.decode(encoding).encode()
            known += byte
        except UnicodeError:
            expected = None
        assert like.decoded(byte) == expected
    assert like.decoded(known + known[::-1]) == (known + known[::-1]).decode(encoding).encode()


@pytest.mark.parametrize("encoding", UNLIKE)
def test_no_other_encoding_is_taken_for_latin_1(encoding: str) -> None:
    assert _LikeLatin1.of(encoding) is None
