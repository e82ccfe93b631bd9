"""What a load does not import: Arrow imports all of pandas for some conversions, half a second of every run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest_pipelines_tests.landing.workbooks import workbook

PROGRAM = """
import json, sys
from pathlib import Path
from ingest_pipelines.merge.copy import repeated
from ingest_pipelines.model import Workspace
from ingest_pipelines.pipeline import land, validate
from ingest_pipelines.sources import open_upload
from ingest_pipelines.sources.files import item_of
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import

folder, file = Path(sys.argv[1]), Path(sys.argv[1]) / "Points"
source = {"connection": "files", "limits": {"max_cell_bytes": 100}, **json.loads(sys.argv[2])}
bound = bound_import(rejects={"unlimited": True}, source=source)
with open_upload(file) as upload:
    item = item_of("loyalty", upload.stat(str(file)), upload.uri(str(file)), kind="upload")
validated = validate(land(item, bound, Workspace(folder, folder), NOW), bound, Workspace(folder, folder))
print(validated.read, validated.rejected_rows, repeated(7, 3).to_pylist(), "pandas" in sys.modules)
"""

QUERY = """
import sys
from pathlib import Path
import polars as pl
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.landing import land_query
from ingest_pipelines.model import Item, ItemKey

rows = pl.DataFrame({"id": range(51), "text": ["a" * 2_000_000] * 50 + [None]}).to_arrow().to_batches()
item = Item("tills", ItemKey("tills-1"), "window", uri="postgresql://shop")
limits = Limits(max_cell_bytes=2_000_000)
print(land_query(item, iter(rows), ["id", "text"], Path(sys.argv[1]), limits).rows, "pandas" in sys.modules)
"""

ROWS: list[dict[str, Any]] = [*({"CID": f"c{number}", "Tier": "two\nlines", "Points": number} for number in range(50)),
        {"CID": "x", "Tier": None, "Points": "many"}]  # fmt: skip


def _said(program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    ).stdout


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _parquet(path: Path) -> None:
    pl.DataFrame([{**row, "Points": str(row["Points"])} for row in ROWS]).write_parquet(path)


def _csv() -> bytes:
    rows = "".join(f'c{number},"two\nlines",{number}\n' for number in range(50))
    return f"CID,Tier,Points\n{rows}x,,many\n".encode()


FILES: dict[str, bytes] = {
    "csv": _csv(),
    "jsonl": _jsonl(ROWS),
    "xlsx": workbook([["CID", "Tier", "Points"], *(list(row.values()) for row in ROWS)]),
}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "xlsx"])
def test_cells_with_line_breaks_and_rejects_need_no_pandas(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "Points"
    if kind == "parquet":
        _parquet(path)
    else:
        path.write_bytes(FILES[kind])
    source = {} if kind == "csv" else {"format": {"type": kind}}
    assert _said(PROGRAM, str(tmp_path), json.dumps(source)) == "51 1 [7, 7, 7] False\n"


def test_rows_of_a_query_need_no_pandas(tmp_path: Path) -> None:
    assert _said(QUERY, str(tmp_path)) == "51 False\n"
