"""The file's name and its time as columns beside its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import PurePosixPath

import polars as pl

from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing.frames import Frames
from ingest_pipelines.model import DELIVERED_AT, FILE_NAME, Item, Landing


def add_item_columns(
    landing: Landing, header: tuple[str, ...], frames: Frames, wanted: Sequence[str]
) -> tuple[tuple[str, ...], Frames]:
    """Header and frames with these of ITEM_COLUMNS behind the item's own.

    The rows of a replay have them already, as they were when the rows were rejected.

    Raises:
        ItemRefused: a file has a column of such a name.
    """
    there = [name for name in wanted if name in header]
    if there and landing.item.kind != "replay":
        raise ItemRefused(
            f"{landing.item.uri}, line 1: the header has a column '{there[0]}', which the import does not read from "
            "the file",
            line=1,
            hint="rename the column, or leave it out of the import's columns",
        )
    cells = {name: _cell(landing.item, name) for name in wanted if name not in header}
    if not cells:
        return header, frames

    def read() -> Iterator[pl.DataFrame]:
        for frame in frames.read():
            yield _with(frame, cells)

    def read_only(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        asked = {name: text for name, text in cells.items() if name in columns}
        for frame in frames.read_only([name for name in columns if name not in cells]):
            yield _with(frame, asked)

    return (*header, *cells), Frames(read, read_only)


def _with(frame: pl.DataFrame, cells: dict[str, str | None]) -> pl.DataFrame:
    return frame.with_columns(pl.lit(text, dtype=pl.String).alias(name) for name, text in cells.items())


def _cell(item: Item, name: str) -> str | None:
    if name == FILE_NAME:
        return PurePosixPath(item.path).name
    assert name == DELIVERED_AT
    return item.modified_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if item.modified_at else None
