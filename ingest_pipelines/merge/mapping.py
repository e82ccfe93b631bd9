"""An import's mapping, locked by its first committed load: what exists is not renamed or retyped behind its users."""

from __future__ import annotations

from collections.abc import Mapping

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.ledger import ImportState


def mapping_of(bound: BoundImport) -> dict[str, tuple[str, str]]:
    """{source column: (field, type)}: what is locked."""
    return {mapped.column: (mapped.name, mapped.field.type_name) for mapped in bound.fields}


def mapping_changes(locked: Mapping[str, tuple[str, str]], bound: BoundImport) -> list[str]:
    """What the YAML says other than the locked mapping, one line each; empty where they agree."""
    now = mapping_of(bound)
    changes = []
    for column in sorted({*locked, *now}):
        was, is_now = (tuple(side[column]) if column in side else None for side in (locked, now))
        if was == is_now:
            continue
        if was is None:
            changes.append(f"columns.{column}: added since the first committed load")
        elif is_now is None:
            changes.append(f"columns.{column}: removed; it filled '{was[0]}' ({was[1]})")
        else:
            changes.append(f"columns.{column}: it filled '{was[0]}' ({was[1]}), now '{is_now[0]}' ({is_now[1]})")
    return changes


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
            [f"imports/{bound.name}.yaml: {change}" for change in changes],
            hint="the mapping is locked since the first committed load; map new columns in a new import, or run: "
            f"ingest unlock {bound.name}",
        )
