"""`_file` and `_delivered_at`: the file's name and time beside its own columns, in every way that frames are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import read_csv
from ingest_pipelines.landing.frames import Frames
from ingest_pipelines.landing.item_columns import add_item_columns
from ingest_pipelines.model import ITEM_COLUMNS, Landing
from ingest_pipelines_tests.landing.files import landed

WHEN = datetime(2026, 11, 29, 6, 0, 0, 5, tzinfo=UTC)


def landing_of(text: str, folder: Path, kind: str = "file") -> Landing:
    landing = landed(text.encode(), folder, name="Über uns_7.csv")
    item = replace(landing.item, kind=kind, modified_at=WHEN)  # type: ignore[arg-type]  # one of ItemKind
    return replace(landing, item=item)


def opened(landing: Landing, *required: str) -> tuple[tuple[str, ...], Frames]:
    header, frames = read_csv(landing, required, Limits(), batch_rows=1)
    return add_item_columns(landing, header, frames, ITEM_COLUMNS)


def test_every_row_has_them_whichever_columns_are_read_and_however_often(tmp_path: Path) -> None:
    header, frames = opened(landing_of("id,n\na,1\nb,2\n", tmp_path), "id")
    assert header == ("id", "n", *ITEM_COLUMNS)
    added = ("Über uns_7.csv", "2026-11-29T06:00:00.000005Z")
    for _ in range(2):
        rows = [row for frame in frames for row in frame.select(header).rows()]
        assert rows == [("a", "1", *added), ("b", "2", *added)]
    some = [row for frame in frames.read_only(["n", "_file"]) for row in frame.select("n", "_file").rows()]
    assert some == [("1", added[0]), ("2", added[0])]


def test_a_replays_rows_keep_those_of_the_file_that_they_came_from(tmp_path: Path) -> None:
    text = "id,_file,_delivered_at\na,First.csv,2026-01-01T00:00:00Z\n"
    header, frames = opened(landing_of(text, tmp_path, kind="replay"), "id")
    assert header == ("id", *ITEM_COLUMNS)
    assert [row for frame in frames for row in frame.select(header).rows()] == [
        ("a", "First.csv", "2026-01-01T00:00:00Z")
    ]


@pytest.mark.parametrize("name", ITEM_COLUMNS)
def test_a_file_with_a_column_of_that_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ItemRefused, match=name):
        opened(landing_of(f"id,{name}\na,b\n", tmp_path), "id")


def test_a_file_without_a_row_has_them_too(tmp_path: Path) -> None:
    header, frames = opened(landing_of("id\n", tmp_path), "id")
    assert header == ("id", *ITEM_COLUMNS)
    assert list(frames) == []
