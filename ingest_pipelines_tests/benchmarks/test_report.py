"""The page of results holds what was measured, whichever part of it was measured anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ingest_pipelines_tests.benchmarks.formats import COMMA, SCENARIO
from ingest_pipelines_tests.benchmarks.product import WITHOUT_LISTS_PROGRAM
from ingest_pipelines_tests.benchmarks.report import write_page


def test_what_each_format_costs_is_on_the_page_with_its_goal(tmp_path: Path) -> None:
    costs = {
        f"validate: {COMMA}": (1.0, 2.0), "validate: jsonl": (1.5, 2.5), "validate: parquet": (0.8, 1.5),
        "read: xlsx": (3.0, 3.0), "bare: xlsx": (2.0, 2.0),
    }  # fmt: skip
    runs = [
        {"contender": name, "round": number, "rows": 1000.0, "wall": wall + number, "cpu": cpu, "peak_mb": 300.0}
        for name, (wall, cpu) in costs.items()
        for number in (0, 1)
    ]
    facts = {
        "scenario": SCENARIO,
        "title": "formats",
        "rows": 1000,
        "measured_at": "",
        "load_before": 0.5,
        "runs": runs,
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "formats_1000.json").write_text(json.dumps(facts))
    text = write_page(tmp_path / "results", tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == text
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert rows["| validate: jsonl"].endswith("| 1.00 x validate: comma, UTF-8: 1.38 | **no** |")
    assert rows["| validate: parquet"].endswith(": 0.85 | yes |")
    assert rows["| read: xlsx"].endswith("| 2.00 x bare: xlsx: 1.42 | yes |")


def test_a_load_that_asks_for_no_list_finds_what_it_leaves_out() -> None:
    program = WITHOUT_LISTS_PROGRAM.replace("main()", "print('ready')")
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "ready\n"
    )
