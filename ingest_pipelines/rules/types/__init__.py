"""How the cells of each field type are read; TYPES has them by name."""

from importlib import import_module

from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.rules.types.base import Cell, FieldKind, Rule


def _kind(reader: str) -> FieldKind:
    module, name = reader.split(":")
    kind: FieldKind = getattr(import_module(f"{__name__}.{module}"), name)
    return kind


TYPES: dict[str, FieldKind] = {name: _kind(record.reader) for name, record in FIELD_TYPES.items()}

__all__ = ["TYPES", "Cell", "FieldKind", "Rule"]
