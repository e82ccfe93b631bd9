"""A wheel has all that a checkout has: `pip install .` leaves out files that setup.py does not name."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_of_the_package_that_is_no_module_is_in_the_wheel() -> None:
    patterns = _package_data()
    included = {path for pattern in patterns for path in (ROOT / "ingest_pipelines").glob(pattern)}
    tracked = subprocess.run(
        ["git", "ls-files", "ingest_pipelines"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.split()
    others = [name for name in tracked if not name.endswith(".py")]
    assert others
    assert [name for name in others if ROOT / name not in included] == []


def _package_data() -> list[str]:
    """The patterns in setup.py, below the package."""
    [setup] = [
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setup"
    ]
    values = {keyword.arg: keyword.value for keyword in setup.keywords}
    patterns: list[str] = ast.literal_eval(values["package_data"])["ingest_pipelines"]
    return patterns
