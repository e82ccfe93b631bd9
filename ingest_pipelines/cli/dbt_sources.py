"""`ingest dbt-sources`: the profile tables as dbt sources, which are the assets that loads materialize in Dagster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.errors import ConfigError

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project
    from ingest_pipelines.config.databases import Database, Field
    from ingest_pipelines.config.placement import Placement

_HEADER = (
    "# Written by `ingest dbt-sources` from databases.yaml and imports/. Run it again rather than edit this file.\n"
)


def dbt_sources(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write this file; default: print it.", dir_okay=False)
    ] = None,
) -> None:
    """Write the profile tables as dbt sources, with columns, descriptions, tests and their asset keys in Dagster."""
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home).placed(settings.placement)
    if project.mistakes:
        raise ConfigError(project.mistakes, hint="nothing was written; correct them, then run it again")
    text = sources_yaml(project)
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    screen.say(f"{output}: written; dbt reads it if it lies in a folder of model-paths")


def sources_yaml(project: Project) -> str:
    """The `sources.yml` of a project. The same project gives the same text."""
    import yaml

    tables: dict[str, list[dict[str, Any]]] = {}
    for name, database in project.databases.items():
        imports = [bound for bound in project.imports.values() if bound.database_name == name]
        tables.setdefault(database.schema_and_table[0], []).append(_table(database, imports, project.placement))
    sources = [{"name": schema, "schema": schema, "tables": of_schema} for schema, of_schema in tables.items()]
    return _HEADER + yaml.safe_dump(
        {"version": 2, "sources": sources}, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )


def _table(database: Database, imports: list[BoundImport], placement: Placement) -> dict[str, Any]:
    from ingest_pipelines.config.asset_graph import TABLES

    fields: dict[str, list[Field]] = {name: [] for name in (database.key, *database.fields)}
    for bound in imports:
        for mapped in bound.fields:
            fields.setdefault(mapped.name, []).append(mapped.field)
    return {
        "name": database.schema_and_table[1],
        "description": _text(database.description or f"Profiles, one row per {database.key}"),
        "config": {"meta": {"dagster": {"asset_key": [*placement.key_prefix, TABLES, *database.schema_and_table]}}},
        "columns": [
            _column(name, database, filled or [database.fields[name]], imports) for name, filled in fields.items()
        ],
    }


def _column(name: str, database: Database, filled: list[Field], imports: list[BoundImport]) -> dict[str, Any]:
    """A column with its tests.

    Args:
        filled: the field's rules in each import that fills it; in databases.yaml where none does.
    """
    from ingest_pipelines.merge import column_type

    declared = database.fields.get(name, filled[0])
    tests = list(_tests(name, database, declared, filled, imports))
    return {
        "name": name,
        **({"description": _text(declared.description)} if declared.description else {}),
        "data_type": column_type(declared),
        **({"data_tests": tests} if tests else {}),
    }


def _tests(
    name: str, database: Database, declared: Field, filled: list[Field], imports: list[BoundImport]
) -> Iterator[str | dict[str, Any]]:
    """What every row of the table keeps, as errors; what is checked in each item and not in the table, as warnings."""
    if name == database.key:
        yield from ("unique", "not_null")
    else:
        if any(field.unique for field in (declared, *filled)):
            yield _warning("unique")  # a load rejects repeats within its item
        if any(field.required for field in (declared, *filled)):
            yield "not_null" if _always_filled(name, filled, imports) else _warning("not_null")
    allowed = [_allowed(field) for field in filled]
    if all(values is not None for values in allowed):
        values = list(dict.fromkeys(value for values in allowed for value in values or ()))
        quoted = [_text(value.replace("'", "''")) for value in values]  # dbt pastes them into its SQL as they are
        yield {"accepted_values": {"arguments": {"values": quoted}}}


def _warning(test: str) -> dict[str, Any]:
    return {test: {"config": {"severity": "warn"}}}


def _always_filled(name: str, filled: list[Field], imports: list[BoundImport]) -> bool:
    """Whether no load leaves the field empty: all that add rows fill it, and all that fill it require a value."""
    adding = [bound for bound in imports if bound.spec.adds]
    return all(field.required for field in filled) and all(
        name in {mapped.name for mapped in bound.fields} for bound in adding
    )


def _allowed(field: Field) -> list[str] | None:
    """The values that the field may have, as the table has them; None: any, or values that dbt cannot compare."""
    from ingest_pipelines.config.field_types import FIELD_TYPES

    if not FIELD_TYPES[field.type].stored_as_spelled:
        return None
    if field.options is None:
        return list(field.one_of) if field.one_of is not None else None
    by_index: Mapping[str, str] = {str(index): option for index, option in enumerate(field.options, start=1)}
    return [by_index.get(value, value) for value in field.one_of or field.options]


def _text(text: str) -> str:
    """The text as dbt shows it: dbt reads descriptions and values of tests as Jinja templates."""
    return f"{{% raw %}}{text}{{% endraw %}}" if any(mark in text for mark in ("{{", "{%", "{#")) else text
