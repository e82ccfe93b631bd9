"""Judged rows on disk: accepted runs sorted by key, and the raw rows that may have to be rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from ingest_pipelines.model import LINE
from ingest_pipelines.rules.compile import KEY, Rules
from ingest_pipelines.rules.repeats import Lines, between
from ingest_pipelines.rules.schema import prove

SLICE_ROWS = 32_768
"""Rows cast at a time: the columns in between stay in the processor's cache."""
RUN_ROWS = 131_072
"""Rows sorted together, and copied while the next ones are judged. Larger runs make the merge no faster."""
ENOUGH_ROWS = 120_000
"""A run may be shorter: frames of RUN_ROWS less their rejects need not wait for the next."""


@dataclass
class Runs:
    """Accepted rows, cut into sorted runs of RUN_ROWS.

    Attributes:
        name: what its files' names begin with.
        on_run: told of each run as soon as it is written.
        paths: an Arrow IPC file per run.
        rows: accepted so far.
    """

    folder: Path
    rules: Rules
    name: str = "accepted"
    on_run: Callable[[Path], None] | None = None
    paths: list[Path] = field(default_factory=list)
    rows: int = 0
    _waiting: list[pl.DataFrame] = field(default_factory=list)

    def add(self, judged: pl.DataFrame) -> None:
        """Takes rows of a judged frame that break no rule."""
        self._waiting.append(judged)
        if sum(map(len, self._waiting)) >= ENOUGH_ROWS:
            self.finish()

    def finish(self) -> None:
        """Writes what is left."""
        # In one piece: gathering rows in another order from pieces takes eight times as long.
        together = pl.concat(self._waiting, rechunk=True) if self._waiting else pl.DataFrame()
        self._waiting = []
        for rows in together.iter_slices(RUN_ROWS):
            self._write(rows)

    def _write(self, rows: pl.DataFrame) -> None:
        prove(self.rules.schema, rows)
        path = self.folder / f"{self.name}-{len(self.paths):05}.arrow"
        order = rows.select(sort_order(rows[KEY])).to_series().arg_sort()
        write(rows.select(self.rules.accepted)[order], path)
        self.paths.append(path)
        self.rows += len(rows)
        if self.on_run is not None:
            self.on_run(path)

    def remove(self, lines: Lines) -> None:
        """Takes rows out again, by their sorted lines; only runs that hold one of them are written anew."""
        if not len(lines):
            return
        kept = []
        for path in self.paths:
            rows = pl.read_ipc(path)
            first, last = rows.select(pl.min(LINE).alias("first"), pl.max(LINE).alias("last")).row(0)
            wanted = pl.Series(between(lines, first, last))
            left = rows.filter(~pl.col(LINE).is_in(wanted.implode()))
            if len(left) < len(rows):
                path.unlink()
                self.rows -= len(rows) - len(left)
                if len(left):
                    write(left, path)
            if len(left):
                kept.append(path)
        self.paths = kept


def write(rows: pl.DataFrame, path: Path) -> None:
    """The frame as an Arrow IPC file."""
    rows.write_ipc(path, compression="uncompressed")


def sort_order(keys: pl.Series) -> pl.Expr:
    """What to sort by so that index pages are touched in order.

    Texts are compared by 8 bytes behind their common prefix: almost the order of the whole text, at a quarter
    of the price. Nothing depends on the order but speed.
    """
    if keys.dtype != pl.String:
        return pl.col(KEY)
    first, last = str(keys.min() or "").encode(), str(keys.max() or "").encode()
    common = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    padded = pl.col(KEY).cast(pl.Binary) + pl.lit(b"\0" * 8)
    return padded.bin.slice(common, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")


@dataclass
class Parts:
    """What stays of the frames, in their order: raw rows, and the keys of rows that break a rule.

    Attributes:
        all_rows: keep every raw row: any of them may turn out to be a duplicate. Else only the broken ones.
    """

    folder: Path
    all_rows: bool
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def raw(self, part: int) -> Path:
        """The part's raw rows: LINE and the source's columns."""
        return self.folder / f"raw-{part:05}.arrow"

    def broken(self, part: int) -> Path:
        """The part's rows that break a rule: LINE, KEY and the columns of `uniques`."""
        return self.folder / f"broken-{part:05}.arrow"

    def add(self, frame: pl.DataFrame, broken: pl.DataFrame) -> None:
        """Takes a frame and the judged rows in it that break a rule."""
        part = len(self.ranges)
        self.ranges.append((int(frame[LINE][0]), int(frame[LINE][-1])))
        if len(broken):
            write(broken, self.broken(part))
        if self.all_rows:
            write(frame, self.raw(part))
        elif len(broken):
            write(frame.join(broken.select(LINE), on=LINE, how="semi", maintain_order="left"), self.raw(part))

    def all_broken(self) -> list[pl.LazyFrame]:
        """The broken rows of every part that has some."""
        paths = [self.broken(part) for part in range(len(self.ranges))]
        return [pl.scan_ipc(path) for path in paths if path.exists()]

    def broken_lines(self, part: int) -> Lines:
        """Lines of the part's broken rows."""
        path = self.broken(part)
        return pl.read_ipc(path, columns=[LINE])[LINE].to_numpy() if path.exists() else np.empty(0, np.int64)

    def clear(self) -> None:
        """Removes the files; the rejects are written."""
        for part in range(len(self.ranges)):
            self.raw(part).unlink(missing_ok=True)
            self.broken(part).unlink(missing_ok=True)
