"""Which rows of an item may repeat another one: known before the first of them is judged.

A look at the compared columns alone costs a tenth of judging the item. Whoever loads rows while others are judged can
then leave out the few that the whole item may yet refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ingest_pipelines.rules.compile import Rules
from ingest_pipelines.rules.repeats import Hashes, Seen


@dataclass(frozen=True)
class Suspects:
    """Rows that share the hash of a compared value with another row.

    Attributes:
        rows: of the item.
        hashes: by compared column, the hashes that occur more than once.
    """

    rows: int
    hashes: Mapping[str, Hashes]

    def among(self, rows: pl.DataFrame) -> pl.Series | None:
        """A mask over judged rows; None where no row of the item is suspected."""
        masks = [
            pl.col(name).hash().is_in(pl.Series(hashes).implode()) & pl.col(name).is_not_null()
            for name, hashes in self.hashes.items()
            if len(hashes)
        ]
        return rows.select(pl.any_horizontal(masks).alias("suspected")).to_series() if masks else None


def find_suspects(frames: Iterable[pl.DataFrame], rules: Rules, folder: Path) -> Suspects:
    """The suspects of an item.

    Args:
        frames: the columns `rules.compared_columns` of every row.
        folder: for what does not fit into memory.
    """
    rows, seen = 0, {name: Seen(folder) for name in rules.compared}
    for frame in frames:
        values = rules.compare(frame)
        rows += len(values)
        for name, column in seen.items():
            column.add(values[name])
    return Suspects(rows, {name: column.candidates() for name, column in seen.items()})
