"""A Bloom filter over the target's keys: rows that are certainly new need no MERGE. The rest are merged.

A load that adds profiles copies such rows into the table: the MERGE would cost twice as much (docs/performance.md). A
load that only updates counts them as unmatched, and does not even stage them.

The filter keeps a bit per hash, so it may report a new key as existing; that row is merged. It is read in one snapshot,
so it knows every key that the table had at that moment. A key that another application adds later:

- breaks the key's constraint where the row is copied, and the load begins again with a MERGE. So does a key that is
  spelled differently.
- is as good as added after the load where the row is only counted. Keys of such a table must have one spelling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from ingest_pipelines.ledger.events import BATCH
from ingest_pipelines.merge.names import PROFILE_ID, table_name
from ingest_pipelines.merge.shape import TableColumn, TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.target import scalar
from ingest_pipelines.model import LINE

KEY_TYPES = frozenset({"string", "int"})
"""Types whose values Postgres and Polars write as the same text."""

ONE_SPELLING = frozenset({"text", "character varying", "bigint", "integer", "smallint"})
"""Types of columns in which equal keys are the same text; preflight refuses a collation that takes others for equal."""

BITS_PER_KEY = 16
"""At most one in sixteen new keys is reported as existing."""
_MOST_BITS = 1 << 29
"""64 MB: the size from 32 million keys on."""

PAGES_AT_ONCE = 1_024
"""Pages of the target read at once: 8 MB, with about a megabyte of keys."""
_SEPARATOR = "\x01"

SAMPLE = 1_000
"""Keys looked up to estimate the share of new rows."""
WORTH_READING = 5
"""The filter is read if at least one row is new per this many rows of the target: reading a key costs a fifth of what
copying a row saves."""

_SLICE_ROWS = 32_768


@dataclass(frozen=True)
class KeyFilter:
    """A Bloom filter over the keys of a target.

    Attributes:
        column: the key's column in a sorted chunk.
        sequence: numbers the target's profiles; "" where none are added.
        bits: the bit at the position of each key's hash is set. Their number is a power of two, or 0 for an empty
            target, to which every key is new.
    """

    column: str
    sequence: str
    bits: NDArray[np.uint8]

    def add(self, keys: pl.Series) -> None:
        """Adds keys that the target has."""
        positions = self._positions(keys)
        for bit in range(8):
            self.bits[positions[positions & 7 == bit] >> 3] |= 1 << bit

    def new(self, keys: pl.Series) -> pl.Series:
        """Which of the keys are certainly new."""
        if not len(self.bits):
            return pl.repeat(True, len(keys), eager=True)
        positions = self._positions(keys)
        return pl.Series(self.bits[positions >> 3] >> (positions & 7) & 1 == 0)

    def split(self, chunk: Path) -> tuple[ChunkRows, ChunkRows]:
        """The chunk's rows with certainly new keys, and its others."""
        frame = _memory_mapped(chunk)
        new = self.new(frame[self.column])
        return ChunkRows(frame, new), ChunkRows(frame, ~new)

    def _positions(self, keys: pl.Series) -> NDArray[np.int64]:
        upper = np.uint64(65 - (len(self.bits) * 8).bit_length())
        return (keys.cast(pl.String).hash().to_numpy() >> upper).astype(np.int64)


@dataclass(frozen=True)
class ChunkRows:
    """Some rows of a sorted chunk: those of `frame` where `chosen` is true."""

    frame: pl.DataFrame
    chosen: pl.Series

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the order of the chunk."""
        for rows in self._slices():
            yield from rows.to_arrow().to_batches()

    def numbered(self, numbers: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """The rows, each with a number as its PROFILE_ID."""
        at = 0
        for rows in self._slices():
            yield from rows.with_columns(pl.Series(PROFILE_ID, numbers[at : at + len(rows)])).to_arrow().to_batches()
            at += len(rows)

    def first(self, count: int, key: str) -> Iterator[pa.RecordBatch]:
        """Line and key of the rows that come first in the item."""
        rows = self.frame.select(LINE, pl.col(key).cast(pl.String).alias("key")).filter(self.chosen)
        yield from rows.bottom_k(count, by=LINE).to_arrow().to_batches()

    def created(self, numbers: NDArray[np.int64], key: str) -> Iterator[pa.RecordBatch]:
        """The profiles' numbers and keys for their events, as lists of at most BATCH."""
        pairs = pl.DataFrame(
            {"profiles": numbers, "keys": self.frame[key].filter(self.chosen).cast(pl.String)}
        ).with_columns(pl.int_range(pl.len()).floordiv(BATCH).alias("batch"))
        lists = pairs.group_by("batch", maintain_order=True).agg("profiles", "keys").drop("batch")
        yield from lists.to_arrow().to_batches()

    def _slices(self) -> Iterator[pl.DataFrame]:
        for start in range(0, len(self.frame), _SLICE_ROWS):
            rows, chosen = self.frame.slice(start, _SLICE_ROWS), self.chosen.slice(start, _SLICE_ROWS)
            yield rows if chosen.all() else rows.filter(chosen)


def bits_for(rows: int) -> NDArray[np.uint8]:
    """Empty bits for about so many keys."""
    return np.zeros(min(_MOST_BITS, 1 << max(3, (rows * BITS_PER_KEY).bit_length())) // 8, np.uint8)


def read_key_filter(
    connection: psycopg.Connection, stage: Stage, shape: TableShape, chunks: Sequence[Path], rows: int
) -> KeyFilter | None:
    """A filter over the target's keys; None where rows cannot be copied, or where too few of them are new.

    Args:
        chunks: the next sorted chunks; their share of new rows is taken for that of all rows to come.
        rows: how many rows are still to come, about.
    """
    column = stage.bound.database.key
    if stage.bound.database.fields[column].type not in KEY_TYPES:
        return None
    target = table_name(stage.bound.database)
    sequence: str | None = ""
    if stage.copies_profiles:
        bigints = [column.into for column in stage.profiles if column.type.as_string() == "bigint"]
        if any(shape.columns[name].type != "bigint" for name in bigints):  # binary COPY converts nothing
            return None
        sequence = _sequence(connection, target.as_string(connection))
    elif not (stage.counts_unknown and _has_one_spelling(shape.columns[column])):
        return None
    if sequence is None:
        return None
    if not scalar(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(target)):
        return KeyFilter(column, sequence, np.zeros(0, np.uint8))
    keys = pl.concat([_memory_mapped(chunk)[column] for chunk in chunks])
    sample = keys.gather_every(-(-len(keys) // SAMPLE)).to_list()
    count_existing = sql.SQL("SELECT count(*) FROM {} WHERE {} = ANY(%s)").format(target, sql.Identifier(column))
    new_rows = rows * (1 - scalar(connection, count_existing, (sample,)) / len(sample))
    if new_rows * WORTH_READING < shape.rows or not _is_one_table(connection, shape):
        return None
    key_filter = KeyFilter(column, sequence, bits_for(round(shape.rows)))
    for keys in _read_keys(connection, target, column):
        key_filter.add(keys)
    return key_filter


def take_numbers(connection: psycopg.Connection, key_filter: KeyFilter, count: int) -> NDArray[np.int64]:
    """Takes numbers for so many new profiles from the target's sequence."""
    query = sql.SQL("SELECT array_agg(nextval(%s::regclass)) FROM generate_series(1, %s)")
    return np.array(scalar(connection, query, (key_filter.sequence, count)), np.int64)


def _memory_mapped(chunk: Path) -> pl.DataFrame:
    """The chunk, memory-mapped: Polars by itself would read it into memory."""
    with pa.memory_map(str(chunk)) as source:
        return pl.DataFrame(pa.ipc.open_file(source).read_all())


def _sequence(connection: psycopg.Connection, target: str) -> str | None:
    """The sequence of the target's identity column, if the role may use it; None for a table without such a column."""
    query = sql.SQL(
        "SELECT (SELECT name FROM pg_get_serial_sequence(%(target)s, attname) AS name "
        "WHERE has_sequence_privilege(name, 'USAGE')) "
        "FROM pg_attribute WHERE attrelid = %(target)s::regclass AND attname = %(column)s AND attidentity <> ''"
    )
    row = connection.execute(query, {"target": target, "column": PROFILE_ID}).fetchone()
    return None if row is None else row[0]


def _has_one_spelling(column: TableColumn) -> bool:
    return column.type.partition("(")[0] in ONE_SPELLING


def _is_one_table(connection: psycopg.Connection, shape: TableShape) -> bool:
    """Whether the table's rows are in itself; those of a partitioned table are not."""
    query = sql.SQL("SELECT relkind = 'r' AND NOT relhassubclass FROM pg_class WHERE oid = %s")
    return bool(scalar(connection, query, (shape.oid,)))


def _read_keys(connection: psycopg.Connection, target: sql.Identifier, column: str) -> Iterator[pl.Series]:
    """All keys of a table, some pages at a time, joined into one text by the server: Python handles no rows.

    One statement, so one snapshot: a row that is updated meanwhile moves to another page, and is not missed.
    """
    query = sql.SQL(
        "SELECT (SELECT string_agg({column}::text, {separator}) FROM {target}"
        " WHERE ctid >= format('(%s,0)', first)::tid AND ctid < format('(%s,0)', first + {pages})::tid)"
        " FROM generate_series(0, pg_relation_size({name}::regclass) / current_setting('block_size')::int, {pages})"
        " AS first"
    ).format(
        column=sql.Identifier(column), separator=sql.Literal(_SEPARATOR), target=target,
        pages=sql.Literal(PAGES_AT_ONCE), name=sql.Literal(target.as_string(connection)),
    )  # fmt: skip
    with connection.cursor("ingest_keys") as cursor:
        cursor.itersize = 1
        for (joined,) in cursor.execute(query):
            if joined is not None:
                yield pl.Series([joined]).str.split(_SEPARATOR).explode()
