"""Bytes to read, landed as an upload is."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.landing import land_file, read_csv
from ingest_pipelines.model import TRIM, Item, ItemKey, Landing
from ingest_pipelines.sources import open_upload


def landed(
    content: bytes,
    folder: Path,
    *,
    name: str = "Customers.csv",
    limits: Limits | None = None,
    member: str | None = None,
) -> Landing:
    """The content, landed from a file of that name in `folder`."""
    path = folder / name
    path.write_bytes(content)
    with open_upload(path) as source:
        item = Item("loyalty", ItemKey("k"), "upload", uri=source.uri(str(path)), path=str(path))
        return land_file(item, source, folder / "spool", limits or Limits(), member)


def read(
    content: bytes, folder: Path, *required: str, limits: Limits | None = None, batch_rows: int = 250_000
) -> tuple[tuple[str, ...], list[pl.DataFrame]]:
    """Header and frames of the content."""
    header, frames = read_csv(
        landed(content, folder, limits=limits), required, limits or Limits(), batch_rows=batch_rows
    )
    return header, [frame.drop(TRIM) for frame in frames]


def rows(content: bytes, folder: Path, *required: str) -> list[tuple[object, ...]]:
    """Every row as (line, cell, cell ...)."""
    return [row for frame in read(content, folder, *required)[1] for row in frame.rows()]
