"""Binary COPY of spill files to Postgres: Arrow batches are encoded in Rust, never row by row in Python."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from pathlib import Path

import pgpq
import psycopg
import pyarrow as pa
from pgpq.encoders import (
    LargeStringEncoderBuilder,
    StringEncoderBuilder,
    StringViewEncoderBuilder,
)
from pgpq.schema import Jsonb
from psycopg import sql

from ingest_pipelines.errors import InternalError
from ingest_pipelines.merge.stage import Stage, StageColumn

ROWS = 32_768
"""Rows encoded at a time: a few megabytes, however large the batches of a spill file are."""

BYTES = 32 << 20
"""Rows that are very wide are encoded in smaller numbers."""

CREATED = sql.SQL("COPY ingest_created (profiles, keys) FROM STDIN (FORMAT binary)")

UNMATCHED = sql.SQL("COPY ingest_unmatched (line, key) FROM STDIN (FORMAT binary)")

_REJECT_COLUMNS = ("line", "key", "field", "code", "reason", "row")


def copy_accepted(
    connection: psycopg.Connection,
    rows: Iterable[pa.RecordBatch],
    stage: Stage,
    after_batch: Callable[[], None],
) -> int:
    """Copies accepted rows into the stage; returns how many the server counted.

    Args:
        rows: with the columns of a sorted chunk.
        after_batch: called after each batch handed to the server.
    """
    return _copy_columns(connection, rows, stage.copied, stage.copy(), after_batch)


def copy_profiles(
    connection: psycopg.Connection,
    rows: Iterable[pa.RecordBatch],
    stage: Stage,
    after_batch: Callable[[], None],
) -> int:
    """Copies accepted rows into the target as new profiles; returns how many the server counted.

    Args:
        rows: with the columns of a sorted chunk and PROFILE_ID.
        after_batch: called after each batch handed to the server.
    """
    return _copy_columns(connection, rows, stage.profiles, stage.copy_profiles(), after_batch)


def copy_created(connection: psycopg.Connection, batches: Iterable[pa.RecordBatch]) -> None:
    """Copies numbers and keys of new profiles, as lists, into `ingest_created`."""
    _copy(connection, CREATED, batches, frozenset(), lambda: None)


def copy_unmatched(connection: psycopg.Connection, batches: Iterable[pa.RecordBatch]) -> None:
    """Copies line and key of rows without a profile into `ingest_unmatched`."""
    _copy(connection, UNMATCHED, batches, frozenset(), lambda: None)


def rows_of(files: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """All rows of the spill files."""
    for file in files:
        yield from _batches(file)


def _copy_columns(
    connection: psycopg.Connection,
    rows: Iterable[pa.RecordBatch],
    columns: Iterable[StageColumn],
    statement: sql.Composed,
    after_batch: Callable[[], None],
) -> int:
    chosen = tuple(columns)
    frames = [column.frame for column in chosen]
    jsonb = frozenset(column.frame for column in chosen if column.json)
    return _copy(connection, statement, (batch.select(frames) for batch in rows), jsonb, after_batch)


def copy_rejects(connection: psycopg.Connection, file: Path, load: int) -> int:
    """Copies the rejects into `ingest.rejects`, with the load's number; returns how many records."""
    names = ["load", *_REJECT_COLUMNS]
    batches = (
        pa.RecordBatch.from_arrays(
            [repeated(load, batch.num_rows), *(batch.column(name) for name in _REJECT_COLUMNS)], names=names
        )
        for batch in _batches(file)
    )
    statement = sql.SQL("COPY ingest.rejects ({}) FROM STDIN (FORMAT binary)").format(
        sql.SQL(", ").join(sql.Identifier(name) for name in names)
    )
    return _copy(connection, statement, batches, frozenset(), lambda: None)


def repeated(number: int, times: int) -> pa.Array:
    """A column of one number. From a scalar, Arrow would import pandas first, which takes half a second."""
    return pa.Array.from_buffers(pa.int64(), times, [None, pa.py_buffer(array("q", [number]) * times)])


def _copy(
    connection: psycopg.Connection,
    statement: sql.SQL | sql.Composed,
    batches: Iterable[pa.RecordBatch],
    jsonb: frozenset[str],
    after_batch: Callable[[], None],
) -> int:
    encoder: pgpq.ArrowToPostgresBinaryEncoder | None = None
    schema: pa.Schema | None = None
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for batch in batches:
                if encoder is None:
                    schema = batch.schema
                    encoder = _encoder(batch.schema, jsonb)
                    copy.write(encoder.write_header())
                elif batch.schema != schema:
                    raise InternalError("the spill files of one item differ in their columns or types")
                at_once = max(1, min(ROWS, BYTES * batch.num_rows // max(1, batch.nbytes)))
                for start in range(0, batch.num_rows, at_once):
                    copy.write(encoder.write_batch(batch.slice(start, at_once)))
                    after_batch()
            if encoder is None:
                copy.write(_EMPTY)
            else:
                copy.write(encoder.finish())
        return cursor.rowcount


_EMPTY = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"
"""A binary COPY of no rows: signature, flags, header length, trailer."""


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """The file's batches, mapped into memory.

    The pages of a batch are given back once the next one is asked for: a file of any size takes the memory of one.
    """
    with file.open("rb") as opened:
        pages = mmap(opened.fileno(), 0, access=ACCESS_READ)
    reader = pa.ipc.open_file(pa.py_buffer(pages))
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)
        pages.madvise(MADV_DONTNEED)


def _encoder(schema: pa.Schema, jsonb: frozenset[str]) -> pgpq.ArrowToPostgresBinaryEncoder:
    """The encoder of the batches; JSON text becomes jsonb, which is the same bytes after a version number."""
    encoders = {field.name: pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field) for field in schema}
    for name in jsonb:
        encoders[name] = _text_builder(schema.field(name).type).new_with_output(schema.field(name), Jsonb())
    return pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)


def _text_builder(
    kind: pa.DataType,
) -> type[StringEncoderBuilder] | type[LargeStringEncoderBuilder] | type[StringViewEncoderBuilder]:
    if kind == pa.string_view():
        return StringViewEncoderBuilder
    return LargeStringEncoderBuilder if kind == pa.large_string() else StringEncoderBuilder
