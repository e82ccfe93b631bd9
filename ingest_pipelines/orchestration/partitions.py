"""An import's items are its partitions: one dynamic key per item, written to the ledger before it is added."""

from __future__ import annotations

from dagster import AssetKey, DynamicPartitionsDefinition

from ingest_pipelines.config import BoundImport


def partitions_name(bound: BoundImport) -> str:
    """`<database>/<import>`: the set of keys that belongs to the import."""
    return f"{bound.database_name}/{bound.name}"


def partitions_of(bound: BoundImport) -> DynamicPartitionsDefinition:
    """The import's items as Dagster partitions."""
    return DynamicPartitionsDefinition(name=partitions_name(bound))


def asset_key(bound: BoundImport) -> AssetKey:
    """`[database, import]`."""
    return AssetKey([bound.database_name, bound.name])
