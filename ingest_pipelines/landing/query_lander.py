"""Writes a query's rows to local disk: an Arrow stream named by the hash of its content, in bounded memory."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.cursor.chunk import Chunk, ChunkEnd
from ingest_pipelines.cursor.column import spelled_by
from ingest_pipelines.errors import ItemRefused, Unavailable, printable
from ingest_pipelines.landing.arrow_types import plain_batch, plain_schema
from ingest_pipelines.model import OWN_COLUMNS, Item, Landing
from ingest_pipelines.owner_only import private_folder

ROWS = 50_000
BATCH_BYTES = 32 << 20
"""A landed batch has so many rows, or fewer of together so many bytes, if that comes first. Its end depends on the rows
alone, so that the hash does not depend on how the network split the result."""


def land_query(
    item: Item,
    batches: Iterable[pa.RecordBatch],
    required_columns: Sequence[str],
    spool: Path,
    limits: Limits,
    chunk: Chunk | None = None,
) -> Landing:
    """The rows in `spool`, named by their hash; `content_sha256` covers types and values only.

    Result columns that differ from the mapping only in upper and lower case get the mapping's spelling.

    Args:
        batches: at least one, all of one schema. Nothing is written before its columns are checked.
        chunk: for cursor items. Rows beyond the chunk's end are left for the next chunk.

    Raises:
        ItemRefused: a column is missing or occurs twice, or a limit is exceeded.
        CursorStuck: the chunk's cursor has no values, or does not grow.
    """
    where = f"import {printable(item.import_name)}, item {item.key}"
    private_folder(spool)
    handle, name = tempfile.mkstemp(prefix=".landing-", dir=spool)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            return _land(item, iter(batches), required_columns, _Sink(file, limits, where), temporary, chunk, where)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise Unavailable(f"{where}: no space left in {spool}", hint="free disk space and run again") from None
    finally:
        temporary.unlink(missing_ok=True)


def _land(
    item: Item,
    batches: Iterator[pa.RecordBatch],
    required_columns: Sequence[str],
    sink: _Sink,
    temporary: Path,
    chunk: Chunk | None,
    where: str,
) -> Landing:
    first = next(batches)
    wanted = (*required_columns, *([chunk.column] if chunk else []))
    schema = _named(plain_schema(first.schema), wanted, sink.limits, where)
    end = ChunkEnd(chunk, where, spelled_by(first.schema.field(schema.names.index(chunk.column)))) if chunk else None
    rows = 0
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema) as writer:
        for batch in _even(_checked(_chain(first, batches), schema, end, sink.limits, where), schema):
            writer.write_batch(batch)
            rows += batch.num_rows
    reached = end.reached() if end else None
    path = temporary.parent / f"{sink.digest.hexdigest()}.arrow"
    sink.file.flush()
    temporary.replace(path)
    return Landing(
        item=item,
        path=path,
        format="arrow",
        content_sha256=sink.digest.hexdigest(),
        bytes=sink.bytes,
        cursor_to=reached,
        rows=rows,
        cursor_committed=end.committed() if end else None,
        cut=end is not None and end.cut,
    )


class _Sink:
    """A file that is hashed and counted as it is written, and that enforces the size limit."""

    closed = False

    def __init__(self, file: IO[bytes], limits: Limits, where: str) -> None:
        self.file = file
        self.limits = limits
        self._where = where
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        """Adds the bytes."""
        self.bytes += len(data)
        if self.bytes > self.limits.max_bytes:
            raise ItemRefused(
                f"{self._where}: the result is larger than {self.limits.max_bytes:,} bytes",
                hint="read it in chunks (cursor, window), select fewer columns, or raise source.limits.max_bytes",
            )
        self.digest.update(data)
        self.file.write(data)
        return len(data)

    def flush(self) -> None:
        """Does nothing: there is no buffer."""

    def close(self) -> None:
        """Does nothing: the caller closes the file."""


def _named(schema: pa.Schema, wanted: Sequence[str], limits: Limits, where: str) -> pa.Schema:
    """The schema with the mapping's spelling of its columns' names."""
    names = list(schema.names)
    if len(names) > limits.max_columns:
        raise ItemRefused(
            f"{where}: the result has {len(names):,} columns; source.limits.max_columns is {limits.max_columns}",
            hint="select only the mapped columns",
        )
    for name in wanted:
        alike = [number for number, result_name in enumerate(names) if result_name.lower() == name.lower()]
        if name not in names and len(alike) == 1:
            names[alike[0]] = name
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ItemRefused(
            f"{where}: the result has several columns named {', '.join(map(printable, doubled))}",
            hint="give each its own name in the query: SELECT a.id AS id, b.id AS other_id",
        )
    missing = [name for name in dict.fromkeys(wanted) if name not in names]
    own = [name for name in OWN_COLUMNS if name in names]
    if missing or own:
        raise ItemRefused(
            f"{where}: the result has no column {', '.join(map(printable, missing))}; "
            f"it has {', '.join(map(printable, names))}"
            if missing
            else f"{where}: the result has a column '{own[0]}'; this name is reserved",
            hint="name the columns in the query as the mapping does: SELECT ... AS name",
        )
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def _chain(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _checked(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, end: ChunkEnd | None, limits: Limits, where: str
) -> Iterator[pa.RecordBatch]:
    row = 0
    for batch in batches:
        plain = plain_batch(batch, schema)
        for name, column in zip(schema.names, plain.columns, strict=True):
            if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
                _no_huge_cell(column, name, row, limits, where)
        row += len(plain)
        if end is None:
            yield plain
        else:
            yield from end.take(plain)
    if end is not None:
        yield from end.rest()


def _no_huge_cell(column: pa.Array, name: str, row: int, limits: Limits, where: str) -> None:
    lengths = pc.binary_length(column)
    longest = pc.max(lengths).as_py() or 0
    if longest > limits.max_cell_bytes:
        place = pc.index(lengths, pa.scalar(longest, lengths.type)).as_py()
        raise ItemRefused(
            f"{where}: row {row + place + 1} has {longest:,} bytes in '{printable(name)}'; at most "
            f"{limits.max_cell_bytes:,}",
            line=row + place + 1,
            hint="shorten the column in the query, or raise source.limits.max_cell_bytes",
        )


def _even(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ROWS, or of BATCH_BYTES where rows are wide."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        while rows >= ROWS or size > BATCH_BYTES:
            whole = pa.Table.from_batches(waiting, schema)
            end = _end_of_batch(whole)
            if end is None:
                break
            yield _own(whole.slice(0, end), schema)
            rest = whole.slice(end)
            waiting, rows, size = rest.to_batches(), rest.num_rows, rest.nbytes
    if rows:
        yield _own(pa.Table.from_batches(waiting, schema), schema)


def _end_of_batch(rows: pa.Table) -> int | None:
    """How many of the rows a batch takes: ROWS, or as many as BATCH_BYTES hold, at least one; None: more may follow."""
    rows = rows.slice(0, ROWS)
    if rows.nbytes > BATCH_BYTES:
        past = np.flatnonzero(np.cumsum(_widths(rows)) > BATCH_BYTES)
        if len(past):
            return max(1, int(past[0]))
    return ROWS if rows.num_rows == ROWS else None


def _widths(rows: pa.Table) -> NDArray[np.int64]:
    """Bytes of each row's texts. Numbers are not counted: those of ROWS never fill a memory."""
    widths = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            widths += pl.Series(pc.binary_length(column)).fill_null(0).to_numpy()
    return widths


def _own(rows: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    """The rows in buffers of their own: a slice's buffers hold other rows as well, which would be hashed too.

    Arrow copies if it gets a second array, even an empty one; with one array it returns that.
    """
    arrays = [
        pa.concat_arrays([*column.chunks, pa.nulls(0, field.type)])
        for column, field in zip(rows.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
