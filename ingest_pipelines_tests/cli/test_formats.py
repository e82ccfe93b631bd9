"""A file of any declared format, end to end: loaded, its rejects exported, corrected and replayed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.landing.workbooks import workbook

Row = tuple[str, str, str]
ROWS: list[Row] = [("1", "Zoë", "1234.50"), ("2", "Bo; b", "x"), ("3", "Ann\nB", "-0.25")]


def _semicolons(rows: list[Row]) -> bytes:
    cells = [(key, f'"{name}"', f"{float(value):,.2f}" if value != "x" else value) for key, name, value in rows]
    swapped = [(key, name, value.translate(str.maketrans(",.", ".,"))) for key, name, value in cells]
    text = "Export\r\nKunde;Name;Betrag\r\n" + "".join(";".join(row) + "\r\n" for row in swapped)
    return (text + f"ENDE;{len(rows)}\r\n").encode("cp1252")


def _jsonl(rows: list[Row]) -> bytes:
    values = [(key, name, value if value == "x" else float(value)) for key, name, value in rows]
    return b"".join(
        json.dumps(dict(zip(("Kunde", "Name", "Betrag"), row, strict=True))).encode() + b"\n" for row in values
    )


def _parquet(rows: list[Row]) -> bytes:
    keys, names, values = zip(*rows, strict=True)
    out = io.BytesIO()
    pq.write_table(pa.table({"Kunde": [int(key) for key in keys], "Name": names, "Betrag": values}), out)
    return out.getvalue()


def _workbook(rows: list[Row]) -> bytes:
    values = [[int(key), name, value if value == "x" else float(value)] for key, name, value in rows]
    return workbook([["Kunden"], [], ["Kunde", "Name", "Betrag"], *values])


FORMATS: dict[str, tuple[dict[str, Any], Callable[[list[Row]], bytes], int]] = {
    "semicolons": (
        {"delimiter": ";", "encoding": "cp1252", "decimal": ",", "thousands": ".", "skip_lines": 1, "footer": "ENDE"},
        _semicolons, 4,
    ),
    "xlsx": ({"type": "xlsx", "range": "A3:C"}, _workbook, 5),
    "jsonl": ({"type": "jsonl"}, _jsonl, 2),
    "parquet": ({"type": "parquet"}, _parquet, 2),
}  # fmt: skip
"""Name -> its format, a writer, and the line of the row that is rejected."""


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_rejected_is_corrected_and_replayed(name: str, starter: Terminal) -> None:
    keys, write, line = FORMATS[name]
    home = starter.folder
    databases = yaml.safe_load((home / "databases.yaml").read_text())
    fields = {"customer_id": {"type": "string"}, "full_name": {"type": "string"}, "total": {"type": "decimal(12,2)"}}
    databases["databases"][name] = {"table": f"crm.{name}", "key": "customer_id", "fields": fields}
    (home / "databases.yaml").write_text(yaml.safe_dump(databases))
    columns = {"Kunde": "customer_id", "Name": "full_name", "Betrag": "total"}
    source = {"connection": "uploads", "format": keys}
    spec = {"database": name, "source": source, "columns": columns, "rejects": {"unlimited": True}}
    (home / "imports" / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    (home / f"{name}.file").write_bytes(write(ROWS))

    answer = starter.ingest("run", name, "--file", f"{name}.file", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json[0]["read"], answer.json[0]["rejected"]) == (3, 1)
    assert starter.ingest("rejects", "export", name, "-o", "rejects.csv").code == 0
    with (home / "rejects.csv").open(newline="", encoding="utf-8") as file:
        header, row = csv.reader(file)
    assert row[:3] == ["2", "Bo; b", "x"]
    assert row[header.index("ingest.line")] == str(line)
    row[2] = "7,00" if name == "semicolons" else "7.00"
    with (home / "rejects.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, row])
    answer = starter.ingest("rejects", "replay", name, "rejects.csv", "--json")
    assert answer.code == 0, answer.err
    assert answer.json[0]["resolved"] == 1
    with psycopg.connect(starter.environment["INGEST_DATABASE_URL"]) as connection:
        query = f"SELECT customer_id, full_name, total FROM crm.{name} ORDER BY 1"
        loaded = connection.execute(query.encode()).fetchall()
    assert loaded == [("1", "Zoë", Decimal("1234.50")), ("2", "Bo; b", Decimal(7)), ("3", "Ann\nB", Decimal("-0.25"))]


def test_a_refusal_names_the_line_of_yaml(starter: Terminal) -> None:
    (starter.folder / "uploads" / "Other.csv").write_bytes("CID;Email;Tier;Points;Joined\n1;é;;;\n".encode("cp1252"))
    answer = starter.ingest("run", "loyalty", "--file", "uploads/Other.csv")
    assert answer.code == 1
    assert 'write in the import\'s source: format: {delimiter: ";", encoding: cp1252}' in " ".join(answer.err.split())
