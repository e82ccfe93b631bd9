"""Files of a declared format may have the endings of its type, and of no other."""

from __future__ import annotations

import pytest

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.sources.files import serial_of


@pytest.mark.parametrize(
    ("declared", "names", "others"),
    [
        (Format(), ["C.csv", "C.CSV.gz", "C.csv.zip"], ["C.txt", "C.xlsx", "C.tsv"]),
        (Format(delimiter="\t"), ["C.tsv", "C.txt", "C.csv", "C.tab.gz"], ["C.xlsx", "C.json"]),
        (Format(type="xlsx"), ["C.xlsx", "C.XLSX.zip"], ["C.csv", "C.xls"]),
        (Format(type="jsonl"), ["C.jsonl", "C.ndjson.gz", "C.json"], ["C.csv"]),
        (Format(type="parquet"), ["C.parquet"], ["C.csv", "C.parquets"]),
    ],
)
def test_the_ending_belongs_to_the_type(declared: Format, names: list[str], others: list[str]) -> None:
    for file in ("in/C", f"in/{names[0]}"):
        assert [serial_of(f"in/{name}", file, endings=declared.endings) for name in names] == [None] * len(names)
        assert [serial_of(f"in/{name}", file, endings=declared.endings) for name in others] == [False] * len(others)
    with_serial = [f"in/{name.replace('C.', 'C_17.')}" for name in names]
    assert [serial_of(path, "in/C", endings=declared.endings) for path in with_serial] == [17] * len(names)
