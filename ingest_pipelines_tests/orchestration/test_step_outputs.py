"""A step's output is read by the version that wrote it, or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ingest_pipelines.model import Item, ItemKey, Landing
from ingest_pipelines.orchestration.io_managers.step_outputs import read_handle, write_handle

LANDING = Landing(Item("loyalty", ItemKey("a.csv"), "file", uri="file:///a.csv"), Path("a.csv"), "csv", "00", 3)


def test_an_output_comes_back_as_it_was(tmp_path: Path) -> None:
    write_handle(tmp_path, "run-1", "land", LANDING)
    assert read_handle(tmp_path, "run-1", "land") == LANDING


@pytest.mark.parametrize("start", [b"", b"\0" * 8], ids=["before there were versions", "of other fields"])
def test_an_output_of_another_version_is_as_good_as_gone(tmp_path: Path, start: bytes) -> None:
    write_handle(tmp_path, "run-1", "land", LANDING)
    (tmp_path / "run-1" / "land.handle").write_bytes(start + pickle.dumps(LANDING))
    with pytest.raises(FileNotFoundError, match="another version"):
        read_handle(tmp_path, "run-1", "land")
