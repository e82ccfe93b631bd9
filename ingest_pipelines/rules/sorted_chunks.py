"""Accepted rows on disk: chunks sorted by key, so that the merge touches the pages of the key's index in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ingest_pipelines.model import LINE
from ingest_pipelines.owner_only import private_file
from ingest_pipelines.rules.compile import KEY, Rules
from ingest_pipelines.rules.repeats import Lines, between
from ingest_pipelines.rules.schema import prove
from ingest_pipelines.rules.slices import slices

CHUNK_ROWS = 131_072
"""Rows sorted together, and copied while the next ones are validated. Larger chunks make the merge no faster."""
ENOUGH_ROWS = 120_000
"""A chunk may be shorter: frames of CHUNK_ROWS less their rejects need not wait for the next frame."""
CHUNK_BYTES = 64 << 20
"""A chunk of very wide rows ends earlier: it is held in memory twice while it is sorted."""


@dataclass
class SortedChunks:
    """Accepted rows, cut into sorted chunks of CHUNK_ROWS.

    Attributes:
        name: how the names of its files start.
        on_chunk: called with each chunk's file as soon as it is written.
        paths: an Arrow IPC file per chunk.
        rows: accepted so far.
    """

    folder: Path
    rules: Rules
    name: str = "accepted"
    on_chunk: Callable[[Path], None] | None = None
    paths: list[Path] = field(default_factory=list)
    rows: int = 0
    _waiting: list[pl.DataFrame] = field(default_factory=list)

    def add(self, accepted: pl.DataFrame) -> None:
        """Adds rows of a validated frame that break no rule."""
        self._waiting.append(accepted)
        rows, size = sum(map(len, self._waiting)), sum(each.estimated_size() for each in self._waiting)
        if rows >= ENOUGH_ROWS or size >= CHUNK_BYTES:
            self.finish()

    def finish(self) -> None:
        """Writes the rows that are left."""
        # In one piece: gathering rows in another order from pieces takes eight times as long.
        together = pl.concat(self._waiting, rechunk=True) if self._waiting else pl.DataFrame()
        self._waiting = []
        for rows in slices(together, CHUNK_ROWS, 2 * CHUNK_BYTES):
            self._write(rows)

    def _write(self, rows: pl.DataFrame) -> None:
        prove(self.rules.schema, rows)
        path = self.folder / f"{self.name}-{len(self.paths):05}.arrow"
        order = rows.select(sort_order(rows[KEY])).to_series().arg_sort()
        write(rows.select(self.rules.accepted)[order], path)
        self.paths.append(path)
        self.rows += len(rows)
        if self.on_chunk is not None:
            self.on_chunk(path)

    def remove(self, lines: Lines) -> None:
        """Removes rows by their sorted lines. Only chunks that hold one of them are rewritten."""
        if not len(lines):
            return
        paths_left = []
        for path in self.paths:
            rows = pl.read_ipc(path)
            first, last = rows.select(pl.min(LINE).alias("first"), pl.max(LINE).alias("last")).row(0)
            removed = pl.Series(between(lines, first, last))
            left = rows.filter(~pl.col(LINE).is_in(removed.implode()))
            if len(left) < len(rows):
                path.unlink()
                self.rows -= len(rows) - len(left)
                if len(left):
                    write(left, path)
            if len(left):
                paths_left.append(path)
        self.paths = paths_left


def write(rows: pl.DataFrame, path: Path) -> None:
    """The frame as an Arrow IPC file."""
    rows.write_ipc(private_file(path), compression="uncompressed")


def sort_order(keys: pl.Series) -> pl.Expr:
    """What to sort by so that index pages are touched in order.

    Texts are compared by the 8 bytes behind their common prefix: almost the order of the whole text, at a quarter of
    its price. The order affects speed, never the result.
    """
    if keys.dtype != pl.String:
        return pl.col(KEY)
    first, last = str(keys.min() or "").encode(), str(keys.max() or "").encode()
    common = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    padded = pl.col(KEY).cast(pl.Binary) + pl.lit(b"\0" * 8)
    return padded.bin.slice(common, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
