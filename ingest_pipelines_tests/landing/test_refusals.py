"""What refuses an item as a whole, with the line to look at and the thing to do; design 4.3."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import read_csv, survey
from ingest_pipelines_tests.landing.files import landed, read, rows

REFUSALS: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 1, "is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", 1, "is empty"),
    "only blank lines": (b"\n\n\r\n", 1, "is empty"),
    "semicolons": (b"id;tier\n1;Gold\n", 1, "cells are separated by a semicolon, not by a comma"),
    "tabs": (b"id\ttier\n1\tGold\n", 1, "separated by a tab"),
    "vertical bars": (b"id|tier\n1|Gold\n", 1, "separated by a vertical bar"),
    "semicolons with decimal commas": (b'"id";"tier";"a,b"\n1;Gold;2\n', 1, "separated by a semicolon"),
    "a missing column": (b"id,Teir\n1,2\n", 1, r"lacks 'tier' \(there is 'Teir'\)"),
    "a column in other case": (b"ID,tier\n1,2\n", 1, r"lacks 'id' \(there is 'ID'\)"),
    "a missing column with nothing like it": (b"id,x\n1,2\n", 1, "lacks 'tier'$"),
    "no header": (b"17,Gold\n18,Silver\n", 1, "lacks 'id'; 'tier'"),
    "no header, and cells that repeat": (b"Gold,Gold\n18,Silver\n", 1, "lacks 'id'; 'tier'$"),
    "no header, and cells like names": (b"Caf-id,tiers\n18,Silver\n", 1, "lacks 'id'; 'tier'$"),
    "all columns in other case": (b"ID,Tier\n1,2\n", 1, r"lacks 'id' \(there is 'ID'\); 'tier' \(there is 'Tier'\)$"),
    "a repeated column": (b"id,tier,id\n1,2,3\n", 1, "repeats 'id' in columns 1, 3"),
    "columns without names": (b"id,tier,,\n1,2,3,4\n", 1, "columns 3, 4 have no name"),
    "a reserved column": (b"id,tier,_line\n1,2,3\n", 1, "'_line' is reserved"),
    "a quote in the header that never closes": (b'id,"tier\n1,2\n', 1, "the header cannot be read"),
    "utf16": ("id,tier\n1,Gold\n".encode("utf-16"), 1, "is UTF-16, not UTF-8"),
    "utf16 without a mark": ("id,tier\n1,Gold\n".encode("utf-16-le"), 1, "is UTF-16, not UTF-8"),
    "cp1252": ("id,tier\n1,Gold\n2,Café\n".encode("cp1252"), 3, "not valid UTF-8; it looks like Windows-1252"),
    "cp1252 in the header": ("id,tier,Größe\n1,2,3\n".encode("cp1252"), 1, "not valid UTF-8; it looks like Windows"),
    "a lone surrogate": (b"id,tier\n1,\xed\xa0\x80\n", 2, "not valid UTF-8"),
    "a character cut in half": (b"id,tier\n1,2\n3,\xc3\n", 3, "not valid UTF-8"),
    "an overlong NUL": (b"id,tier\n1,\xc0\x80\n", 2, "not valid UTF-8"),
    "a quote that never closes": (b'id,tier\n1,2\n3,"Gold\n4,5\n6,7\n', 3, "the quote that opens here never closes"),
    "a quote that closes in the next cell": (
        b'id,tier\n1,2\n3,"Gold\n4,"5"\n6,7\n', 3, "the quote that opens here closes on line 4 with text after it",
    ),
    "a quote inside quotes that is not doubled": (b'id,tier\n1,"5" disk"\n', 2, "closes here with text after it"),
    **{
        f"a quote inside a cell: {cell!r}": (
            b"id,tier\n1,2\n3," + cell + b'\n"a\nb",5\n', 3, "line 3: a quote inside a cell that does not begin"
        )
        for cell in (b' "disk"', b'\t"disk"', b'disk"', b'5" disk', b'a"b"c', b'a""', b"\xc2\xa0\"disk\"", b"'\"'")
    },
    **{
        f"text after a closing quote: {cell!r}": (
            b"id,tier\n1,2\n3," + cell + b"\n4,5\n", 3, "the quote that opens here closes here with text after it"
        )
        for cell in (b'"disk" ', b'"disk"x', b'"disk"\t', b'"a" "b"', b'"disk"\xc2\xa0', b'""x', b'"a""" ')
    },
    "a blank before a quote in the header": (b'id, "tier"\n1,2\n', 1, "never closes, or is inside a cell"),
    "a quote inside a name": (b'id,ti"er\n1,2\n', 1, "a quote in it never closes, or is inside a cell"),
    "a second header": (b"id,tier\n1,2\nid,tier\n3,4\n", 3, "line 3: a second header: .* put together from several"),
    "a second header with a mark": (b"id,tier\n1,2\n\xef\xbb\xbfid,tier\n3,4\n", 3, "a second header"),
    "a second header in quotes": (b'id,tier\n1,"2\n"\n"id","tier"\n3,4\n', 4, "a second header"),
    "a second header with a mark and quotes": (
        b'id,tier\n1,2\n\xef\xbb\xbf"id","tier"\n3,4\n', 3, "a byte order mark inside the file",
    ),
    "a second header in another order": (b"id,tier,x\n1,2,3\nx,id,tier\n", 3, "a second header"),
    "a second header where columns have no name": (b"id,tier,\n1,2,3\nid,tier,\n", 3, "a second header"),
    "too few cells": (b"id,tier\n1,2\n3\n4,5\n", 3, "1 row has more .* the header's 2\n  line 3: 1 cell$"),
    "too many cells": (b"id,tier\n1,2,3\n4,5\n6,7,8,9\n", 2, "2 rows have .*\n  line 2: 3 cells\n  line 4: 4 cells"),
    "gzip by another name": (b"\x1f\x8b\x08\0\0", 1, "is gzip data"),
    "zip by another name": (b"PK\x03\x04rest", 1, "is a zip archive"),
}  # fmt: skip


@pytest.fixture(params=["whole", "tiny pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as in production, once with pieces so small that every boundary falls somewhere awkward."""
    if request.param == "tiny pieces":
        monkeypatch.setattr(survey, "PIECE", 7)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("hazard", REFUSALS)
def test_the_item_is_refused_with_its_line(hazard: str, tmp_path: Path) -> None:
    content, line, message = REFUSALS[hazard]
    with pytest.raises(ItemRefused) as refused:
        read(content, tmp_path, "id", "tier")
    assert re.search(message, refused.value.message), refused.value.message
    assert refused.value.line == line
    assert "Customers.csv" in refused.value.message
    for value in ("Gold", "Silver", "Caf", "disk"):
        assert value not in str(refused.value)


ACCEPTED: dict[str, tuple[bytes, list[tuple[object, ...]]]] = {
    "a byte order mark": (b"\xef\xbb\xbfid,tier\n1,2\n", [(2, "1", "2")]),
    "emoji": ("id,tier\n1,Gold 😀\n".encode(), [(2, "1", "Gold 😀")]),
    "nul": (b"id,tier\n1,\x00\n", [(2, "1", "\0")]),
    "control characters": (b"id,tier\n1,\x1b[31m\n", [(2, "1", "\x1b[31m")]),
    "zero-width and bidi marks": ("id,tier\n1,\u200b\u202e\ufeff\n".encode(), [(2, "1", "\u200b\u202e\ufeff")]),
    "line separators of Unicode": ("id,tier\n1,a\u2028b\x85c\x0bd\n".encode(), [(2, "1", "a\u2028b\x85c\x0bd")]),
    "quoted empty beside empty": (b'id,tier\n"",\n,""\n', [(2, "", None), (3, None, "")]),
    "old Mac line ends": (b"id,tier\r1,2\r\r3,4\r", [(2, "1", "2"), (4, "3", "4")]),
    "mixed line ends": (b"id,tier\r\n1,2\n3,4\r5,6", [(2, "1", "2"), (3, "3", "4"), (4, "5", "6")]),
    "a quoted carriage return": (
        b'id,tier\r\n1,"a\rb"\r\n3,"c\r\nd"\r\n5,6\r\n',
        [(2, "1", "a\rb"), (4, "3", "c\r\nd"), (6, "5", "6")],
    ),
    "names of the header in a row": (
        b"id,tier\nid,2\ntier,id2\n,tier\n", [(2, "id", "2"), (3, "tier", "id2"), (4, None, "tier")],
    ),
    "a mark before a row that is none": (b"id,tier\n0,1\n\xef\xbb\xbf1,2\n", [(2, "0", "1"), (3, "\ufeff1", "2")]),
    "semicolons in cells": (b"id,tier\n1;2,3|4\n", [(2, "1;2", "3|4")]),
}  # fmt: skip


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("hazard", ACCEPTED)
def test_what_is_no_reason_to_refuse_is_read_as_it_stands(hazard: str, tmp_path: Path) -> None:
    content, expected = ACCEPTED[hazard]
    assert rows(content, tmp_path, "id", "tier") == expected


def test_rows_of_the_wrong_width_are_named_by_line_and_the_rest_counted(tmp_path: Path) -> None:
    body = b"".join(b'"%d\n",x\n' % row if row % 2 else b'1,"a\nb",c\n\n' for row in range(100))
    with pytest.raises(ItemRefused) as refused:
        read(b"id,tier\n" + body, tmp_path, "id", batch_rows=3)
    assert "50 rows have more or fewer cells than the header's 2" in refused.value.message
    assert refused.value.message.count("  line ") == 20
    assert "\n  line 2: 3 cells\n  line 7: 3 cells\n" in refused.value.message
    assert refused.value.message.endswith("\n  and 30 more")


def test_a_wrong_row_far_down_is_found_and_nothing_after_it_is_handed_out(tmp_path: Path) -> None:
    content = b"id,tier\n" + b"1,2\n" * 700_000 + b"3\n" + b"4,5\n" * 700_000 + b"6\n"
    _, frames = read_csv(landed(content, tmp_path), ("id",), Limits(), batch_rows=1000)
    handed_out = 0

    def drain() -> None:
        nonlocal handed_out
        for frame in frames:
            handed_out += len(frame)

    with pytest.raises(ItemRefused, match="line 700002: 1 cell\n  line 1400003: 1 cell\n"):
        drain()
    assert handed_out <= 700_000


def test_a_file_of_nothing_but_wrong_rows_stops_counting(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match=r"100,000 rows have(.|\n)*and at least 99,980 more") as refused:
        read(b"id,tier\n" + b"1\n" * 110_000, tmp_path, "id")
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"id,tier\n1,2\n\n3,%s\n4,5\n" % (b"x" * 1001), 4, "the cell in 'tier' is larger than 1,000 bytes"),
        (b'id,tier\n"1\n",2\n3,"%s"\n' % (b"\xc3\xa9" * 501), 4, "the cell in 'tier' is larger than 1,000 bytes"),
        (b"id,tier\n1,2\n3,%s\n" % (b"x" * 9_000_000), 3, "row that starts here is larger|cell in 'tier' is larger"),
        (b"id,tier\n1,2\n3,\"%s\"\n4,5\n" % (b"x\n" * 9_000_000), 3, "row that starts here is larger|cell in 'tier'"),
        (b"id," + b",".join(b"c%d" % each for each in range(60)) + b"\n", 1, "61 columns; at most 50 are allowed"),
    ],
)  # fmt: skip
def test_caps_refuse_with_the_line(content: bytes, line: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match=message) as refused:
        read(content, tmp_path, "id", limits=Limits(max_cell_bytes=1000, max_columns=50))
    assert refused.value.line == line


def test_cells_at_the_cap_are_read(tmp_path: Path) -> None:
    _, frames = read(b"id,tier\n1,%s\n" % (b"x" * 1000), tmp_path, limits=Limits(max_cell_bytes=1000))
    assert frames[0].rows() == [(2, "1", "x" * 1000)]


def test_three_megabyte_cells_are_read_when_the_cap_allows_them(tmp_path: Path) -> None:
    cells = [b'"%s"' % (b"line\n" * 600_000)] * 3
    _, frames = read(b"a,b,c\n" + b",".join(cells) + b"\n1,2,3\n", tmp_path, limits=Limits(max_cell_bytes=3_000_000))
    assert frames[0]["_line"].to_list() == [2, 1_800_003]


def test_header_names_from_outside_are_escaped_in_messages(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        read(b"id,tier\x1b[31m,tier\x1b[31m\n", tmp_path, "id")
    assert "\x1b" not in str(refused.value)
    assert r"tier\x1b[31m" in str(refused.value)


def test_a_million_blank_lines_are_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match="more than 1,000,000 blank lines"):
        read(b"id,tier\n" + b"\n" * 1_100_000, tmp_path)
