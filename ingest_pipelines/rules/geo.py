"""Country, region and city of an IP address, from any .mmdb file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import polars as pl

if TYPE_CHECKING:
    import maxminddb

PARTS = ("country", "region", "city")
Place = tuple[str | None, str | None, str | None]

_NOWHERE: Place = (None, None, None)
_REMEMBERED = 200_000
"""Addresses whose places are cached: most addresses repeat within a file."""


@dataclass
class GeoDatabase:
    """Places by address; without a database every address is unknown. Leaving the context closes the file.

    Attributes:
        path: GeoLite2's nested records, or flat ones (`country_code`, `region`, `city`).
    """

    path: Path | None
    _reader: maxminddb.Reader | None = None
    _places: dict[str, Place | None] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if self.path is not None and self.path.is_file():
            import maxminddb

            self._reader = maxminddb.open_database(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def places(self, addresses: pl.Series) -> pl.DataFrame:
        """`address` and PARTS of each distinct address; `known`: whether the database has it."""
        distinct = addresses.drop_nulls().unique()
        if len(self._places) > _REMEMBERED:
            self._places.clear()
        place_of_each = [self._place(address) for address in distinct]
        places = pl.DataFrame(
            [place or _NOWHERE for place in place_of_each], schema=dict.fromkeys(PARTS, pl.String), orient="row"
        )
        return places.with_columns(
            distinct.alias("address"),
            pl.Series("known", [place is not None for place in place_of_each], dtype=pl.Boolean),
        )

    def _place(self, address: str) -> Place | None:
        if address not in self._places:
            self._places[address] = self._look_up(address)
        return self._places[address]

    def _look_up(self, address: str) -> Place | None:
        if self._reader is None:
            return None
        try:
            record = self._reader.get(address)
        except ValueError:  # not an address
            return None
        return place(record) if isinstance(record, dict) else None


def place(record: Mapping[str, object]) -> Place:
    """The place in a record: ISO country code, names of region and city in English."""
    subdivisions = record.get("subdivisions")
    region = subdivisions[0] if isinstance(subdivisions, list) and subdivisions else None
    return (
        _first(_inside(record.get("country"), "iso_code"), record.get("country_code"), record.get("country")),
        _first(_name(region), record.get("region"), record.get("region_name"), record.get("state1")),
        _first(_name(record.get("city")), record.get("city"), record.get("city_name")),
    )


def _inside(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _name(value: object) -> object:
    return _first(_inside(_inside(value, "names"), "en"), _inside(value, "iso_code"))


def _first(*values: object) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)
