"""Files as senders really send them, through `ingest run`: the exact rows, or a refusal that names what to write.

Each stands for a kind, whose other members are in landing/ and rules/.
"""

# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.landing.workbooks import workbook

_COLUMNS = {
    "id": "id", "name": "name", "points": "points", "phone": "phone",
    "day": {"field": "day", "format": "%d/%m/%y"}, "at": {"field": "at", "format": "%d/%m/%Y %H:%M:%S %Z"},
}  # fmt: skip
_AT = datetime(2020, 2, 1, 10, tzinfo=UTC)

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
    "a formula that nobody calculated": (
        {"type": "xlsx"}, workbook([["id", "name"], ["1", "x"]], formula={"B2": "<c><f>A2</f></c>"}),
        "line 2: the formula in 'name' has no result",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    fields = {
        "id": {"type": "string", "max_length": 64}, "name": {"type": "string"}, "points": {"type": "int"},
        "phone": {"type": "phone"}, "day": {"type": "date"}, "at": {"type": "datetime"},
    }  # fmt: skip
    with new_project(postgres_url, tmp_path_factory.mktemp("field")) as made:
        made.write("databases", {"databases": {"people": {"table": "crm.people", "key": "id", "fields": fields}}})
        yield made


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
    answer = project.deliver(content, to=name)
    assert answer.code == 0, answer.err
    assert project.table(columns) == expected
    load = answer.json[0]["load"]
    rejects = project.rows(f"SELECT line, code FROM ingest.rejects WHERE load = {load} ORDER BY line")
    assert dict(rejects) == codes


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_declared_is_refused_with_what_to_write(kind: str, project: Project) -> None:
    declared, content, message = REFUSED[kind]
    name = _declare(project, kind, declared, ["id", "name"])
    before = project.table("id, name")
    answer = project.deliver(content, to=name)
    assert answer.code == 1
    assert message in " ".join(answer.err.split())
    assert project.table("id, name") == before
