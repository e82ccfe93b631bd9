"""Reads a landed Parquet file as typed frames with row numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing.arrow_types import plain_batch, plain_schema
from ingest_pipelines.landing.cell_caps import check_cells, check_columns
from ingest_pipelines.landing.edges import trim_column
from ingest_pipelines.landing.frames import BATCH_BYTES, BATCH_ROWS, Frames
from ingest_pipelines.landing.header import Spellings
from ingest_pipelines.landing.parquet_pages import bytes_of_pages
from ingest_pipelines.model import LINE, Landing

BUFFER = 1 << 20
"""Bytes of a column that are read at a time; else a whole column of a row group is in memory."""


LARGEST_PAGES = 256 << 20
"""A page is in memory as a whole, and so is one page of each column at a time."""


def read_parquet(
    landing: Landing,
    required_columns: Sequence[str],
    spellings: Spellings,
    limits: Limits,
    *,
    batch_rows: int = BATCH_ROWS,
) -> tuple[tuple[str, ...], Frames]:
    """The file's columns, and its rows as frames: LINE (the row's number, from 1), TRIM, the columns with their types.

    Raises:
        ItemRefused: not a Parquet file, damaged, encrypted; a column is missing or occurs twice; a limit is exceeded;
            its pages do not fit into memory.
    """
    try:
        with _opened(landing) as file:
            schema = file.schema_arrow
            pages = bytes_of_pages(landing.path, file.metadata)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(landing, error) from None
    if pages > LARGEST_PAGES:
        raise ItemRefused(
            f"{landing.item.uri}: the largest pages of its columns need {pages >> 20:,} MB of memory together; at most "
            f"{LARGEST_PAGES >> 20} MB are allowed",
            hint="write the file again with pages of 1 MB, which is usual, or with fewer rows in a row group",
        )
    check_columns(landing, schema.names, required_columns, spellings, limits)
    return tuple(schema.names), Frames(
        partial(_frames, landing, limits, batch_rows), partial(_some_columns, landing, limits, batch_rows)
    )


def _opened(landing: Landing) -> pq.ParquetFile:
    return pq.ParquetFile(landing.path, buffer_size=BUFFER, pre_buffer=False, memory_map=False)


def _unreadable(landing: Landing, error: Exception) -> ItemRefused:
    # Arrow's own message may show what is in the file.
    if "deeply nested" in str(error):
        return ItemRefused(
            f"{landing.item.uri}: a column has lists, structs or maps that are nested too deep: 100 levels can be read",
            hint="write the value as text, or leave the column out of the file",
        )
    encrypted = "encrypt" in str(error).lower()
    return ItemRefused(
        f"{landing.item.uri}: it {'is encrypted' if encrypted else 'cannot be read as a Parquet file'}",
        hint="is source.format.type right? Else write the file again, without encryption, and upload it",
    )


def _batches(
    landing: Landing, limits: Limits, batch_rows: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    total = 0
    try:
        with _opened(landing) as file:
            wide = max(1, sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)))
            rows = max(1, min(batch_rows, BATCH_BYTES * max(1, file.metadata.num_rows) // wide))
            schema: pa.Schema | None = None
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                total += batch.nbytes
                if total > limits.max_bytes:
                    raise ItemRefused(
                        f"{landing.item.uri}: its rows are larger than {limits.max_bytes:,} bytes",
                        hint="split the file, or raise source.limits.max_bytes",
                    )
                for column in batch.columns:
                    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                        column.validate(full=True)
                schema = schema or plain_schema(batch.schema)
                if batch.num_rows:
                    yield plain_batch(batch, schema)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(landing, error) from None


def _frames(landing: Landing, limits: Limits, batch_rows: int) -> Iterator[pl.DataFrame]:
    line = 1
    for batch in _batches(landing, limits, batch_rows, None):
        check_cells(landing, batch, range(line, line + batch.num_rows), limits)
        frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
        lines = pl.int_range(line, line + len(frame), dtype=pl.Int64, eager=True).alias(LINE)
        line += len(frame)
        yield frame.insert_column(0, lines).insert_column(1, trim_column([batch]))


def _some_columns(landing: Landing, limits: Limits, batch_rows: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    try:
        for batch in _batches(landing, limits, batch_rows, list(columns)):
            some = batch.select(list(columns))
            yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([some]))).insert_column(0, trim_column([some]))
    except ItemRefused:
        return
