"""JSON lines and Parquet are read in memory that does not grow with the file; a load of a gigabyte is within the bound.

The kernel measures the peak, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ingest_pipelines_tests.guarantees.measured import measuring
from ingest_pipelines_tests.guarantees.projects import new_project
from ingest_pipelines_tests.guarantees.test_a_bomb_is_refused_within_the_memory_that_is_stated import MOST_MEMORY

MOST_READING = 320 << 20
"""Bytes that reading takes, whatever the size of the file."""

MOST_GROWTH = 80 << 20
"""Bytes that the larger file may take more, for pages that the allocator keeps. It has 120 MB more itself."""

FEW, MANY = 140_000, 440_000
"""Rows: the smaller file fills every buffer."""

NOTE = "n" * 360


def _jsonl(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f'{{"id": "C{row}", "note": "{NOTE}{row}", "points": {row}}}\n' for row in range(rows))


def _parquet(path: Path, rows: int, group: int | None = None) -> None:
    schema = pa.schema({"id": pa.string(), "note": pa.string(), "points": pa.int64()})
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, group or rows):
            points = pa.array(range(start, min(start + (group or rows), rows)), pa.int64())
            numbers = points.cast(pa.string())
            cells = [pc.binary_join_element_wise(text, numbers, "") for text in ("C", NOTE)]
            writer.write_table(pa.table([*cells, points], schema=schema), row_group_size=group or rows)


TYPES: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "jsonl": ("jsonl", _jsonl),
    "parquet of one row group": ("parquet", _parquet),
    "parquet of many row groups": ("parquet", lambda path, rows: _parquet(path, rows, 2_000)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_what_reading_takes_does_not_grow_with_the_file(kind: str, tmp_path: Path) -> None:
    declared, write = TYPES[kind]
    peaks = []
    for rows in (FEW, MANY):
        write(tmp_path / "large", rows)
        command = [sys.executable, "-m", "ingest_pipelines_tests.guarantees.reading", declared, str(tmp_path / "large")]
        read, peak = map(int, subprocess.run(command, check=True, capture_output=True).stdout.split())
        assert read == rows
        peaks.append(peak)
    few, many = peaks
    assert many < MOST_READING, f"{many >> 20} MB"
    assert many - few < MOST_GROWTH, f"{few >> 20} MB, then {many >> 20} MB"


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_a_load_of_a_gigabyte_is_within_the_stated_memory(kind: str, postgres_url: str, tmp_path: Path) -> None:
    declared, write = TYPES[kind]
    rows = 6 * MANY
    write(tmp_path / f"large.{declared}", rows)
    with new_project(postgres_url, tmp_path) as project, measuring(project.terminal) as person:
        project.write_import(source={"connection": "uploads", "format": {"type": declared}}, events=False)
        measured = person.ingest("plan", "people", "--file", tmp_path / f"large.{declared}", "--json")
    assert measured.answer.code == 0, measured.answer.err
    assert f'"inserted": {rows}' in measured.answer.out
    assert measured.peak < MOST_MEMORY, f"{measured.peak >> 20} MB"
