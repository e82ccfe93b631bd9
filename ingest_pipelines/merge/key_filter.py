"""A Bloom filter over the target's keys: rows that are certainly new are copied into the table, the rest are merged.

A row that the MERGE adds costs twice as much as one that is copied (docs/performance.md). What is kept is a bit per
hash, so a new key may be taken for a known one, and is merged. A known key that is taken for a new one, for it was
added a moment ago or is spelled differently, breaks the key's constraint, and the load begins again with a MERGE.
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
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.target import scalar

KEY_TYPES = frozenset({"string", "int"})
"""Types whose values Postgres and Polars write as the same text."""

BITS_PER_KEY = 16
"""One in sixteen new keys at most is taken for a known one."""
_MOST_BITS = 1 << 29
"""64 MB, from 32 million keys on."""

PAGES_AT_ONCE = 1_024
"""Of the target, while its keys are read: 8 MB of it, and a megabyte of keys."""
_SEPARATOR = "\x01"

SAMPLE = 1_000
"""Keys of some runs that say how many of their rows are new."""
WORTH_READING = 5
"""The target's keys are read for a fifth as many new rows: reading a key takes a fifth of what a copied row saves."""

_SLICE_ROWS = 32_768


@dataclass(frozen=True)
class KeyFilter:
    """The keys of a target.

    Attributes:
        column: which column of a run is the key.
        numbers: the sequence that numbers its profiles.
        bits: a set bit at the place of each key's hash; their number is a power of two. Without any, no key is known.
    """

    column: str
    numbers: str
    bits: NDArray[np.uint8]

    def add(self, keys: pl.Series) -> None:
        """These keys are known."""
        places = self._places(keys)
        for bit in range(8):
            self.bits[places[places & 7 == bit] >> 3] |= 1 << bit

    def new(self, keys: pl.Series) -> pl.Series:
        """Which of the keys are certainly new."""
        if not len(self.bits):
            return pl.repeat(True, len(keys), eager=True)
        places = self._places(keys)
        return pl.Series(self.bits[places >> 3] >> (places & 7) & 1 == 0)

    def split(self, run: Path) -> tuple[Rows, Rows]:
        """The run's rows that are new, and those that may not be."""
        frame = _mapped(run)
        new = self.new(frame[self.column])
        return Rows(frame, new), Rows(frame, ~new)

    def _places(self, keys: pl.Series) -> NDArray[np.int64]:
        upper = np.uint64(65 - (len(self.bits) * 8).bit_length())
        return (keys.cast(pl.String).hash().to_numpy() >> upper).astype(np.int64)


@dataclass(frozen=True)
class Rows:
    """Some rows of a run: those of `frame` where `wanted` is true."""

    frame: pl.DataFrame
    wanted: pl.Series

    def __len__(self) -> int:
        return int(self.wanted.sum())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they lie in the run."""
        for rows in self._slices():
            yield from rows.to_arrow().to_batches()

    def numbered(self, numbers: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """The rows, each with a number as its PROFILE_ID."""
        at = 0
        for rows in self._slices():
            yield from rows.with_columns(pl.Series(PROFILE_ID, numbers[at : at + len(rows)])).to_arrow().to_batches()
            at += len(rows)

    def created(self, numbers: NDArray[np.int64], key: str) -> Iterator[pa.RecordBatch]:
        """The numbers and the keys, as lists of at most BATCH: what events are told of."""
        pairs = pl.DataFrame(
            {"profiles": numbers, "keys": self.frame[key].filter(self.wanted).cast(pl.String)}
        ).with_columns(pl.int_range(pl.len()).floordiv(BATCH).alias("batch"))
        lists = pairs.group_by("batch", maintain_order=True).agg("profiles", "keys").drop("batch")
        yield from lists.to_arrow().to_batches()

    def _slices(self) -> Iterator[pl.DataFrame]:
        for start in range(0, len(self.frame), _SLICE_ROWS):
            rows, wanted = self.frame.slice(start, _SLICE_ROWS), self.wanted.slice(start, _SLICE_ROWS)
            yield rows if wanted.all() else rows.filter(wanted)


def bits_for(rows: int) -> NDArray[np.uint8]:
    """Room for the keys of about so many rows."""
    return np.zeros(min(_MOST_BITS, 1 << max(3, (rows * BITS_PER_KEY).bit_length())) // 8, np.uint8)


def read_key_filter(
    connection: psycopg.Connection, stage: Stage, shape: TableShape, runs: Sequence[Path], rows: int
) -> KeyFilter | None:
    """The target's keys; None where they are of no use, or not worth reading.

    Args:
        runs: that come next. The share of new rows in all that come is taken to be theirs.
        rows: that come, about.
    """
    column = stage.bound.database.key
    if not stage.copies_profiles or stage.bound.database.fields[column].type not in KEY_TYPES:
        return None
    whole = [each.into for each in stage.profiles if each.type.as_string() == "bigint"]
    if any(shape.columns[name].type != "bigint" for name in whole):  # binary COPY converts nothing
        return None
    target = table_name(stage.bound.database)
    numbers = _sequence(connection, target.as_string(connection))
    if numbers is None:
        return None
    if not scalar(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(target)):
        return KeyFilter(column, numbers, np.zeros(0, np.uint8))
    keys = pl.concat([_mapped(run)[column] for run in runs])
    sample = keys.gather_every(-(-len(keys) // SAMPLE)).to_list()
    found = sql.SQL("SELECT count(*) FROM {} WHERE {} = ANY(%s)").format(target, sql.Identifier(column))
    new = rows * (1 - scalar(connection, found, (sample,)) / len(sample))
    if new * WORTH_READING < shape.rows or not (pages := _pages(connection, shape)):
        return None
    known = KeyFilter(column, numbers, bits_for(round(shape.rows)))
    for some in _read_keys(connection, target, column, pages):
        known.add(some)
    return known


def take_numbers(connection: psycopg.Connection, known: KeyFilter, count: int) -> NDArray[np.int64]:
    """Numbers for so many new profiles."""
    query = sql.SQL("SELECT array_agg(nextval(%s::regclass)) FROM generate_series(1, %s)")
    return np.array(scalar(connection, query, (known.numbers, count)), np.int64)


def _mapped(run: Path) -> pl.DataFrame:
    """The run where it lies on disk: Polars by itself would read it into memory."""
    with pa.memory_map(str(run)) as source:
        return pl.DataFrame(pa.ipc.open_file(source).read_all())


def _sequence(connection: psycopg.Connection, target: str) -> str | None:
    """The sequence of the target's identity column, if it may be used; a table may number its profiles otherwise."""
    query = sql.SQL(
        "SELECT (SELECT name FROM pg_get_serial_sequence(%(target)s, attname) AS name "
        "WHERE has_sequence_privilege(name, 'USAGE')) "
        "FROM pg_attribute WHERE attrelid = %(target)s::regclass AND attname = %(column)s AND attidentity <> ''"
    )
    found = connection.execute(query, {"target": target, "column": PROFILE_ID}).fetchone()
    return None if found is None else found[0]


def _pages(connection: psycopg.Connection, shape: TableShape) -> int:
    """The table's pages; 0 where its rows lie in other tables, as those of a partitioned one do."""
    query = sql.SQL(
        "SELECT CASE WHEN relkind = 'r' AND NOT relhassubclass "
        "THEN pg_relation_size(oid) / current_setting('block_size')::int ELSE 0 END FROM pg_class WHERE oid = %s"
    )
    return int(scalar(connection, query, (shape.oid,)))


def _read_keys(connection: psycopg.Connection, target: sql.Identifier, column: str, pages: int) -> Iterator[pl.Series]:
    """All keys of a table, some pages at a time: joined by the server, so that no row of them is a row here."""
    query = sql.SQL("SELECT string_agg({}::text, {}) FROM {} WHERE ctid >= %s::tid AND ctid < %s::tid").format(
        sql.Identifier(column), sql.Literal(_SEPARATOR), target
    )
    for first in range(0, pages, PAGES_AT_ONCE):
        joined = scalar(connection, query, (f"({first},0)", f"({first + PAGES_AT_ONCE},0)"))
        if joined is not None:
            yield pl.Series([joined]).str.split(_SEPARATOR).explode()
