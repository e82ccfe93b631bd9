"""Files as senders really send them, through `ingest run`: the exact rows, or a refusal that names what to write.

Each stands for a kind, whose other members are in landing/ and rules/.
"""

# ruff: noqa: E501

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.landing.workbooks import workbook

_COLUMNS: dict[str, str | dict[str, str]] = {
    "id": "id", "name": "name", "points": "points", "phone": "phone",
    "day": {"field": "day", "format": "%d/%m/%y"}, "at": {"field": "at", "format": "%d/%m/%Y %H:%M:%S %Z"},
    "moment": {"field": "day", "format": "%d/%m/%Y %H:%M:%S"}, "sum": "sum", "first\nname": "name",
}  # fmt: skip
_AT = datetime(2020, 2, 1, 10, tzinfo=UTC)


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _gz(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def _parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


_TABLE = b"id|name\n--|----\n1|a\n2|b\n\n(2 rows affected)\n"
"""As sqlcmd prints it."""

LOADED: dict[str, tuple[dict[str, Any], bytes, str, list[tuple[Any, ...]], dict[int, str]]] = {
    "keys that look alike": (
        {}, "id,name\nA1,first\nA1 ,trail\nA1\u00a0,nbsp\nA1\u200b,zw\n\u200b,blank\nB1 \u200b,b\nNULL,n\nid,i\n".encode(),
        "id, name", [("B1", "b")],
        {2: "duplicate_key", 3: "duplicate_key", 4: "duplicate_key", 5: "duplicate_key", 6: "missing_key",
         8: "missing_key", 9: "missing_key"},
    ),
    "phone numbers with and without blanks": (
        {}, b"id,phone\n1,+4402079460018\n2,+44 020 7946 0018\n3,+99912345678\n4,+1415555267\n5,+330612345678\n",
        "id, phone", [("1", "+442079460018"), ("2", "+442079460018"), ("5", "+33612345678")],
        {4: "bad_phone", 5: "bad_phone"},
    ),
    "years of two digits, and a leap second": (
        {}, b"id,day,at\n1,01/02/69,\n2,01/02/-1,\n3,01/02/68,01/02/2020 10:00:00 UTC\n4,,01/02/2020 10:00:00 EST\n"
        b"5,,01/02/2020 23:59:60 UTC\n",
        "id, day, at", [("1", date(1969, 2, 1), None), ("3", date(2068, 2, 1), _AT)],
        {3: "bad_date", 5: "bad_datetime", 6: "bad_datetime"},
    ),
    "mixed line ends, marks and blank lines": (
        {}, b"\xef\xbb\xbfid,points\r\n1,1\n\r\n2,2\r3,x\n\xef\xbb\xbf4,4", "id, points", [("1", 1), ("2", 2), ("4", 4)],
        {5: "bad_int"},
    ),
    "debit, a minus sign of typesetters, and Latin-1 from Windows": (
        {"negative": "DR", "encoding": "latin-1"}, b"id,points,name\n1,5 DR,a\n2,7CR,b\n3,-1,\x93c\x94\n",
        "id, points, name", [("1", -5, "a"), ("2", 7, "b")], {4: "unsupported_character"},
    ),
    "JSON of several kinds in one column": (
        {"type": "jsonl"}, b'\xef\xbb\xbf{"id":1,"points":1e2}\r\n\r\n{"id":"2","points":"7"}\n{"id":true,"points":1.5}\n'
        b'{"id":12345678901234567890,"name":{"a":1.50}}',
        "id, points, name", [("1", 100, None), ("12345678901234567890", None, '{"a": 1.5}'), ("2", 7, None)], {4: "bad_int"},
    ),
    "cells of a workbook": (
        {"type": "xlsx"}, workbook([["id", "points", "name"], [1234567890123456.0, 2.0, "a"], ["2", "#N/A", None], ["3", 2.5, 0.1 + 0.2]]),
        "id, points, name", [("1234567890123456", 2, "a")], {3: "bad_int", 4: "bad_int"},
    ),
    "keys with letters in two forms, and signs that nobody sees": (
        {}, "id,name\nJose\u0301,a\nJos\u00e9,b\nso\u00adft,c\n\ufeffB,d\n\u2800,e\nC\u3000,f\n".encode(), "id, name",
        [("B", "d"), ("C", "f")],
        {2: "duplicate_key", 3: "duplicate_key", 4: "unsupported_character", 6: "missing_key"},
    ),
    "words for nothing as keys": (
        {}, b"id,name\n\\N,a\nN/A,b\n#n/a,c\n-----------,d\nnil,e\n0,f\n", "id, name", [("0", "f")],
        dict.fromkeys(range(2, 7), "missing_key"),
    ),
    "words for nothing that are keys by declaration": (
        {"null_values": []}, b"id,name\nN/A,NULL\nnone,-\n--,x\n", "id, name", [("--", "x"), ("N/A", "NULL"), ("none", "-")], {},
    ),
    "zones by their names": (
        {}, b"id,at\n1,01/02/2020 10:00:00 GMT\n2,01/02/2020 10:00:00 Z\n3,01/02/2020 10:00:00 CET\n4,01/02/2020 10:00:00 garbage\n",
        "id, at", [("1", _AT), ("2", _AT)], {4: "bad_datetime", 5: "bad_datetime"},
    ),
    "a leap second, and hours that no day has, in a date": (
        {}, b"id,moment\n1,01/02/2020 23:59:60\n2,01/02/2020 24:00:00\n3,01/02/2020 23:59:59\n4,31/02/2020 10:00:00\n",
        "id, moment", [("3", date(2020, 2, 1))], {2: "bad_date", 3: "bad_date", 5: "bad_date"},
    ),
    "more spellings of one phone number": (
        {}, "id,phone\n1,tel:+44-20-7946-0018\n2,+44 (0)20 7946 0018\n3,\u202a+442079460018\u202c\n4,020 7946 0018\n5,+44 20 7946\n".encode(),
        "id, phone", [(str(n), "+442079460018") for n in (1, 2, 3)], {5: "bad_phone", 6: "bad_phone"},
    ),
    "amounts as an office writes them": (
        {"thousands": ",", "currency": "$", "negative": "parentheses", "null_values": ["-"]},
        b'id,sum\n1,"$4,548.61"\n2,"($1,000.00)"\n3,-\n4,"$1,00.00"\n5,EUR 5\n', "id, sum",
        [("1", Decimal("4548.61")), ("2", Decimal(-1000)), ("3", None)], {5: "bad_decimal", 6: "bad_decimal"},
    ),
    "Indian groups": (
        {"thousands": ",", "grouping": "indian"}, b'id,sum,points\n1,"12,34,567.89","1,00,000"\n2,"1,234.5",7\n3,"1,234,567",1\n',
        "id, sum, points", [("1", Decimal("1234567.89"), 100000), ("2", Decimal("1234.5"), 7)], {4: "bad_decimal"},
    ),
    "percent as fractions": (
        {"percent": "fraction", "decimal": ",", "delimiter": ";"}, b"id;sum\n1;5%\n2;-12,5 %\n3;0,25\n4;0,333%\n5;5%%\n", "id, sum",
        [("1", Decimal("0.05")), ("2", Decimal("-0.125")), ("3", Decimal("0.25")), ("4", Decimal("0.00333"))], {6: "bad_decimal"},
    ),
    "percent as numbers": (
        {"percent": "number"}, b"id,points,sum\n1,5%,%12.50\n2,7,0.05\n3,5.5%,1\n", "id, points, sum",
        [("1", 5, Decimal("12.5")), ("2", 7, Decimal("0.05"))], {4: "bad_int"},
    ),
    "a trailer whose number has groups": (
        {"delimiter": ";", "decimal": ",", "thousands": ".", "footer": "Total:"},
        b"id;points\n" + b"".join(b"%d;1\n" % n for n in range(1, 1001)) + b"2;2\nTotal: 1.001\n", "id, points",
        sorted((str(n), 1) for n in range(1, 1001) if n != 2), {3: "duplicate_key", 1002: "duplicate_key"},
    ),
    "an archive with what macOS and Windows add": (
        {}, _zip({"__MACOSX/._a.csv": b"x", ".DS_Store": b"x", "x/Thumbs.db": b"x", "x/a.csv": b"id,name\n1,a\n"}), "id, name", [("1", "a")], {},
    ),
    "gzip members that are one file": ({}, _gz(b"id,name\n1,a\n", b"2,b\n"), "id, name", [("1", "a"), ("2", "b")], {}),
    "lines of a mainframe": (
        {"encoding": "cp037", "footer": "END"}, "id,name\x851,Zo\xeb\x852,b\x85END 2\x85".encode("cp037"), "id, name",
        [("1", "Zo\xeb"), ("2", "b")], {},
    ),
    "a delimiter that is half of another letter": (
        {"encoding": "shift_jis", "delimiter": "|"}, "id|name\n1|\u30dd\n2|\u8868\n".encode("shift_jis"), "id, name",
        [("1", "\u30dd"), ("2", "\u8868")], {},
    ),
    "line ends that were made twice, and the end of a DOS file": (
        {}, b"id,name\r\r\n1,a\r\r\n2,b\x1a", "id, name", [("1", "a")], {5: "unsupported_character"},
    ),
    "separators of lines inside cells": (
        {}, 'id,name\n1,a\u2028b\n2,"c\u0085d"\n3,e\tf\n'.encode(), "id, name", [("1", "a\u2028b"), ("3", "e\tf")], {3: "unsupported_character"},
    ),
    "a name with a line break": ({}, b'id,"first\nname"\n1,a\n', "id, first\nname", [("1", "a")], {}),
    "digits of other scripts": (
        {}, "id,points\n1,\u0661\u0662\n2,\uff11\uff12\n3,12\n4,1\u066b5\n".encode(), "id, points", [("3", 12)],
        {2: "bad_int", 3: "bad_int", 5: "bad_int"},
    ),
    "what a database client prints": (
        {"delimiter": "|", "skip_lines": 2, "header": ["id", "name"], "footer": 1}, _TABLE, "id, name", [("1", "a"), ("2", "b")], {},
    ),
    "JSON that its writer meant well": (
        {"type": "jsonl"}, b'{"id":"1","name":"\\ud83d\\ude00"}\n{"ID":"2","name":"b"}\n{"id":"3","name":"x\\u0000y"}\n'
        b'{"name":"d","id":-0}\n{"id":"5","points":12.0,"name":"\xe2\x80\xa8"}\n{"id":"6","points":9223372036854775808}\n',
        "id, points, name", [("0", None, "d"), ("5", 12, None)],
        {1: "unsupported_character", 2: "missing_key", 3: "unsupported_character", 6: "bad_int"},
    ),
    "Parquet of other widths": (
        {"type": "parquet"}, _parquet(id=["1", "2", "3", None], points=pl.Series([1, 2**63, 3, 4], dtype=pl.UInt64), name=pl.Series(["a", "b", "a", "c"], dtype=pl.Categorical)),
        "id, points, name", [("1", 1, "a"), ("3", 3, "a")], {2: "bad_int", 4: "missing_key"},
    ),
    "a workbook that lost no digit": (
        {"type": "xlsx"}, workbook([["id", "sum", "more"], ["1", 0.07, 1e300], [9007199254740991.0, 1234567.125, 1]]), "id, sum",
        [("1", Decimal("0.07")), ("9007199254740991", Decimal("1234567.125"))], {},
    ),
}  # fmt: skip
"""Name -> format, content, columns, rows of the table, codes of the rejects by line."""

REFUSED: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "exports that were put together": ({}, b"id,name\n1,a\n\xef\xbb\xbfid,name\n2,b\n", "line 3: a second header"),
    "a blank before a quote": ({}, b'id,name\n1, "a"\n2, "b"\n', "format: {trim: true}"),
    "a header that ends in commas": (
        {}, b"id,name,,\n1,a,,\n", "format: {skip_lines: 1, header: [id, name, column_3, column_4]}",
    ),
    "a sep= line": ({}, b"sep=;\nid;name\n1;a\n", 'format: {delimiter: ";", skip_lines: 1}'),
    "a trailer of another number": ({"footer": "TRL"}, b"id,name\n1,a\nTRL,2\n", "the trailer says 2 rows, and the file has 1"),
    "a second header in another order": ({}, b"id,name\n1,a\nname,id\n", "line 3: a second header"),
    "files that were put together with a page break": ({}, b"id,name\r\n1,a\r\n\x0cid,name\r\n2,b\r\n", "line 3: a second header"),
    "gzip members that are two files": ({}, _gz(b"id,name\n1,a\n", b"id,name\n2,b\n"), "line 3: a second header"),
    "a tab before a quote": ({}, b'id,name\n1,\t"a"\n', "format: {trim: true}"),
    "a quote inside a cell": ({}, b'id,name\n1,5" disk\n2,b\n', "format: {quote: none}"),
    "text behind a quote": ({}, b'id,name\n1,"a" b\n', "line 2: "),
    "one empty name at the end of the header": ({}, b"id,name,\n1,a\n", "format: {skip_lines: 1, header: [id, name]}"),
    "rows that end in a delimiter": ({}, b"id,name\n1,a,\n", "format: {skip_lines: 1, header: [id, name, column_3]}"),
    "an old workbook": ({}, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "the file is an old Office file (.xls, .doc)"),
    "a workbook that is called CSV": ({}, workbook([["id", "name"], ["1", "a"]]), "format: {type: xlsx}"),
    "an upload that was cut, in a file of its full size": ({}, b"id,name\n1,a\n2" + bytes(500), "the file ends in zero bytes"),
    "UTF-32": ({}, "id,name\n1,a\n".encode("utf-32"), "format: {encoding: utf-32}"),
    "an archive of two": ({}, _zip({"a.csv": b"id,name\n1,a\n", "read.me": b"x"}), "source: {member: NAME.csv}"),
    "an archive in an archive": ({}, _zip({"a.zip": _zip({"a.csv": b"id,name\n1,a\n"})}), "the file is a zip archive"),
    "what a database client prints": ({}, _TABLE, 'format: {delimiter: "|", skip_lines: 2, header: [id, name], footer: 1}'),
    "what psql prints": (
        {}, b" id | name \n----+------\n 1  | a\n 2  | b\n(2 rows)\n\n", 'format: {delimiter: "|", skip_lines: 2, header: [id, name], footer: 1}',
    ),
    "what MySQL prints": (
        {}, b"+----+------+\n| id | name |\n+----+------+\n|  1 | a    |\n+----+------+\n1 row in set (0.00 sec)\n",
        'format: {delimiter: "|", skip_lines: 3, header: [column_1, id, name, column_4], footer: 2}',
    ),
    "a line of dashes below the header": ({}, b"id,name\n--,----\n1,a\n", "format: {skip_lines: 2, header: [id, name]}"),
    "cells of a fixed width": ({}, b"id    name  \n1     Ann   \n", "cells are padded to a fixed width"),
    "the UTF-8 of Java": ({}, b"id,name\n1,\xed\xa0\xbd\xed\xb8\x80\n2,a\xc0\x80\n", "it is the modified UTF-8 of Java, or CESU-8"),
    "Japanese that is not declared": ({}, "id,name\n1,\u65e5\u672c\u8a9e\u30dd\n".encode("shift_jis"), "format: {encoding: shift_jis}"),
    "a mainframe's file": ({}, "id,name\x851,Ann\x85".encode("cp037"), "format: {encoding: cp037}"),
    "an address book": ({}, b"BEGIN:VCARD\nVERSION:3.0\nFN:Ann\nEND:VCARD\n", "the file is a vCard"),
    "a directory": ({}, b"dn: uid=1,ou=people\nuid: 1\nid: 1\nname: a\n\n", "the file is an LDIF file"),
    "a saved e-mail": ({}, b"From: a@x.org\nTo: b@x.org\nSubject: export\n\nid,name\n1,a\n", "the file is an e-mail save its attachment"),
    "an upload in its envelope": (
        {}, b'--------------------------d74496d6\r\nContent-Disposition: form-data; name="f"\r\n\r\nid,name\r\n1,a\r\n', "upload the file that is in it",
    ),
    "a trailer whose groups are not declared": (
        {"delimiter": ";", "footer": "Total:"}, b"id;name\n1;a\nTotal: 1.204\n", 'format: {delimiter: ";", decimal: ",", thousands: ".", footer: "Total:"}',
    ),
    "JSON objects on one line": ({"type": "jsonl"}, b'{"id":1,"name":"a"}{"id":2,"name":"b"}\n', "line 1: text behind the object"),
    "JSON that Python printed": ({"type": "jsonl"}, b"{'id': 1, 'name': None}\n", "line 1: no JSON object"),
    "half a character in JSON": ({"type": "jsonl"}, b'{"id":"1","name":"a"}\n{"id":"2","name":"\\ud83d"}\n', "line 2: half of a surrogate pair"),
    "a key of JSON that is spelled twice": ({"type": "jsonl"}, b'{"id":"1","name":"a","i\\u0064":"2"}\n', "line 1: an object that repeats a key"),
    "a number of which a workbook has lost digits": (
        {"type": "xlsx"}, workbook([["id", "name"], [12345678901234567.0, "a"]]), "line 2: the number in 'id' is above 2^53",
    ),
    "a formula that nobody calculated": (
        {"type": "xlsx"}, workbook([["id", "name"], ["1", "x"]], formula={"B2": "<c><f>A2</f></c>"}),
        "line 2: the formula in 'name' has no result",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    fields = {
        "id": {"type": "string", "max_length": 64}, "name": {"type": "string"}, "points": {"type": "int"},
        "phone": {"type": "phone"}, "day": {"type": "date"}, "at": {"type": "datetime"}, "sum": {"type": "decimal(14,5)"},
    }  # fmt: skip
    with new_project(postgres_url, tmp_path_factory.mktemp("field")) as made:
        made.write("databases", {"databases": {"people": {"table": "crm.people", "key": "id", "fields": fields}}})
        yield made


def _fields(columns: list[str]) -> str:
    """The fields that the columns fill."""
    mapped = (_COLUMNS[column] for column in columns)
    return ", ".join(field if isinstance(field, str) else field["field"] for field in mapped)


def _file(content: bytes) -> str:
    """The name of a file with such content."""
    ending = {b"PK": ".zip", b"\x1f\x8b": ".gz"}.get(content[:2], "")
    return "delivery.csv" if b"xl/workbook.xml" in content else f"delivery.csv{ending}"


def _declare(project: Project, name: str, declared: dict[str, Any], columns: list[str]) -> str:
    """An import of its own: a committed one keeps its columns."""
    source = {"connection": "uploads", **({"format": declared} if declared else {})}
    short = "".join(letter for letter in name.lower().replace(" ", "_") if letter.isalnum() or letter == "_")[:30]
    project.write_import(short, source=source, columns={name: _COLUMNS[name] for name in columns})
    return short


@pytest.mark.parametrize("kind", LOADED)
def test_rows_are_exact_and_the_others_are_rejected_with_their_lines(kind: str, project: Project) -> None:
    declared, content, columns, expected, codes = LOADED[kind]
    name = _declare(project, kind, declared, columns.split(", "))
    project.execute("DROP TABLE IF EXISTS crm.people")
    answer = project.deliver(content, to=name, name=_file(content))
    assert answer.code == 0, answer.err
    assert project.table(_fields(columns.split(", "))) == expected
    load = answer.json[0]["load"]
    rejects = project.rows(f"SELECT line, code FROM ingest.rejects WHERE load = {load} ORDER BY line")
    assert dict(rejects) == codes


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_declared_is_refused_with_what_to_write(kind: str, project: Project) -> None:
    declared, content, message = REFUSED[kind]
    name = _declare(project, kind, declared, ["id", "name"])
    before = project.table("id, name")
    answer = project.deliver(content, to=name, name=_file(content))
    assert answer.code == 1
    assert message in " ".join(answer.err.split())
    assert project.table("id, name") == before
