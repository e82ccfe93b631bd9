"""A process that runs for long knows the project as it is now: its files, and which of its secrets are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingest_pipelines.config.current_project import read_current_project, stamp_of
from ingest_pipelines_tests.config.projects import CONNECTIONS, RIGHT, write_project

SPELLINGS = (
    "{file: PLACE}",
    '{"file": "PLACE"}',
    "{ file : 'PLACE' }  # the vendor's",
    "\n      file: PLACE",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", ["{home}/secrets/of vendor", "secrets/vendor"])
def test_a_secret_file_that_comes_or_goes_is_seen_without_an_edit(tmp_path: Path, spelling: str, place: str) -> None:
    secret = tmp_path / ("secrets/vendor" if place == "secrets/vendor" else "secrets/of vendor")
    password = spelling.replace("PLACE", place.format(home=tmp_path))
    connections = CONNECTIONS.replace("password: {env: VENDOR_PW}", f"password: {password}", 1)
    home = write_project(
        tmp_path, {**RIGHT, "connections.yaml": connections.replace("{env: VENDOR_PW}", "{env: HOME}")}
    )
    assert "loyalty" in read_current_project(home).broken
    secret.parent.mkdir()
    secret.write_text("first")
    there = read_current_project(home)
    assert "loyalty" in there.imports, there.mistakes
    secret.write_text("another value")
    assert read_current_project(home) is there, "the value is read when it is used"
    secret.unlink()
    assert "loyalty" in read_current_project(home).broken


def test_a_variable_that_comes_or_goes_is_seen_without_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = write_project(tmp_path, RIGHT)
    monkeypatch.delenv("VENDOR_PW", raising=False)
    before = stamp_of(home)
    assert "loyalty" in read_current_project(home).broken
    monkeypatch.setenv("VENDOR_PW", "first")
    assert "loyalty" in read_current_project(home).imports
    assert stamp_of(home) != before
    monkeypatch.delenv("VENDOR_PW")
    assert stamp_of(home) == before
    assert "loyalty" in read_current_project(home).broken


def test_a_project_without_files_has_no_stamp_whatever_the_environment_has(tmp_path: Path) -> None:
    assert os.environ
    assert stamp_of(tmp_path) == ()
