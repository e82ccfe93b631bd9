"""Fields that databases.yaml retypes after they were loaded: the edit is the mistake, and imports keep the old type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError

from ingest_pipelines.config.bound import BoundImport, map_column
from ingest_pipelines.config.databases import ONLY_FOR, Database, Field

_OF_THE_TYPE = frozenset({"type", "precision", "scale"})


def as_created(database: Database, types: Mapping[str, str]) -> tuple[Database, dict[str, str]]:
    """The database with its fields' types as they were created, and {retyped field: the type of databases.yaml}.

    Args:
        types: the type that each field got from its first load.
    """
    fields, retyped = dict(database.fields), dict[str, str]()
    for name, field in database.fields.items():
        created = types.get(name, field.type_name)
        if created == field.type_name:
            continue
        retyped[name] = field.type_name
        fields[name] = _with_type(field, created) or field
    return (database.model_copy(update={"fields": fields}) if retyped else database), retyped


def keep_types(bound: BoundImport, types: Mapping[str, str]) -> BoundImport:
    """The import with its fields' types as they were created, whatever databases.yaml says now.

    Args:
        types: as for `as_created`.
    """
    database, retyped = as_created(bound.database, types)
    if not retyped:
        return bound
    fields = []
    for mapped in bound.fields:
        target = bound.spec.columns.get(mapped.column)
        if mapped.name not in retyped:
            fields.append(mapped)
        elif target is None:  # of `set`
            fields.append(replace(mapped, field=database.fields[mapped.name]))
        else:
            fields.append(map_column(mapped.column, target, database)[0] or mapped)
    return replace(bound, database=database, fields=tuple(fields), retyped=retyped)


def _with_type(field: Field, type_name: str) -> Field | None:
    """The field with that type and its rules that the type takes; None: the type needs more."""
    kind = type_name.partition("(")[0]
    rules = {
        key: getattr(field, key)
        for key in field.model_fields_set
        if key not in _OF_THE_TYPE and (key not in ONLY_FOR or kind in ONLY_FOR[key])
    }
    try:
        return Field.model_validate({**rules, "type": type_name})
    except ValidationError:
        return None
