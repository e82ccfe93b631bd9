"""The Postgres type of every field type, and the other column types that can hold it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from psycopg import sql

from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.field_types import FIELD_TYPES

_BITS: Mapping[str, int] = {"smallint": 16, "integer": 32, "bigint": 64}
_TYPE = re.compile(r"^(?P<base>[^(]*?)(?:\((?P<length>\d+)(?:,(?P<scale>\d+))?\))?(?P<rest>[^()]*)$")


def type_of(field: Field) -> sql.Composable:
    """The Postgres type of a field's column."""
    record = FIELD_TYPES[field.type]
    if field.precision is not None:
        return sql.SQL(record.column + "({},{})").format(sql.Literal(field.precision), sql.Literal(field.scale))
    if record.sized_column and field.max_length is not None:
        return sql.SQL(record.sized_column + "({})").format(sql.Literal(field.max_length))
    return sql.SQL(record.column)


def column_type(field: Field) -> str:
    """The Postgres type of a field's column, as text."""
    return type_of(field).as_string()


def can_hold(column: str, field: Field) -> bool:
    """Whether an existing column takes every value of the field unchanged.

    A column may be narrower than the field's type if the field's rules keep its values within the column: `max_length`
    of a text, `min` and `max` of a whole number.

    Args:
        column: its type, as Postgres's `format_type` spells it.
    """
    match = _TYPE.match(column)
    assert match is not None
    base = f"{match['base']}{match['rest']}".strip()
    record = FIELD_TYPES[field.type]
    if base not in (record.also_in or {record.column}):
        return False
    length, scale = (int(match[part] or 0) for part in ("length", "scale"))
    if record.column in _BITS:
        least, most = _whole_numbers(base, length - scale)
        return least <= _bound(field.min, -(2**63)) and _bound(field.max, 2**63 - 1) <= most
    if match["length"] is None:
        return True
    if field.precision is not None:
        assert field.scale is not None
        return scale >= field.scale and length - scale >= field.precision - field.scale
    return longest(field) <= length


def longest(field: Field) -> int:
    """Characters of the longest text that the field's rules accept; of a list, of one of its members."""
    if field.options is not None:
        return max(map(len, field.options))
    longest_value = FIELD_TYPES[field.type].longest
    return min(field.max_length or longest_value, longest_value)


def _whole_numbers(base: str, digits: int) -> tuple[int, int]:
    """The least and the greatest whole number of a column."""
    if base in _BITS:
        half = 1 << _BITS[base] - 1
        return -half, half - 1
    most = 10 ** (digits or 1_000) - 1
    return -most, most


def _bound(value: object, otherwise: int) -> int:
    return otherwise if value is None else int(str(value))


def conversion(name: sql.Identifier, column: str, wanted: sql.Composable) -> sql.Composed:
    """The expression that turns an existing column into the type that a field needs, for ALTER COLUMN ... USING."""
    kind = wanted.as_string()
    if column.startswith("timestamp") and "without" in column and kind == "timestamp with time zone":
        return sql.SQL("{} AT TIME ZONE 'UTC'").format(name)
    if kind == "jsonb" and column not in {"json", "text"} and not column.startswith("character"):
        return sql.SQL("to_jsonb({})").format(name)
    if kind == "text[]" and not column.endswith("[]"):
        return sql.SQL("string_to_array({}::text, ';')").format(name)
    numbers = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
    if column.startswith(numbers) and kind.startswith(numbers):
        return sql.SQL("{}::{}").format(name, wanted)
    return sql.SQL("{}::text::{}").format(name, wanted)
