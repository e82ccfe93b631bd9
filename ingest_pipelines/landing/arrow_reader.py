"""Reads a landed Arrow stream as typed frames with row numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import polars as pl
import pyarrow as pa

from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing.edges import trim_column
from ingest_pipelines.landing.frames import BATCH_BYTES, BATCH_ROWS, Frames
from ingest_pipelines.model import LINE, Landing


def read_arrow(
    landing: Landing, required_columns: Sequence[str], *, batch_rows: int = BATCH_ROWS
) -> tuple[tuple[str, ...], Frames]:
    """The result's columns, and its rows as frames of about `batch_rows`.

    Columns of a frame: LINE (Int64: the row's number, from 1), TRIM, then every column of the result under its name
    and with its type. NULL is NULL; an empty text stays empty.

    Raises:
        ItemRefused: a required column is missing: the mapping changed after the item landed.
    """
    with pa.OSFile(str(landing.path)) as file, pa.ipc.open_stream(file) as stream:
        columns = tuple(stream.schema.names)
    missing = [name for name in required_columns if name not in columns]
    if missing:
        raise ItemRefused(
            f"import {landing.item.import_name}, item {landing.item.key}: it was read without {', '.join(missing)}",
            hint="the mapping has changed since then; run the import again",
        )
    return columns, Frames(partial(_frames, landing, batch_rows), partial(_some_columns, landing))


def _frames(landing: Landing, batch_rows: int) -> Iterator[pl.DataFrame]:
    line = 1
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    # Not memory-mapped: the pages of a large result would count as this process's memory.
    with pa.OSFile(str(landing.path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            waiting.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if rows >= batch_rows or size >= BATCH_BYTES:
                yield _frame(waiting, line)
                line += rows
                waiting, rows, size = [], 0, 0
        if rows:
            yield _frame(waiting, line)


def _some_columns(landing: Landing, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    with pa.OSFile(str(landing.path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            if batch.num_rows:
                some = batch.select(list(columns))
                yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([some]))).insert_column(0, trim_column([some]))


def _frame(batches: list[pa.RecordBatch], line: int) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(frame, pl.DataFrame)
    lines = pl.int_range(line, line + len(frame), dtype=pl.Int64, eager=True).alias(LINE)
    return frame.insert_column(0, lines).insert_column(1, trim_column(batches))
