"""A query's result as rules get it: landed as Arrow, read again as frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import polars as pl

from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.landing import land_query, read_arrow
from ingest_pipelines.model import TRIM, Item, ItemKey
from ingest_pipelines.sources import open_query

Landed = Callable[[Connection, str, Sequence[str]], pl.DataFrame]


def land(spool: Path, connection: Connection, query: str, columns: Sequence[str]) -> pl.DataFrame:
    """All rows, with their numbers."""
    item = Item("contract", ItemKey("contract-1"), "query", uri="")
    with open_query(connection) as source, closing(source.batches(query, {})) as batches:
        landing = land_query(item, batches, columns, spool, Limits())
    _, frames = read_arrow(landing, columns)
    found = list(frames)
    assert sum(map(len, found)) == landing.rows
    return pl.concat(found).drop(TRIM) if found else pl.DataFrame()
