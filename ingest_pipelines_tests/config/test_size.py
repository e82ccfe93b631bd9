"""What reading a project costs: as many times more as it has more imports."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path

import pytest

from ingest_pipelines.config import read_project
from ingest_pipelines_tests.config.projects import IMPORT, RIGHT, write_project


def calls(folder: Path, imports: int) -> int:
    """Calls of Python functions while a project of so many imports is read; no clock, so no machine is too slow."""
    renamed = "renamed_from: before_{}\n"
    files = {f"imports/import_{n}.yaml": IMPORT + (renamed.format(n) if n % 4 == 0 else "") for n in range(imports)}
    home = write_project(folder / f"of_{imports}", {**RIGHT, **files})
    profile = cProfile.Profile()
    project = profile.runcall(read_project, home)
    assert len(project.imports) >= imports
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_twice_the_imports_take_twice_the_time_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_PW", "x")
    few, many, most = (calls(tmp_path, imports) for imports in (50, 150, 250))
    assert most - many < 1.1 * (many - few)
