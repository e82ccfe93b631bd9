"""An import's mapping, locked by its first committed load: what exists is not renamed or retyped behind its users."""

from __future__ import annotations

from collections.abc import Mapping

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import ConfigError, LoadError
from ingest_pipelines.ledger import ImportState, RegisteredField
from ingest_pipelines.merge.ddl import fields_of


def mapping_of(bound: BoundImport) -> dict[str, tuple[str, str]]:
    """{source column: (field, type)}: what is locked."""
    return {mapped.column: (mapped.name, mapped.field.type_name) for mapped in bound.fields}


def mapping_changes(locked: Mapping[str, tuple[str, str]], bound: BoundImport) -> dict[str, str]:
    """What the YAML says other than the locked mapping, by source column; empty where they agree."""
    now = mapping_of(bound)
    changes = {}
    for column in sorted({*locked, *now}):
        was, is_now = (tuple(side[column]) if column in side else None for side in (locked, now))
        if was == is_now:
            continue
        if was is None:
            changes[column] = f"columns.{column}: added since the first committed load"
        elif is_now is None:
            changes[column] = f"columns.{column}: removed; it filled '{was[0]}' ({was[1]})"
        else:
            filled = f"it filled '{was[0]}' ({was[1]}), now '{is_now[0]}' ({is_now[1]})"
            changes[column] = f"columns.{column}: {filled}"
    return changes


LOCKED = (
    "the mapping is locked since the first committed load; map new columns in a new import, or run: ingest unlock {}"
)


def check_types(registered: Mapping[str, RegisteredField], bound: BoundImport) -> None:
    """Passes where every field of the import and its database has the type that its first load gave it.

    Raises:
        LoadError: one has another.
    """
    for name, field in fields_of(bound).items():
        known, wanted = registered.get(name), field.type_name
        if known is not None and known.type != wanted:
            raise LoadError(
                f"import {bound.name}: the field '{name}' was created as {known.type} by import {known.created_by}, "
                f"and the YAML says {wanted}; a field's type can't change",
                hint=f"nothing was merged; write type: {known.type}, or choose another field name",
            )


def check_mapping(state: ImportState | None, bound: BoundImport) -> None:
    """Passes where the import is not locked, or locked to what the YAML says.

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
