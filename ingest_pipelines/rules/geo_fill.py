"""Geo enrichment: fields that a row leaves empty are filled from its IP address. The row's own values win."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ingest_pipelines.rules.geo import GeoDatabase
from ingest_pipelines.rules.types import Cell, Rule

_PLACE = "_place"


@dataclass
class GeoFill:
    """An import's `geo`.

    Attributes:
        address: the cell with the IP address.
        filled: part of a place -> the cell it fills.
        rules: the same parts -> the rules of that cell. A place that breaks one is left out, so that the geo database
            never makes a row a reject.
    """

    address: Cell
    filled: Mapping[str, Cell]
    rules: Mapping[str, tuple[Rule, ...]]
    miss_name: str = "_geo_miss"
    _database: GeoDatabase = field(default_factory=lambda: GeoDatabase(None))

    @contextmanager
    def open(self, path: str | None) -> Iterator[None]:
        """Keeps the geo database open while rows are validated."""
        with GeoDatabase(None if path is None else Path(path)) as self._database:
            yield

    def fill(self, working: pl.LazyFrame) -> pl.LazyFrame:
        """The working frame with the places, and `miss_name`: whether the database does not know the address."""
        dtype = pl.Struct({"known": pl.Boolean, **dict.fromkeys(self.filled, pl.String)})
        looked_up = self.address.value.map_batches(self._look_up, return_dtype=dtype)
        place = pl.col(_PLACE).struct
        return (
            working.with_columns(looked_up.alias(_PLACE))
            .with_columns(
                (self.address.value.is_not_null() & ~place.field("known")).fill_null(False).alias(self.miss_name),
                *(pl.coalesce(cell.value, place.field(part)).alias(cell.name) for part, cell in self.filled.items()),
            )
            .with_columns(cell.value.is_not_null().alias(cell.given_name) for cell in self.filled.values())
        )

    def _look_up(self, addresses: pl.Series) -> pl.Series:
        places = self._database.places(addresses)
        for part, cell in self.filled.items():
            named = places.select(pl.col(part).alias(cell.name), pl.col(part).is_not_null().alias(cell.given_name))
            fits = named.select(pl.all_horizontal(rule.passes for rule in self.rules[part])).to_series()
            places = places.with_columns(pl.when(fits).then(pl.col(part)).alias(part))
        rows = addresses.alias("address").to_frame().join(places, on="address", how="left", maintain_order="left")
        return rows.select(pl.struct("known", *self.filled)).to_series()
