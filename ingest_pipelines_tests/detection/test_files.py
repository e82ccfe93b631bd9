"""A file's format is found in its beginning, or asked for where two readings of the beginning differ."""

# ruff: noqa: E501

from __future__ import annotations

import csv
import io
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.detection import Option, Reading
from ingest_pipelines.detection.reading import read_sample
from ingest_pipelines.errors import ItemRefused, UsageError
from ingest_pipelines_tests.detection.detected import detected
from ingest_pipelines_tests.landing.workbooks import workbook

NO_KEYS: dict[str, Any] = {}
MAIL = "id{0}mail{0}name\n1{0}a@x.org{0}Ann\n2{0}b@x.org{0}Bob\n"


def parquet(*rows: tuple[int, str]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [row[0] for row in rows], "name": [row[1] for row in rows]}), out)
    return out.getvalue()


CERTAIN: list[tuple[str, bytes, dict[str, Any]]] = [
    ("commas", MAIL.format(",").encode(), NO_KEYS),
    ("a byte order mark", b"\xef\xbb\xbf" + MAIL.format(",").encode(), NO_KEYS),
    ("semicolons", MAIL.format(";").encode(), {"delimiter": ";"}),
    ("tabs", MAIL.format("\t").encode(), {"delimiter": "\t"}),
    ("bars", MAIL.format("|").encode(), {"delimiter": "|"}),
    ("a sign beyond ASCII", MAIL.format("¦").encode(), {"delimiter": "¦"}),
    ("a delimiter in quotes", b'id;n\n1;"a;b"\n2;"c"\n', {"delimiter": ";"}),
    ("line breaks in quotes", b'id,n\n1,"a\nb,c"\n2,x\n', NO_KEYS),
    ("CR as line end", b"id;n\r1;a\r2;b\r", {"delimiter": ";"}),
    ("UTF-16 with its mark", MAIL.format("\t").encode("utf-16"), {"delimiter": "\t", "encoding": "utf-16"}),
    ("UTF-16 without", MAIL.format(",").encode("utf-16-le"), {"encoding": "utf-16-le"}),
    ("UTF-32", MAIL.format(",").encode("utf-32"), {"encoding": "utf-32"}),
    ("Excel's first line", b"sep=;\nid;n\n1;2\n", {"delimiter": ";", "skip_lines": 1}),
    ("lines before the header", b"Customers, all\n\nid;mail;n\n1;a@x.org;2\n2;b@x.org;3\n3;c@x.org;3\n",
     {"delimiter": ";", "skip_lines": 2}),
    ("comments", b"id,mail,n\n# a\n1,a@x.org,2\n# b, c\n2,b@x.org,3\n", {"comment": "#"}),
    ("a trailer with a count", b"id,mail,n\n1,a@x.org,2\n2,b@x.org,3\nEND,2\n",
     {"footer": {"starts_with": "END", "count": 2}}),
    ("a trailer with two numbers", b"id,mail,n\n1,a@x.org,2\n2,b@x.org,3\nEND,2,77,x\n",
     {"footer": {"starts_with": "END", "count": 2}}),
    ("a trailer with its number beside its word", b"id,mail,n\n1,a@x.org,2\n2,b@x.org,3\nTotal rows: 2\n",
     {"footer": "Total rows:"}),
    ("a ledger of SAP", b"Report\n\nid;mail;sum;day\n1;a@x.org;1.234,50-;31.12.2020\n2;b@x.org;7,25;01.02.2021\n"
     b"Summe: 2\n", {"delimiter": ";", "skip_lines": 2, "decimal": ",", "thousands": ".", "negative": "trailing",
                            "footer": "Summe:"}),
    ("middle dots", MAIL.format("·").encode(), {"delimiter": "·"}),
    ("unit separators", MAIL.format("\x1f").encode(), {"delimiter": "\x1f"}),
    ("record separators", MAIL.format("\x1e").encode(), {"delimiter": "\x1e"}),
    ("two byte order marks", b"\xef\xbb\xbf" * 2 + MAIL.format(",").encode(), NO_KEYS),
    ("blanks before quotes", b'id, mail, n\n1, "a@x.org", "x, y"\n2, "b@x.org", z\n', {"trim": True}),
    ("no header", b"a@x.org,Ann\nb@x.org,Bob\n", {"header": "none"}),
    ("one column", b"email\na@x.org\nb@x.org\n", NO_KEYS),
    ("one column of text with commas", b"note\na, b\nc\n", {"delimiter": ";"}),
    ("a header alone", b"id,name", NO_KEYS),
    ("decimal commas", b"id;sum\n1;1,5\n2;10,25\n", {"delimiter": ";", "decimal": ","}),
    ("points between thousands", b"id;sum\n1;1.234,5\n2;10,25\n", {"delimiter": ";", "decimal": ",", "thousands": "."}),
    ("commas between thousands", b'id,sum\n1,"1,234.5"\n2,10.25\n', {"thousands": ","}),
    ("apostrophes between thousands", b"id;sum\n1;1'234.5\n2;10.25\n", {"delimiter": ";", "thousands": "'"}),
    ("blanks between thousands", b"id;sum\n1;1 234,5\n2;10,25\n", {"delimiter": ";", "decimal": ",", "thousands": " "}),
    ("Indian groups", b'id,sum\n1,"12,34,567.50"\n2,"1,234.25"\n', {"thousands": ",", "grouping": "indian"}),
    ("a currency before", "id;sum\n1;€ 1.234,50\n2;€ 7,25\n".encode(),
     {"delimiter": ";", "currency": "€", "decimal": ",", "thousands": "."}),
    ("negative numbers in parentheses", b"id,sum\n1,(1.5)\n2,10.25\n", {"negative": "parentheses"}),
    ("a minus behind", b"id;sum\n1;1.234,50-\n2;10,25\n",
     {"delimiter": ";", "decimal": ",", "thousands": ".", "negative": "trailing"}),
    ("a minus sign of typesetters", "id;sum\n1;\u22121,5\n2;10,25\n".encode(),
     {"delimiter": ";", "decimal": ",", "negative": "minus"}),
    ("sizes are text", b"id,size\n1,75C\n2,80D\n", NO_KEYS),
    ("amounts of a ledger", b'id,sum\n1,"($1,234.50)"\n2,$10.25\n3,$(7)\n',
     {"thousands": ",", "currency": "$", "negative": "parentheses"}),
    ("a currency behind", b"id,sum\n1,1.5 EUR\n2,-10.25 EUR\n3,7\n", {"currency": "EUR"}),
    ("two currencies are text", b"id,sum\n1,$1.5\n2,CHF 10.25\n", NO_KEYS),
    ("decimal points", b"id,sum\n1,1.5\n2,10.25\n", NO_KEYS),
    ("dates with points are no numbers", b"id,day\n1,01.02.2020\n2,31.12.2020\n", NO_KEYS),
    ("JSON lines", b'{"id": 1, "n": "x"}\n{"id": 2, "n": "y"}\n', {"type": "jsonl"}),
    ("Parquet", parquet((1, "x"), (2, "y")), {"type": "parquet"}),
    ("a workbook", workbook([["id", "mail"], [1, "a@x.org"]]), {"type": "xlsx"}),
    ("a workbook with a title", workbook([["All customers"], [], ["id", "mail"], [1, "a@x.org"]]),
     {"type": "xlsx", "range": "A3"}),
]  # fmt: skip


@pytest.mark.parametrize(("content", "keys"), [case[1:] for case in CERTAIN], ids=[case[0] for case in CERTAIN])
def test_what_only_one_format_reads_is_not_asked(content: bytes, keys: dict[str, Any]) -> None:
    reading, asked = detected(content, fields=("id", "mail", "name", "n", "note"))
    assert reading.keys == keys
    assert asked == []
    assert reading.columns
    assert Format.model_validate(dict(reading.keys)) == reading.declared


DEFAULT = "CSV with commas in UTF-8, as it is by default"
UNCERTAIN: list[tuple[str, bytes, dict[str, dict[str, Any]]]] = [
    ("two delimiters", b"name, first;age\nLee, Ann;33\nRay, Bob;41\n",
     {'format: {delimiter: ";"}': {"delimiter": ";"}, DEFAULT: NO_KEYS}),
    ("thousands or decimals", b'id,sum\n1,"1,234"\n2,"5,678"\n',
     {'format: {decimal: ","}': {"decimal": ","}, 'format: {decimal: ".", thousands: ","}': {"thousands": ","}}),
    ("decimals or thousands", b"id,sum\n1,1.234\n2,5.678\n",
     {'format: {decimal: "."}': NO_KEYS,
      'format: {decimal: ",", thousands: "."}': {"decimal": ",", "thousands": "."}}),
    ("debit and credit", b"id,sum\n1,1.50 DR\n2,10.25 CR\n",
     {f'format: {{decimal: ".", negative: {side}}}': {"negative": side} for side in ("CR", "DR")}),
    ("percent", b"id,share\n1,5.5%\n2,12%\n",
     {f'format: {{decimal: ".", percent: {kind}}}': {"percent": kind} for kind in ("number", "fraction")}),
    ("a header or a row", b"Ann,Berlin\nBob,Paris\n",
     {"the first line names the columns": NO_KEYS, "format: {header: none}": {"header": "none"}}),
    ("quotes or text", b"id,mail\n1,'a@x.org'\n2,'b@x.org'\n",
     {DEFAULT: NO_KEYS, """format: {quote: "'"}""": {"quote": "'"}}),
    ("an escape or text", b'id;name\n1;"O\\"Neil"\n2;"a\\"b"\n',
     {'format: {delimiter: ";", escape: "\\\\"}': {"delimiter": ";", "escape": "\\"},
      'format: {delimiter: ";", quote: none}': {"delimiter": ";", "quote": "none"}}),
    ("a trailer as wide as a row", b"id;name\nA1;Ann\nB2;Bob\nAnzahl Kunden;2\n",
     {'format: {delimiter: ";", footer: {starts_with: "Anzahl Kunden", count: 2}}':
      {"delimiter": ";", "footer": {"starts_with": "Anzahl Kunden", "count": 2}},
      'format: {delimiter: ";"}': {"delimiter": ";"}}),
    ("empty or a word", b"id,day\n1,NULL\n2,2020-01-02\n",
     {'format: {null_values: ["NULL"]}': {"null_values": ["NULL"]}, "without null_values": NO_KEYS}),
    *(
        (f"letters of {encoding}", f"id,name\n1,{word}\n".encode(encoding),
         {f"format: {{encoding: {name}}}": {"encoding": name} for name in (encoding, other)})
        for encoding, other, word in (("cp1252", "cp1250", "Zoë Ñ"), ("cp1250", "cp1252", "Łódź"),
                                      ("cp1251", "cp1252", "Москва"), ("mac_roman", "cp850", "Zoë"),
                                      ("gb18030", "big5", "张伟"), ("cp850", "mac_roman", "Müller"))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "readings"), [case[1:] for case in UNCERTAIN], ids=[case[0] for case in UNCERTAIN])
def test_two_readings_that_differ_are_asked_about(content: bytes, readings: dict[str, dict[str, Any]]) -> None:
    """One question, and each answer leads to its own reading."""
    for label, keys in readings.items():
        reading, asked = detected(content, fields=("id",), wants=lambda option, label=label: option.label == label)  # type: ignore[misc]  # bound now
        assert [sum(option.label in readings for option in options) for _, options in asked] == [2]
        assert reading.keys == keys


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("(all)", "format: {footer: 1}"),
        ("\n\nAll customers\n(c) 2026", "format: {footer: 2}"),
        ("END", "format: {footer: {starts_with: END, count: none}}"),
        ("END 17", "format: {footer: {starts_with: END, count: none}}"),
        ("3", None),
    ],
)
def test_a_last_line_that_proves_nothing_is_asked_about(line: str, label: str | None) -> None:
    """It may be a row that was cut off. Without a line break behind it, it is one."""
    content = b"id,mail,n\n1,a@x.org,2\n2,b@x.org,3\n"
    if label is None:
        with pytest.raises(UsageError, match=r"line 4: 2 cells"):
            detected(content + b"3,c@x")
        return
    reading, asked = detected(content + f"{line}\n".encode())
    assert [option.label for _, options in asked for option in options] == [label, "it is a row"]
    assert reading.label == label
    with pytest.raises(UsageError, match="the last row has fewer cells"):
        detected(content + f"{line}\n".encode(), wants=lambda option: option.label == "it is a row")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "is empty"),
        (b"id,name,x\n1,a,2\n2,b\n3,c,4\n", "line 3: 2 cells"),
        (b"id;name;x\n1;a;2\n2;b\n3;c;4\n", "line 3: 2 cells"),
        (b'id,name\n1,"a\n2,b\n', "line 2"),
        (b"id,id\n1,2\n", "repeats 'id'"),
        (b"%PDF-1.4", "is a PDF"),
        (b"[1, 2]", "JSON"),
        (b'{"data": [{"id": 1}]}\n', "nothing but lists and objects"),
        (b"\x00\x01\x02\x03\xff" * 40, "in any usual encoding|is UTF-16|NUL"),
    ],
)
def test_what_no_format_reads_is_refused_in_the_readers_own_words(content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detected(content)


def test_a_beginning_is_cut_where_a_row_ends() -> None:
    rows = "".join(f'{n};"a;\n""{n}"";"\r\n' for n in range(6000))
    content = ("id;text\r\n" + rows).encode()[: 64 << 10]
    reading, asked = detected(content, whole=False)
    assert asked == []
    assert reading.keys == {"delimiter": ";"}
    assert 2000 < len(reading.rows) < 6000
    assert reading.rows[-1] == (str(len(reading.rows) - 1), f'a;\n"{len(reading.rows) - 1}";')


_WORDS = st.text(st.sampled_from(list("abz,;|\t.'\"-: éŁя5")), max_size=6)
_COLUMNS = st.sampled_from([
    ("mail", st.sampled_from(["a@x.org", "b.c@y.example", "Zoe@z.info"])),
    ("joined", st.dates().map(str)),
    ("points", st.integers(-9, 9999).map(str)),
    ("sum", st.decimals(-99999, 99999, places=2).map("{:,.2f}".format)),
    ("note", _WORDS),
])  # fmt: skip


@st.composite
def _dialects(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A file in some dialect, and the keys that declare it."""
    columns = draw(st.lists(_COLUMNS, min_size=2, max_size=4))
    table = draw(st.lists(st.tuples(*(column[1] for column in columns)), min_size=2, max_size=6))
    delimiter = draw(st.sampled_from(",;\t|"))
    quote = draw(st.sampled_from(['"', "'"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-16", "cp1250", "cp1251"]))
    signs_of_numbers = draw(st.sampled_from([".,", ",.", ", ", ".'"]))
    out = io.StringIO()
    writer = csv.writer(
        out, delimiter=delimiter, quotechar=quote, lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )  # fmt: skip
    writer.writerow([f"{name} {number}" for number, (name, _) in enumerate(columns)])
    signs = str.maketrans(".,", signs_of_numbers)
    for row in table:
        writer.writerow([
            cell.translate(signs) if name == "sum" else cell for (name, _), cell in zip(columns, row, strict=True)
        ])  # fmt: skip
    skipped = draw(st.sampled_from([0, 0, 1, 3]))
    text = "All customers\n" * skipped + out.getvalue()
    keys: dict[str, Any] = {"delimiter": delimiter} if delimiter != "," else {}
    keys |= {"quote": quote} if quote != '"' else {}
    keys |= {"skip_lines": skipped} if skipped else {}
    content = text.encode(encoding, "replace")
    keys |= {"encoding": encoding} if not content.isascii() and encoding != "utf-8" else {}
    return content, keys


@given(_dialects())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_file_in_any_dialect_is_read_back_by_whoever_answers_what_is_asked(
    dialect: tuple[bytes, dict[str, Any]],
) -> None:
    """The cells are those that were written: found without a question, or among the options of one."""
    content, keys = dialect
    meant = read_sample(content, "Customers.csv", keys)
    reading, _ = detected(content, wants=partial(_is_meant, content, meant))
    assert (reading.columns, reading.rows) == (meant.columns, meant.rows)


def _is_meant(content: bytes, meant: Reading, option: Option) -> bool:
    """Whether the option is the file as it was written, as far as the option says how to read it."""
    if not option.label.startswith("format: "):
        return option.label != "without null_values" and (option.label != DEFAULT or not meant.keys)
    keys = yaml.safe_load(option.label)["format"]
    if keys.keys() == {"encoding"} and " = " not in option.preview:
        return str(keys["encoding"]) == meant.keys.get("encoding")
    try:
        reading = read_sample(content, "Customers.csv", keys)
    except (ItemRefused, ValidationError):
        return False
    return (reading.columns, reading.rows) == (meant.columns, meant.rows)


def test_a_few_words_among_the_numbers_do_not_hide_their_signs() -> None:
    rows = [f"{n};{n}.204,50" for n in range(1, 40)]
    reading, asked = detected(("id;points\n" + "\n".join([*rows, "40;on request"]) + "\n").encode())
    assert (reading.keys, asked) == ({"delimiter": ";", "decimal": ",", "thousands": "."}, [])
    assert reading.lines[-1] == 41


DRAWN = {
    "MySQL's client": (
        "+----+-------+\n| id | tier  |\n+----+-------+\n|  1 | Gold  |\n|  2 | 5\" x  |\n+----+-------+\n2 rows in set (0.00 sec)\n\n",
        {"delimiter": "|", "quote": "none", "skip_lines": 3, "header": ["column_1", "id", "tier", "column_4"], "footer": 2},
    ),
    "Markdown": (
        "| id | tier |\n|---:|:-----|\n| 1 | Gold |\n| 2 | x |\n",
        {"delimiter": "|", "skip_lines": 2, "header": ["column_1", "id", "tier", "column_4"]},
    ),
    "psql": (
        " id | tier\n----+------\n  1 | Gold\n  2 | x\n(2 rows)\n\n",
        {"delimiter": "|", "skip_lines": 2, "header": ["id", "tier"], "footer": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("client", DRAWN)
def test_a_table_that_is_drawn_for_people_is_read(client: str) -> None:
    content, keys = DRAWN[client]
    reading, asked = detected(content.encode())
    assert (reading.keys, asked) == (keys, [])
    places = [reading.columns.index(name) for name in ("id", "tier")]
    assert [reading.cells[place][0] for place in places] == ["1", "Gold"]
    assert len(reading.rows) == 2
