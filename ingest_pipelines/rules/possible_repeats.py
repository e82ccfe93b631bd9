"""Duplicate candidates: a pre-pass finds rows whose key hash occurs more than once, before validation starts.

Reading the compared columns alone costs a tenth of validating the item. An early load then leaves out just these rows,
because only the whole item shows which of them are accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ingest_pipelines.rules.compile import Rules
from ingest_pipelines.rules.repeats import Hashes, ValueHashes


@dataclass(frozen=True)
class PossibleRepeats:
    """Rows that share the hash of a compared value with another row.

    Attributes:
        rows: how many rows the item has.
        hashes: by compared column, the hashes that occur more than once.
    """

    rows: int
    hashes: Mapping[str, Hashes]

    def among(self, rows: pl.DataFrame) -> pl.Series | None:
        """A mask over validated rows: which may repeat another row. None where no row of the item may."""
        masks = [
            pl.col(name).hash().is_in(pl.Series(hashes).implode()) & pl.col(name).is_not_null()
            for name, hashes in self.hashes.items()
            if len(hashes)
        ]
        return rows.select(pl.any_horizontal(masks).alias("may_repeat")).to_series() if masks else None


def find_possible_repeats(frames: Iterable[pl.DataFrame], rules: Rules, folder: Path) -> PossibleRepeats:
    """The duplicate candidates of an item.

    Args:
        frames: the columns `rules.compared_columns` of every row.
        folder: for hashes that do not fit into memory.
    """
    rows, hashes_of = 0, {name: ValueHashes(folder) for name in rules.compared}
    for frame in frames:
        values = rules.compare(frame)
        rows += len(values)
        for name, hashes in hashes_of.items():
            hashes.add(values[name])
    return PossibleRepeats(rows, {name: hashes.candidates() for name, hashes in hashes_of.items()})
