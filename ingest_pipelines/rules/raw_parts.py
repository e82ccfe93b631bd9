"""Raw rows on disk: those that break a rule, and those that may yet be rejected as duplicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from ingest_pipelines.model import LINE
from ingest_pipelines.rules.repeats import Lines
from ingest_pipelines.rules.sorted_chunks import write


@dataclass
class RawParts:
    """The source's frames, one part each, in order: raw rows, and the keys of rows that break a rule.

    Attributes:
        all_rows: keep every raw row, because any of them may turn out to be a duplicate; else only those that break a
            rule.
        ranges: the first and last line of each part.
    """

    folder: Path
    all_rows: bool
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def raw(self, part: int) -> Path:
        """The file of the part's raw rows: LINE and the source's columns."""
        return self.folder / f"raw-{part:05}.arrow"

    def broken(self, part: int) -> Path:
        """The file of the part's rows that break a rule: LINE, KEY and the columns of `uniques`."""
        return self.folder / f"broken-{part:05}.arrow"

    def add(self, frame: pl.DataFrame, broken: pl.DataFrame, without: pl.Series | None = None) -> None:
        """Adds a frame, and the validated rows in it that break a rule.

        Args:
            without: lines of rows that must not be kept; they are not in `broken` either.
        """
        part = len(self.ranges)
        self.ranges.append((int(frame[LINE][0]), int(frame[LINE][-1])))
        if len(broken):
            write(broken, self.broken(part))
        if self.all_rows:
            write(frame if without is None else frame.filter(~pl.col(LINE).is_in(without.implode())), self.raw(part))
        elif len(broken):
            write(frame.join(broken.select(LINE), on=LINE, how="semi", maintain_order="left"), self.raw(part))

    def all_broken(self) -> list[pl.LazyFrame]:
        """The rows that break a rule, of every part that has some."""
        paths = [self.broken(part) for part in range(len(self.ranges))]
        return [pl.scan_ipc(path) for path in paths if path.exists()]

    def broken_lines(self, part: int) -> Lines:
        """Lines of the part's rows that break a rule."""
        path = self.broken(part)
        return pl.read_ipc(path, columns=[LINE])[LINE].to_numpy() if path.exists() else np.empty(0, np.int64)

    def clear(self) -> None:
        """Removes the files, once the rejects are written."""
        for part in range(len(self.ranges)):
            self.raw(part).unlink(missing_ok=True)
            self.broken(part).unlink(missing_ok=True)
