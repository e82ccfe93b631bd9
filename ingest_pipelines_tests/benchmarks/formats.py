"""The same rows in every format of a file: what reading and validating them costs beside comma-separated UTF-8.

`python -m ingest_pipelines_tests.benchmarks.formats --rows 1000000 --rounds 5`: formats take turns, each measurement
is a process of its own, medians and their ratios are printed. xlsx has at most 100,000 rows and is compared with
python-calamine's bare read of the same file. `--before TREE` adds the same CSV read by another checkout.
"""

# ruff: noqa: T201  it prints its table

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest_pipelines_tests.benchmarks.generate import COLUMNS, File, write_csv

if TYPE_CHECKING:
    from ingest_pipelines_tests.benchmarks.measure import Bench

SCENARIO = "formats"
COMMA = "comma, UTF-8"
"""The format that the others are measured against."""

_TYPES = {
    "age": "int", "points": "int", "balance": "decimal(12,2)", "lifetime_value": "decimal(14,4)",
    "birth_date": "date", "last_purchase_at": "datetime", "is_active": "bool",
}  # fmt: skip
FORMATS: dict[str, dict[str, object]] = {
    COMMA: {},
    "comma, one column hashed": {},
    "semicolon, cp1252": {"delimiter": ";", "encoding": "cp1252"},
    "semicolon, cp1252, quotes": {"delimiter": ";", "encoding": "cp1252"},
    "escape, comment": {"escape": "\\", "comment": "#"},
    "jsonl": {"type": "jsonl"},
    "parquet": {"type": "parquet"},
    "xlsx": {"type": "xlsx"},
}
XLSX_ROWS = 100_000
CLEANING: dict[str, dict[str, dict[str, object]]] = {"comma, one column hashed": {"email": {"hash": {"sha256": None}}}}
"""Format -> column -> how its cells are cleaned. All other columns are as they are."""


def write_files(folder: Path, rows: str) -> dict[str, float]:
    """So many rows in every format."""
    import polars as pl

    write_csv(File(int(rows), first=1), folder / "plain.csv")
    frame = pl.read_csv(folder / "plain.csv", infer_schema=False)
    frame.write_csv(folder / "comma, UTF-8")
    frame.write_csv(folder / "comma, one column hashed")
    frame.write_csv(folder / "escape, comment")
    text = frame.write_csv(separator=";")
    (folder / "semicolon, cp1252").write_bytes(text.encode("cp1252"))
    # As the comma file has them: in its addresses.
    quoted = frame.with_columns(pl.col("address").str.replace(",", ";", literal=True)).write_csv(separator=";")
    (folder / "semicolon, cp1252, quotes").write_bytes(quoted.encode("cp1252"))
    frame.with_columns(pl.col("age", "points").cast(pl.Int64), pl.col("balance", "lifetime_value").cast(pl.Float64),
                       pl.col("is_active") == "true").write_ndjson(folder / "jsonl")  # fmt: skip
    frame.with_columns(pl.col("age", "points").cast(pl.Int64), pl.col("balance").cast(pl.Decimal(12, 2)),
                       pl.col("lifetime_value").cast(pl.Decimal(14, 4)),
                       pl.col("is_active") == "true").write_parquet(folder / "parquet")  # fmt: skip
    from ingest_pipelines_tests.landing.workbooks import workbook

    few = frame.head(XLSX_ROWS).rows()
    numbers = {COLUMNS.index(name) for name in ("age", "points", "balance")}
    cells = [[float(c) if n in numbers and c is not None else c for n, c in enumerate(row)] for row in few]
    (folder / "xlsx").write_bytes(workbook([COLUMNS, *cells]))
    return {"rows": len(frame)}


def measure_one(file: Path, name: str) -> dict[str, float]:
    """Lands and validates the file in this process."""
    from ingest_pipelines.config.imports import Limits
    from ingest_pipelines.landing import land_file
    from ingest_pipelines.model import Item, ItemKey, Workspace
    from ingest_pipelines.pipeline.steps import validate
    from ingest_pipelines.sources import open_upload
    from ingest_pipelines_tests.rules.feeds import bound_import

    key, *others = COLUMNS
    fields = {column: {"type": _TYPES.get(column, "string")} for column in others}
    source = {"connection": "uploads", **({"format": FORMATS[name]} if FORMATS[name] else {})}
    columns = {column: {"field": column, **CLEANING.get(name, {}).get(column, {})} for column in others}
    bound = bound_import(fields, columns={key: "id", **columns}, source=source)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        workspace = Workspace(Path(folder) / "spool", Path(folder) / "spill")
        started, cpu = time.perf_counter(), time.process_time()
        with open_upload(file) as upload:
            item = Item("bench", ItemKey("k"), "upload", uri="bench", path=str(file))
            landing = land_file(item, upload, workspace.spool, Limits())
        validated = validate(landing, bound, workspace)
        assert validated.rejected_rows == 0, validated.samples
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": validated.read, "wall": wall, "cpu": cpu, "peak_mb": peak}


def measure_bare(file: Path, name: str) -> dict[str, float]:
    """The bare read: python-calamine alone."""
    from python_calamine import CalamineWorkbook

    started, cpu = time.perf_counter(), time.process_time()
    with file.open("rb") as opened:
        rows = len(CalamineWorkbook.from_filelike(opened).get_sheet_by_index(0).to_python())
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"rows": rows, "wall": wall, "cpu": cpu, "peak_mb": 0}


def read_one(file: Path, name: str) -> dict[str, float]:
    """Reads the file's rows without validating them."""
    from ingest_pipelines.config.file_format import Format
    from ingest_pipelines.config.imports import Limits
    from ingest_pipelines.landing import land_file, open_rows
    from ingest_pipelines.model import Item, ItemKey
    from ingest_pipelines.sources import open_upload

    with tempfile.TemporaryDirectory(dir=file.parent) as folder, open_upload(file) as upload:
        item = Item("bench", ItemKey("k"), "upload", uri="bench", path=str(file))
        landing = land_file(item, upload, Path(folder), Limits())
        started, cpu, rows = time.perf_counter(), time.process_time(), 0
        with open_rows(landing, COLUMNS, Format.model_validate(FORMATS[name]), Limits()) as (_, frames):
            for frame in frames:
                rows += len(frame)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "rows": rows,
        "wall": wall,
        "cpu": cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


TASKS = (*(("validate", name) for name in FORMATS), ("read", "xlsx"), ("bare", "xlsx"))
"""What is measured, and of which file."""


def compare(rows: int, rounds: int, before: Path | None = None) -> list[dict[str, Any]]:
    """One run per task and round, as the report reads them.

    Args:
        before: another checkout, whose CSV path is measured too.
    """
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: the peak of a process is at least that of the one that started it.
        _process(Path.cwd(), "write", Path(folder), str(rows))
        for number in range(rounds):
            turn = number % len(TASKS)
            for kind, name in TASKS[turn:] + TASKS[:turn]:
                trees = {kind: Path.cwd()}
                if before and (kind, name) == ("validate", COMMA):
                    trees["before"] = before
                for label, tree in trees.items():
                    measured = _process(tree, kind, Path(folder) / name, name)
                    runs.append({"contender": f"{label}: {name}", "round": number, **measured})
    return runs


def measure_formats(bench: Bench, rows: int, rounds: int) -> None:
    """Every format, for the report."""
    load_before = os.getloadavg()[0]
    bench.keep(SCENARIO, "files of every format, landed and validated", rows, load_before, compare(rows, rounds))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures every format in turns and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, whose CSV path is measured too")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "FILE", "FORMAT"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        kind, file, name = given.one
        works = {"validate": measure_one, "read": read_one, "bare": measure_bare, "write": write_files}
        print(json.dumps(works[kind](Path(file), name)))
        return
    from ingest_pipelines_tests.benchmarks.report import Result, formats_table

    facts = {
        "scenario": SCENARIO, "title": "formats", "rows": given.rows, "measured_at": "", "load_before": 0.0,
        "runs": compare(given.rows, given.rounds, given.before),
    }  # fmt: skip
    print("\n".join(formats_table(Result(facts))))


def _process(tree: Path, kind: str, file: Path, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", kind, str(file), name]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return {key: float(value) for key, value in json.loads(done.stdout).items()}


if __name__ == "__main__":
    main()
