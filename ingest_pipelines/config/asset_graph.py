"""Which imports of a project lead to which: by the assets that they run after, and by those that they read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from ingest_pipelines.config.asset_keys import KeyPath, spelled_key
from ingest_pipelines.config.column_problems import Problem
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.config.placement import Placement

TABLES = "table"
"""The first part of the keys of profile tables: `[table, schema, table]`."""


class AssetGraph:
    """The project's imports and tables as assets, of which `after` and `asset_key` may name some.

    Assets of the team's own are not known here: a circle that leads through them is found by Dagster alone.

    Args:
        specs: every import whose file can be read.
        tables: schema and table of every database.
    """

    def __init__(self, specs: Mapping[str, Import], tables: Mapping[str, tuple[str, str]]) -> None:
        self._specs = specs
        self._tables = tables

    def problems(self, name: str, spec: Import) -> Iterator[Problem]:
        """What is wrong with the keys of one import: a name that there is not, or a circle.

        A circle is the mistake of that one of its imports whose file is read last.
        """
        for key in spec.after:
            if unknown := self._unknown(key):
                yield ("after",), f"after: {spelled_key(key)}: {unknown}"
        if spec.after and (circle := _circle(name, self._triggers)):
            way = " after ".join(circle)
            yield ("after",), f"after: each of its loads would begin another one, for ever: {way}"
        source = spec.source.asset_key
        if source is None:
            return
        if unknown := self._unknown(source):
            yield ("source", "asset_key"), f"source.asset_key: {spelled_key(source)}: {unknown}"
        if circle := _circle(name, self._sources):
            way = " reads what is made by ".join(circle)
            yield ("source", "asset_key"), f"source.asset_key: Dagster takes no circle: {way}; leave asset_key out"

    def placed(self, spec: Import, placement: Placement) -> Import:
        """The import as it is at that place in Dagster: keys of the project's own have its prefix."""
        source = spec.source

        def at_place(key: KeyPath) -> KeyPath:
            return (*placement.key_prefix, *key) if self._imports_of(key) else key

        if source.asset_key is not None:
            source = source.model_copy(update={"asset_key": at_place(source.asset_key)})
        return spec.model_copy(update={"after": tuple(map(at_place, spec.after)), "source": source})

    def _unknown(self, key: KeyPath) -> str:
        """Why a key that begins with a database of the project is no import; "" where it is another key."""
        if len(key) != 2 or key[0] not in self._tables or self._imports_of(key):
            return ""
        known = sorted(name for name, spec in self._specs.items() if spec.database == key[0])
        return f"there is no import '{key[1]}' into '{key[0]}'; {nearest(key[1], known)}"

    def _imports_of(self, key: KeyPath) -> list[str]:
        """The imports whose loads materialize the asset: the import itself, or all that fill the table."""
        if len(key) == 2 and key[1] in self._specs and self._specs[key[1]].database == key[0]:
            return [key[1]]
        if len(key) == 3 and key[0] == TABLES:
            return [name for name, spec in self._specs.items() if self._tables.get(spec.database) == key[1:]]
        return []

    @cached_property
    def _triggers(self) -> Mapping[str, list[str]]:
        return {
            name: [before for key in spec.after for before in self._imports_of(key)]
            for name, spec in self._specs.items()
            if spec.after
        }

    @cached_property
    def _sources(self) -> Mapping[str, list[str]]:
        return {
            name: self._imports_of(spec.source.asset_key)
            for name, spec in self._specs.items()
            if spec.source.asset_key is not None
        }


def _circle(start: str, leads_to: Mapping[str, Iterable[str]]) -> list[str]:
    """The shortest way from a name back to itself over names that are not after it; empty where there is none."""
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop(0)
        for following in sorted(leads_to.get(way[-1], ())):
            if following == start:
                return [*way, start]
            if following < start and following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []
