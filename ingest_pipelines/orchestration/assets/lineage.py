"""Lineage: an import between its source and its table, with the descriptions and columns that the UI shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dagster import AssetKey, AssetSpec, TableColumn, TableColumnDep, TableColumnLineage, TableSchema

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.asset_graph import TABLES
from ingest_pipelines.config.databases import Database, Field
from ingest_pipelines.config.placement import Placement
from ingest_pipelines.merge import column_type
from ingest_pipelines.orchestration.assets.markdown import plain, table
from ingest_pipelines.orchestration.assets.partitions import asset_key
from ingest_pipelines.sources.files import safe_name

SOURCES = "source"
"""The first part of the keys of sources, below the key prefix: `[source, connection, file]`."""


def source_key(bound: BoundImport) -> AssetKey:
    """The key of the import's source: a file of its connection, a table, its own query, or an asset of the team's."""
    source = bound.spec.source
    if source.asset_key is not None:
        return AssetKey(list(source.asset_key))
    what = source.file or source.table or (bound.name if source.query else "uploads")
    parts = [safe_name(part).replace(".", "_").replace("-", "_") for part in what.strip("/").split("/")]
    return AssetKey([*bound.placement.key_prefix, SOURCES, bound.connection_name, *parts])


def table_key(database: Database, placement: Placement) -> AssetKey:
    """The key of the table of profiles."""
    return AssetKey([*placement.key_prefix, TABLES, *database.schema_and_table])


def group_of(bound: BoundImport) -> str:
    """The group of the import and of its table: the project's, else that of its database."""
    return bound.placement.group or bound.database_name


def external_assets(imports: Iterable[BoundImport]) -> Iterator[AssetSpec]:
    """Sources and tables as external assets, so that lineage reads source -> import -> table.

    A source that is an asset of the team's own is theirs to define.
    """
    bound_imports = list(imports)
    invented = [bound for bound in bound_imports if bound.spec.source.asset_key is None]
    for key, readers in grouped((source_key(bound), bound) for bound in invented):
        first = readers[0]
        yield AssetSpec(
            key,
            group_name=first.placement.group or "sources",
            kinds={first.connection.type},
            description=plain(f"{_what(first)} of the {first.connection.type} connection {first.connection_name}"),
        )
    for key, writers in grouped((table_key(bound.database, bound.placement), bound) for bound in bound_imports):
        database = writers[0].database
        yield AssetSpec(
            key,
            deps=[asset_key(bound) for bound in writers],
            group_name=group_of(writers[0]),
            kinds={"postgres", "table"},
            description=plain(database.description or f"Profiles, one row per {database.key}"),
            metadata={
                "dagster/table_name": ".".join(database.schema_and_table),
                "dagster/column_schema": table_schema(writers),
            },
        )


def description_of(bound: BoundImport) -> str:
    """The import for people: source, target, mode, schedule, and the mapping as a table.

    It begins with plain sentences, because the catalog shows the first line without Markdown.
    """
    spec = bound.spec
    matched = bound.database.key if bound.match is None else f"{bound.match.by} {bound.match.field or ''}".strip()
    lines = [
        plain(_sentence(spec.description)),
        plain(
            f"{_what(bound)} of {bound.connection_name} → {'.'.join(bound.database.schema_and_table)}, "
            f"{spec.mode}, matched by {matched}."
        ),
        plain(". ".join(f"Runs {words}" for words in spec.start_words)),
        f"Rejects allowed: {spec.rejects}. Next: `ingest report {bound.name}`, `ingest rejects list {bound.name}`",
        table(
            ["source column", "field", "type", "rules"],
            (
                [*map(plain, (mapped.column, mapped.name, mapped.field.type_name, "; ".join(rules_of(mapped.field))))]
                for mapped in bound.fields
            ),
        ),
    ]
    return "\n\n".join(line for line in lines if line)


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?:" else f"{text}."


def column_lineage(bound: BoundImport) -> TableColumnLineage:
    """Which source column fills which field."""
    source = source_key(bound)
    return TableColumnLineage(
        {mapped.name: [TableColumnDep(asset_key=source, column_name=mapped.column)] for mapped in bound.fields}
    )


def rules_of(field: Field) -> list[str]:
    """The field's rules, each in a few words."""
    given = field.model_dump(exclude_defaults=True)
    names = ("required", "unique", "min", "max", "pattern", "one_of", "options", "max_length", "region", "pii")
    return [rule if given[rule] is True else f"{rule}: {_value(given[rule])}" for rule in names if rule in given]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _what(bound: BoundImport) -> str:
    source = bound.spec.source
    if source.file is not None:
        return f"The files {source.file}"
    return f"The table {source.table}" if source.table else "A query" if source.query else "Uploads"


def table_schema(writers: Iterable[BoundImport], columns: Mapping[str, str] | None = None) -> TableSchema:
    """The table's columns, each with its description and the imports that fill it.

    Args:
        columns: name -> type, as the table has them now; by default the columns that its imports will fill.
    """
    fields: dict[str, Field] = {}
    filled_by: dict[str, list[str]] = {}
    database: Database | None = None
    for bound in writers:
        database = bound.database
        fields |= {**bound.database.fields, **{mapped.name: mapped.field for mapped in bound.fields}}
        for mapped in bound.fields:
            filled_by.setdefault(mapped.name, []).append(f"{plain(bound.name)} (from {plain(mapped.column)})")
    assert database is not None
    names = [database.key, *(name for name in fields if name != database.key)]
    if columns is not None:
        names = [*(name for name in names if name in columns), *sorted(columns.keys() - fields.keys())]

    def described(name: str) -> str | None:
        own = plain(_sentence(fields[name].description)) if name in fields else ""
        sources = ", ".join(filled_by.get(name, ()))
        return " ".join(filter(None, (own, f"Filled by {sources}." if sources else ""))) or None

    return TableSchema(
        [TableColumn(name, (columns or {}).get(name) or column_type(fields[name]), described(name)) for name in names]
    )


def grouped(pairs: Iterable[tuple[AssetKey, BoundImport]]) -> Iterator[tuple[AssetKey, list[BoundImport]]]:
    """The imports of each key."""
    by_key: dict[AssetKey, list[BoundImport]] = {}
    for key, bound in pairs:
        by_key.setdefault(key, []).append(bound)
    yield from by_key.items()
