"""A refusal names the line of YAML that reads the file; with that line, the very file loads."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.file_content import BOM
from ingest_pipelines.landing import advice, land_file, open_rows
from ingest_pipelines.model import Item, ItemKey
from ingest_pipelines.sources import open_upload
from ingest_pipelines_tests.landing.test_dialects import opened
from ingest_pipelines_tests.landing.workbooks import workbook


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ["1", "2"], "tier": ["x", "y"]}), out)
    return out.getvalue()


ROWS = [("1", "x"), ("2", "y")]
FILES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "semicolons": (b"id;tier\n1;x\n2;y\n", {"delimiter": ";"}),
    "tabs": (b"id\ttier\n1\tx\n2\ty\n", {"delimiter": "\t"}),
    "vertical bars": (b"id|tier\n1|x\n2|y\n", {"delimiter": "|"}),
    "carets": (b"id^tier\n1^x\n2^y\n", {"delimiter": "^"}),
    "broken bars": ("id¦tier\n1¦x\n2¦y\n".encode(), {"delimiter": "¦"}),
    "single quotes": (b"'id','tier'\n'1','x'\n'2','y'\n", {"quote": "'"}),
    "semicolons and single quotes": (b"'id';'tier'\n'1';'x'\n'2';'y'\n", {"delimiter": ";", "quote": "'"}),
    "cp1252 in the header": ("id,tier,Größe\n1,x,z\n2,y,z\n".encode("cp1252"), {"encoding": "cp1252"}),
    "cp1252 in a row": ("id,tier,n\n1,x,z\n2,y,ß\n".encode("cp1252"), {"encoding": "cp1252"}),
    "semicolons in cp1252": ("id;tier;n\n1;x;z\n2;y;ß\n".encode("cp1252"), {"delimiter": ";", "encoding": "cp1252"}),
    "UTF-16 of Excel": ("id\ttier\n1\tx\n2\ty\n".encode("utf-16"), {"delimiter": "\t", "encoding": "utf-16"}),
    "UTF-16 without a mark": ("id,tier\n1,x\n2,y\n".encode("utf-16-le"), {"encoding": "utf-16-le"}),
    "UTF-32": ("id,tier\n1,x\n2,y\n".encode("utf-32"), {"encoding": "utf-32"}),
    "a sep= line": (b"sep=;\nid;tier\n1;x\n2;y\n", {"delimiter": ";", "skip_lines": 1}),
    "a title": (b"Customers of today\n\nid,tier\n1,x\n2,y\n", {"skip_lines": 2}),
    "a comment": (b"# made by hand\nid,tier\n1,x\n# half\n2,y\n", {"comment": "#"}),
    "middle dots": ("id·tier\n1·x\n2·y\n".encode(), {"delimiter": "·"}),
    "unit separators": (b"id\x1ftier\n1\x1fx\n2\x1fy\n", {"delimiter": "\x1f"}),
    "record separators": (b"id\x1etier\n1\x1ex\n2\x1ey\n", {"delimiter": "\x1e"}),
    "spaces": (b"id tier\n1 x\n2 y\n", {"delimiter": " "}),
    "single quotes below a header without": (b"id,tier,n\n'1','x','a,b'\n'2','y','c'\n", {"quote": "'"}),
    "cp1251": ("id,tier,n\n1,x,Иван Петров\n2,y,Мария\n".encode("cp1251"), {"encoding": "cp1251"}),
    "Shift JIS": ("id,tier,n\n1,x,山田太郎\n2,y,ソニー表\n".encode("shift_jis"), {"encoding": "shift_jis"}),
    "EBCDIC": ("id,tier,n\n1,x,Ann\n2,y,Zoë\n".encode("cp037"), {"encoding": "cp037"}),
    "a total": (b"id,tier\n1,x\n2,y\nTotal: 2\n", {"footer": "Total: "}),
    "a trailer with its number behind zeros": (b"id,tier\n1,x\n2,y\nTRL0002\n", {"footer": "TRL"}),
    "a trailer with its number in a cell": (b"id,tier,n\n1,x,\n2,y,\nTRL,2\n", {"footer": "TRL"}),
    "a trailer in quotes": (b'id,tier,n\n1,x,\n2,y,\n"TRL",2\n', {"footer": "TRL"}),
    "a trailer with several numbers": (b"id,tier,n\n1,x,\n2,y,\nTRL,7,2,9\n",
                                       {"footer": {"starts_with": "TRL", "count": 3}}),
    "a trailer with several numbers, none that of the rows": (b"id,tier,n\n1,x,\n2,y,\nTRL,7,8,9\n", {"footer": 1}),
    "a trailer of words": (b"id,tier\n1,x\n2,y\nTotal rows: 2\n", {"footer": "Total"}),
    "a trailer with a sum": (b"id,tier\n1,x\n2,y\nTotal: 7.50\n", {"footer": "Total"}),
    "lines that end in commas": (b"id,tier,,\n1,x,,\n2,y,,\n",
                                 {"skip_lines": 1, "header": ["id", "tier", "column_3", "column_4"]}),
    "a header with empty cells": (b"id,tier,,n,\n1,x,5,7,a\n2,y,6,8,b\n",
                                  {"skip_lines": 1, "header": ["id", "tier", "column_3", "n", "column_5"]}),
    "rows that end in commas": (b"id,tier\n1,x,\n2,y,\n", {"skip_lines": 1, "header": ["id", "tier", "column_3"]}),
    "two bars": (b"id||tier||n\n1||x||5\n2||y||7\n", {
        "delimiter": "|", "skip_lines": 1, "header": ["id", "column_2", "tier", "column_4", "n"],
    }),
    "escapes": (b'id,tier,n\n1,x,"a \\" b"\n2,y,\n', {"escape": "\\"}),
    "quotes that are text": (b'id|tier|n\n1|x|5" disk\n2|y|\n', {"delimiter": "|", "quote": "none"}),
    "blanks before quotes": (b'id, "tier"\n1, "x"\n2, "y"\n', {"trim": True}),
    "a workbook": (workbook([["id", "tier"], ["1", "x"], ["2", "y"]]), {"type": "xlsx"}),
    "Parquet": (_parquet(), {"type": "parquet"}),
    "JSON lines": (b'{"id": "1", "tier": "x"}\n{"id": "2", "tier": "y"}\n', {"type": "jsonl"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_with_the_line_that_the_refusal_names_the_file_loads(kind: str, tmp_path: Path) -> None:
    content, keys = FILES[kind]
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, Format(), "id", "tier")
    named = re.search(r"format: \{.*\}", refused.value.hint)
    assert named, refused.value
    line = yaml.safe_load(named[0])["format"]
    assert line == keys
    _, rows = opened(content, tmp_path, Format.model_validate(line), "id", "tier")
    assert [tuple(cell for cell in row[1:] if cell)[:2] for row in rows] == ROWS


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251"])
def test_the_encoding_is_named_wherever_the_first_letter_beyond_ascii_is(encoding: str, tmp_path: Path) -> None:
    last = {"cp1252": "Grüße, Zoë", "cp1251": "Иван"}[encoding]
    content = b"id,tier\n" + b"1,x\n" * 270_000 + f'2,"{last}"\n'.encode(encoding)
    with pytest.raises(ItemRefused, match="not valid UTF-8") as refused:
        opened(content, tmp_path, Format(), "id", "tier")
    assert f"write in the import's source: format: {{encoding: {encoding}}}" in refused.value.hint


LETTERS = {
    "cp1254": "Şükrü, Işıl", "cp1255": "אברהם", "cp932": "髙橋①", "euc_jp": "山田たろう", "euc_kr": "김철수",
    "cp874": "สมชาย", "cp1250": "Łukasz", "cp1253": "Γιώργος", "gb18030": "张伟", "cp1256": "محمد", "johab": "김철수",
}  # fmt: skip


@pytest.mark.parametrize("encoding", LETTERS)
def test_of_several_encodings_that_may_be_right_none_is_a_fact(encoding: str, tmp_path: Path) -> None:
    """The right one is named, and if another is named before it, as a question."""
    with pytest.raises(ItemRefused) as refused:
        opened(f'id,tier\n1,"{LETTERS[encoding]}"\n'.encode(encoding), tmp_path, Format(), "id", "tier")
    hint = refused.value.hint
    named = re.search(r"format: \{encoding: (\S+)\}", hint)
    assert named is not None
    line, _, others = hint.partition("; or, if they read so in another encoding: ")
    assert encoding in {named[1], *others.split(", ")}
    assert line.startswith("if its letters then read as they should") == bool(others)


def test_a_sign_between_cells_is_read_in_the_usual_encoding(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened("id¦tier\n1¦x\n".encode("cp1252"), tmp_path, Format(), "id", "tier")
    assert refused.value.hint == 'write in the import\'s source: format: {delimiter: "¦", encoding: cp1252}'


NOTHING_TO_WRITE = {
    "rows of other widths": (b"id,tier\n1\n2,y,z\n", "2 rows have more or fewer cells"),
    "all rows too wide": (b"id,tier\n1,x,a\n2,y,b\n", "2 rows have more or fewer cells"),
    "lines quoted as a whole": (b'"id,tier"\n"1,x"\n', "each line is quoted as a whole"),
    "cells that Excel calculates": (b'id,tier\n="001",x\n="002",y\n', "a quote inside a cell"),
    "a block of zeros at the end": (b"id,tier\n1,x\n2,y\n" + bytes(100), "1 row has more or fewer cells"),
    "a block of zeros before a row": (b"id,tier\n1,x\n" + bytes(600) + b"\n2,y\n", "1 row has more or fewer cells"),
    "an OpenDocument file": (b"PK\x03\x04" + b"\x14\0" * 13 + b"mimetypeapplication/x\n" * 9, "is"),
    "objects inside an object": (b'{"data": [{"id": 1, "tier": "x"}]}\n', "the file is JSON"),
}


@pytest.mark.parametrize("kind", NOTHING_TO_WRITE)
def test_no_line_is_named_that_would_drop_rows_or_split_cells(kind: str, tmp_path: Path) -> None:
    content, message = NOTHING_TO_WRITE[kind]
    with pytest.raises(ItemRefused, match=message) as refused:
        opened(content, tmp_path, Format(), "id", "tier")
    assert "format:" not in refused.value.hint


@pytest.mark.parametrize(
    "content", [b"{'id': 1, 'tier': 'x'}\n", b'\x1e{"id": 1, "tier": "x"}\n', b"{id: 1, tier: x}\n", b"[1, x]\n"]
)
def test_broken_json_is_never_called_a_file_without_a_header(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, Format(type="jsonl"), "id", "tier")
    assert "format:" not in refused.value.hint


@pytest.mark.parametrize("encoding", ["cp1252", "cp1250"])
def test_a_damaged_byte_does_not_turn_the_declared_encoding_into_another(encoding: str, tmp_path: Path) -> None:
    content = "id,tier\n1,x\n2,“".encode("cp1252") + b"\x81\n"
    with pytest.raises(ItemRefused, match="line 3, byte") as refused:
        opened(content, tmp_path, Format(encoding=encoding), "id", "tier")
    assert "format:" not in refused.value.hint


_DIALECTS = st.sampled_from([
    {}, {"delimiter": ";"}, {"delimiter": "|", "quote": "'"}, {"delimiter": ";", "encoding": "utf-16-le"},
    {"encoding": "cp1252"}, {"delimiter": "¦"},
])  # fmt: skip


@given(
    keys=_DIALECTS,
    notes=st.lists(st.text(st.sampled_from(list("ab ß\n\"'")), max_size=6), min_size=1, max_size=4),
    cut=st.integers(min_value=1, max_value=200),
    enclosed=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@example(keys={}, notes=["a\nb"], cut=4, enclosed=False)  # cut after a line break inside a cell
@example(keys={}, notes=["a\nb"], cut=3, enclosed=False)
@example(keys={}, notes=["a", "b"], cut=2, enclosed=False)
@example(keys={}, notes=["a"], cut=6, enclosed=True)
@example(keys={}, notes=["a"], cut=5, enclosed=True)  # the last cell is gone, and the one before it has a delimiter
@example(keys={"delimiter": ";", "encoding": "utf-16-le"}, notes=["a\nb"], cut=4, enclosed=False)
def test_quotes_of_a_file_that_was_cut_are_never_called_text(
    keys: dict[str, Any], notes: list[str], cut: int, enclosed: bool, tmp_path: Path
) -> None:
    """Whatever is cut off a file whose last cells are enclosed, the refusal does not advise to load what is left."""
    declared = Format.model_validate(keys)
    delimiter, quote = declared.delimiter, declared.quote
    written = [quote + note.replace(quote, quote * 2) + quote for note in notes]
    tier = f"{quote}x{delimiter} y{quote}" if enclosed else "x"
    rows = [f"{number}{delimiter}{tier}" for number in range(len(notes))]
    text = "\n".join(
        [delimiter.join(["id", "tier", "note"]), *map(delimiter.join, zip(rows, written, strict=True)), ""]
    )
    left = text[: max(len(text) - cut, len(text.partition("\n")[0]) + 1)]
    hint = ""
    try:
        opened(left.encode(declared.encoding), tmp_path, declared, "id", "tier", "note")
    except ItemRefused as refusal:
        hint = refusal.hint
    assert "none" not in hint


TEXT_QUOTES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "at the beginning of a cell": (b'id,tier,n\n1,x,\n2,"y,5\n', {}),
    "in a last cell, with rows below": (b'id,tier,n\n1,x,"5\n2,y,\n', {}),
    "with semicolons": (b'id;tier;n\n1;x;"5\n2;y;\n', {"delimiter": ";"}),
    "in UTF-16": ('id;tier;n\n1;x;"5\n2;y;\n'.encode("utf-16"), {"delimiter": ";", "encoding": "utf-16"}),
    "of a file that its trailer proves": (b'id,tier,n\n1,x,\n2,y,"5\nT 2\n', {"footer": "T"}),
}


@pytest.mark.parametrize("where", TEXT_QUOTES)
def test_quotes_that_are_text_are_named_on_the_condition_that_the_file_is_whole(where: str, tmp_path: Path) -> None:
    content, keys = TEXT_QUOTES[where]
    with pytest.raises(ItemRefused, match="never closes") as refused:
        opened(content, tmp_path, Format.model_validate(keys), "id", "tier", "n")
    assert refused.value.hint.startswith("if the file is whole and quotes are text in it, write in the import's source")
    line = yaml.safe_load(refused.value.hint[refused.value.hint.index("format: ") :])["format"]
    assert line == {**keys, "quote": "none"}
    _, rows = opened(content, tmp_path, Format.model_validate(line), "id", "tier", "n")
    assert len(rows) == 2


ENCLOSED = {
    "a quote inside a cell": b'id,tier,n\n1,"x",\n2,y,5" disk\n',
    "a quote that closes too early": b'id,tier,n\n1,"x",\n2,"y" z,5\n',
    "a quote that never closes": b'id,tier,n\n1,"x",\n2,"y,5\n3,z,6\n',
}


@pytest.mark.parametrize("content", ENCLOSED.values(), ids=ENCLOSED)
def test_where_quotes_enclose_cells_they_are_no_text(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, Format(), "id", "tier", "n")
    assert "format:" not in refused.value.hint


SHORT = {
    "with its number in a cell": (b"id,tier,n\n1,x,\n2,y,\nTRL,3\n", {"footer": "TRL"}),
    "of words": (b"id,tier\n1,x\n2,y\nTotal rows: 3\n", {"footer": "Total"}),
    "with its number behind a sign": (b"id,tier\n1,x\n2,y\nTotal: 7\n", {"footer": "Total: "}),
}


@pytest.mark.parametrize("kind", SHORT)
def test_a_trailer_that_counts_more_rows_is_no_line_to_leave_out(kind: str, tmp_path: Path) -> None:
    content, keys = SHORT[kind]
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, Format(), "id", "tier")
    assert refused.value.hint.endswith("that number is another one, so upload the whole file then")
    named = re.search(r"format: \{.*\}", refused.value.hint)
    assert named is not None
    line = yaml.safe_load(named[0])["format"]
    assert line == keys
    with pytest.raises(ItemRefused, match=r"the trailer says [37] rows, and the file has 2"):
        opened(content, tmp_path, Format.model_validate(line), "id", "tier")


@pytest.mark.parametrize("content", [b"id,tier,n\n1,x,\n2,y,\nAnn,2\n", b"id,tier,n\n1,x,\n2,y,\nTraudl,2\n"])
def test_a_row_that_was_cut_is_not_named_as_a_trailer(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, Format(), "id", "tier", "n")
    assert refused.value.hint.startswith("if the file is whole and its end is no row")
    assert "footer: 1" in refused.value.hint


def test_a_file_without_a_header_leaves_the_order_of_its_columns_to_a_person(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(b"x;1;y\nq;2;p\n", tmp_path, Format(), "id", "a", "b")
    assert refused.value.hint == (
        'if the file has no header: write in the import\'s source format: {delimiter: ";", header: [...]} with the '
        "names of its 3 columns in the file's order; the import has id, a, b"
    )


def test_a_file_of_one_column_without_a_header_leaves_nothing_to_say(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(b"x\ny\n", tmp_path, Format(), "id")
    assert refused.value.hint.endswith("write in the import's source: format: {header: [id]}")


def test_a_file_of_which_all_lines_are_skipped_is_not_called_empty(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match="no line is left below those that source"):
        opened(b"name,tier\n1,x\n", tmp_path, Format(skip_lines=5), "id")


def test_what_the_file_does_not_hold_is_no_matter_of_its_format(tmp_path: Path) -> None:
    path = tmp_path / "Customers.csv"
    path.write_bytes(b"id,tier\n1,x\n2,y\n")
    with open_upload(path) as source:
        item = Item("loyalty", ItemKey("k"), "upload", uri=source.uri(str(path)), path=str(path))
        landing = land_file(item, source, tmp_path / "spool", Limits())
    said = ItemRefused("the manifest says 3 rows, and the file has 2", hint="upload the whole file")
    with pytest.raises(ItemRefused) as refused, open_rows(landing, ("id",), Format(), Limits()):
        raise said
    assert refused.value.hint == "upload the whole file"


def test_of_a_large_file_only_its_beginning_and_end_prove_an_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WHOLE", "HEAD", "TAIL"):
        monkeypatch.setattr(advice, name, 64)
    content = b"id,tier\n" + b"1,x\n" * 50 + b"2,y,y\n" + b"3,z\n" * 50
    with pytest.raises(ItemRefused, match="1 row has") as refused:
        opened(content, tmp_path, Format(), "id", "tier")
    assert "format:" not in refused.value.hint


def test_what_is_declared_already_is_part_of_the_line(tmp_path: Path) -> None:
    content = "id;tier\n1;Größe\n".encode("cp1252")
    with pytest.raises(ItemRefused) as refused:
        opened(content, tmp_path, Format(delimiter=";", null_values=("-",)), "id", "tier")
    assert 'format: {delimiter: ";", encoding: cp1252, null_values: ["-"]}' in refused.value.hint


def test_a_file_that_no_format_reads_keeps_its_hint(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused) as refused:
        opened(b"name,tier\n1,x\n", tmp_path, Format(), "id", "tier")
    assert "format:" not in refused.value.hint


def test_a_zip_of_something_else_is_no_workbook(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(ItemRefused, match="cannot be read as an Excel workbook"):
        opened(out.getvalue(), tmp_path, Format(type="xlsx"), "id")


def test_a_header_in_another_case_is_not_called_a_row(tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match=r"lacks 'id' \(there is 'ID'\)") as refused:
        opened(b"ID,Tier\n1,x\n", tmp_path, Format(), "id", "tier")
    assert "header:" not in refused.value.hint


def test_a_file_that_was_put_together_from_several_is_not_read_away_by_another_encoding(tmp_path: Path) -> None:
    content = BOM + b"id,tier\n1,x\n" + BOM + "id,tier\n2,Größe\n".encode()
    with pytest.raises(ItemRefused, match="a second header") as refused:
        opened(content, tmp_path, Format(), "id", "tier")
    assert "upload each file separately" in refused.value.hint


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1250", "cp1251", "cp850", "mac_roman"])
def test_a_second_header_is_seen_behind_a_mark_that_the_encoding_makes_letters_of(
    encoding: str, tmp_path: Path
) -> None:
    content = b"id,tier\n1,\xe9\n" + BOM + b"id,tier\n2,x\n"
    with pytest.raises(ItemRefused, match="line 3: a second header"):
        opened(content, tmp_path, Format(encoding=encoding), "id", "tier")
