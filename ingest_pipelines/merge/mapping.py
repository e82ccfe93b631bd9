"""An import's mapping, locked by its first committed load, so that columns in use are never renamed or retyped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import ConfigError, LoadError, printable
from ingest_pipelines.ledger import ImportState, RegisteredField
from ingest_pipelines.model import ITEM_COLUMNS, Validated


def mapping_of(bound: BoundImport) -> dict[str, tuple[str, str]]:
    """The mapping that is locked: {source column: (field, type)}."""
    return {mapped.column: (mapped.name, mapped.field.type_name) for mapped in bound.fields}


def mapping_changes(locked: Mapping[str, tuple[str, str]], bound: BoundImport) -> dict[str, str]:
    """The differences between the YAML and the locked mapping, by source column; empty where they agree."""
    current = mapping_of(bound)
    changes = {}
    for column in sorted({*locked, *current}):
        was, is_now = (tuple(side[column]) if column in side else None for side in (locked, current))
        if was == is_now:
            continue
        if was is None:
            changes[column] = f"columns.{column}: added since the first committed load"
        elif is_now is None:
            if column not in bound.spec.columns:  # else it is there, and has a mistake of its own
                changes[column] = f"columns.{column}: removed; it filled '{was[0]}' ({was[1]})"
        else:
            filled = f"it filled '{was[0]}' ({was[1]}), now '{is_now[0]}' ({is_now[1]})"
            changes[column] = f"columns.{column}: {filled}"
    return changes


def new_columns(state: ImportState | None, validated: Validated, bound: BoundImport) -> tuple[str, ...]:
    """Columns of the item that no committed item of its import had, and that the import does not read.

    The first item has none. A replay's columns are those of its load.
    """
    if state is None or state.columns is None or validated.landing.item.kind == "replay":
        return ()
    known = {*state.columns, *bound.required_columns, *chain.from_iterable(bound.spellings.values()), *ITEM_COLUMNS, ""}
    return tuple(column for column in validated.columns if column not in known)


def new_columns_warning(columns: Sequence[str], bound: BoundImport) -> str:
    """What a person should know about columns that are new."""
    named = ", ".join(f"'{printable(column, 60)}'" for column in columns[:NAMED])
    more = f" and {len(columns) - NAMED:,} more" if len(columns) > NAMED else ""
    what = "a new column that is" if len(columns) == 1 else f"{len(columns):,} new columns that are"
    return (
        f"{what} not loaded: {named}{more}; map what you need in a new import, or run: ingest unlock {bound.name}, "
        "and add it to columns"
    )


NAMED = 10
"""New columns that a warning names."""

LOCKED = (
    "the mapping is locked since the first committed load; map new columns in a new import, or run: ingest unlock {}"
)


def check_types(registered: Mapping[str, RegisteredField], bound: BoundImport) -> None:
    """Passes where every field of the import and its database has the type that its first load gave it.

    Raises:
        LoadError: a field has another type, or a new one another type than in databases.yaml.
    """
    declared = bound.database.fields
    for name, field in [*declared.items(), *((mapped.name, mapped.field) for mapped in bound.fields)]:
        created, wanted = registered.get(name), field.type_name
        if created is None and name in declared and declared[name].type_name != wanted:
            known = declared[name].type_name
            raise LoadError(
                f"import {bound.name}: the field '{name}' is {known} in databases.yaml, and {wanted} in the import; a "
                "field has one type",
                hint=f"nothing was merged; write type: {known}, or choose another field name",
            )
        if created is not None and created.type != wanted:
            raise LoadError(
                f"import {bound.name}: the field '{name}' was created as {created.type} by import "
                f"{created.created_by}, and the YAML says {wanted}; a field's type can't change",
                hint=f"nothing was merged; write type: {created.type}, or choose another field name",
            )


def check_mapping(state: ImportState | None, bound: BoundImport) -> None:
    """Passes where the import's mapping is not locked, or equals the YAML.

    Raises:
        ConfigError: one line per difference.
    """
    if state is None or state.mapping is None:
        return
    changes = mapping_changes(state.mapping, bound)
    if changes:
        raise ConfigError(
            [f"imports/{bound.name}.yaml: {change}" for change in changes.values()], hint=LOCKED.format(bound.name)
        )
