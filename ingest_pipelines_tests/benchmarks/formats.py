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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ingest_pipelines_tests.benchmarks.generate import COLUMNS, File, write_csv

_TYPES = {
    "age": "int", "points": "int", "balance": "decimal(12,2)", "lifetime_value": "decimal(14,4)",
    "birth_date": "date", "last_purchase_at": "datetime", "is_active": "bool",
}  # fmt: skip
FORMATS: dict[str, dict[str, object]] = {
    "comma, UTF-8": {},
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


def write_files(folder: Path, rows: int) -> None:
    """The rows in every format."""
    import polars as pl

    write_csv(File(rows, first=1), folder / "plain.csv")
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


def measure_bare(file: Path) -> dict[str, float]:
    """python-calamine alone."""
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
        work = {"validate": measure_one, "read": read_one}.get(kind)
        print(json.dumps(work(Path(file), name) if work else measure_bare(Path(file))))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), given.rows)
        tasks = [("validate", name) for name in FORMATS] + [("read", "xlsx"), ("bare", "xlsx")]
        runs: dict[tuple[str, str], list[dict[str, float]]] = {}
        for number in range(given.rounds):
            turn = number % len(tasks)
            for kind, name in tasks[turn:] + tasks[:turn]:
                runs.setdefault((kind, name), []).append(_process(Path.cwd(), kind, Path(folder) / name, name))
                if given.before and (kind, name) == ("validate", "comma, UTF-8"):
                    before = _process(given.before, kind, Path(folder) / name, name)
                    runs.setdefault(("before", name), []).append(before)
    base = _median(runs["validate", "comma, UTF-8"], "cpu")
    print(f"{'':36}{'rows':>10}{'wall s':>8}{'CPU s':>8}{'MB':>7}{'CPU us/row':>12}{'/ comma':>9}")
    for (kind, name), measured in runs.items():
        rows, cpu = _median(measured, "rows"), _median(measured, "cpu")
        ratio = cpu / rows / (base / _median(runs["validate", "comma, UTF-8"], "rows"))
        wall, peak = _median(measured, "wall"), _median(measured, "peak_mb")
        print(
            f"{kind + ': ' + name:36}{rows:>10,.0f}{wall:8.2f}{cpu:8.2f}{peak:7.0f}{cpu / rows * 1e6:12.2f}{ratio:9.2f}"
        )


def _process(tree: Path, kind: str, file: Path, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", kind, str(file), name]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return {key: float(value) for key, value in json.loads(done.stdout).items()}


def _median(measured: Sequence[dict[str, float]], fact: str) -> float:
    return statistics.median(run[fact] for run in measured)


if __name__ == "__main__":
    main()
