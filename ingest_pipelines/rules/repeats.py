"""Duplicates in a stream of values: found exactly, at any size, in bounded memory.

Of every value an 8-byte hash is kept. Hashes that occur twice are candidates; only their values are read again from
disk and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest_pipelines.model import LINE
from ingest_pipelines.rules.versions import lines_of, newest, newest_line

Hashes = NDArray[np.uint64]
Lines = NDArray[np.int64]

_IN_MEMORY = 2_000_000
"""Hashes kept in memory before they are written to a file: 16 MB."""
_AT_ONCE = 2_000_000
"""Hashes sorted together: 16 MB."""
_CANDIDATES = 1_000_000
"""Candidate hashes whose values are compared together."""


@dataclass
class ValueHashes:
    """Hashes of the values of a stream, 8 bytes each; beyond 16 MB they go to an unnamed temporary file.

    Attributes:
        folder: of that file; None: the system's temporary folder.
    """

    folder: Path | None = None
    chunks: list[Hashes] = field(default_factory=list)
    _in_memory: int = 0
    _written: int = 0
    _file: IO[bytes] | None = None

    def add(self, values: pl.Series) -> None:
        """Adds the hashes of the values; NULLs are left out."""
        hashes = values.drop_nulls().hash().to_numpy()
        self.chunks.append(hashes)
        self._in_memory += len(hashes)
        if self._in_memory > _IN_MEMORY:
            self._file = self._file or TemporaryFile(dir=self.folder)  # noqa: SIM115  it lives as long as this
            for chunk in self.chunks:
                self._file.write(chunk.tobytes())
            self._written += self._in_memory
            self.chunks.clear()
            self._in_memory = 0

    def candidates(self) -> Hashes:
        """The hashes that occur more than once, sorted."""
        parts = max(1, -(-(self._written + self._in_memory) // _AT_ONCE))
        return np.concatenate([_repeated(self._part(part, parts)) for part in range(parts)])

    def _part(self, part: int, parts: int) -> Hashes:
        if parts == 1:
            return np.concatenate(self.chunks) if self.chunks else np.empty(0, np.uint64)
        # The upper half of the hash, scaled to `parts`: parts hold ascending ranges.
        chosen = [
            chunk[((chunk >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32) == part] for chunk in self._all()
        ]
        return np.concatenate(chosen)

    def _all(self) -> Iterator[Hashes]:
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(8 << 20):
                yield np.frombuffer(block, np.uint64)
        yield from self.chunks


def _repeated(hashes: Hashes) -> Hashes:
    hashes.sort()
    again: Hashes = hashes[1:][hashes[1:] == hashes[:-1]]
    return np.unique(again)


def between(lines: Lines, first: int, last: int) -> Lines:
    """The part of the sorted lines that lies in first .. last."""
    start, end = np.searchsorted(lines, [first, last + 1])
    return lines[start:end]


@dataclass(frozen=True)
class Repeats:
    """Rows whose value occurs more than once.

    Attributes:
        lines: of all such rows, sorted.
        spare: the lines of such rows that could be accepted, without the one to keep; sorted.
    """

    lines: Lines
    spare: Lines


def find_repeats(
    candidates: Hashes, read: Callable[[], Iterator[tuple[pl.LazyFrame, bool]]], keep: str = "last"
) -> Repeats:
    """The exact repeats among the candidates.

    Args:
        read: all rows again, as frames of LINE, `value`, VERSION_NUMBER and VERSION, each with whether its rows could
            be accepted.
        keep: of the rows that could be accepted the newest is kept; of equally new ones the `last` or the `first`.
    """
    lines, spare = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(candidates), _CANDIDATES):
        chosen = pl.LazyFrame({"hash": pl.Series(candidates[start : start + _CANDIDATES])})
        candidate_rows = [_of(frame, chosen, acceptable) for frame, acceptable in read()]
        parts = [rows.group_by("value").agg(pl.len().alias("rows"), *newest(keep)) for rows in candidate_rows]
        groups = (
            pl.concat(parts, how="vertical_relaxed")
            .group_by("value")
            .agg(pl.col("rows").sum(), *newest(keep))
            .filter(pl.col("rows") > 1)
            .select("value", newest_line().alias("kept"))
            .collect()
            .lazy()
        )
        for frame, acceptable in read():
            rows = _of(frame, chosen, acceptable).join(groups, on="value").collect()
            lines.append(rows[LINE].to_numpy())
            spare.append(rows.filter(pl.col("acceptable") & (pl.col(LINE) != pl.col("kept")))[LINE].to_numpy())
    return Repeats(np.sort(np.concatenate(lines)), np.sort(np.concatenate(spare)))


def _of(frame: pl.LazyFrame, chosen: pl.LazyFrame, acceptable: bool) -> pl.LazyFrame:
    hashed = frame.filter(pl.col("value").is_not_null()).with_columns(pl.col("value").hash().alias("hash"))
    rows = hashed.join(chosen, on="hash", how="semi")
    return rows.with_columns(lines_of(acceptable), acceptable=pl.lit(acceptable))
