"""The Postgres type of every field type, and what else may hold it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from psycopg import sql

from ingest_pipelines.config.databases import Field

_PLAIN: Mapping[str, sql.SQL] = {
    "int": sql.SQL("bigint"),
    "float": sql.SQL("double precision"),
    "bool": sql.SQL("boolean"),
    "date": sql.SQL("date"),
    "datetime": sql.SQL("timestamp with time zone"),
    "enum": sql.SQL("text"),
    "email": sql.SQL("text"),
    "phone": sql.SQL("text"),
    "phones": sql.SQL("text[]"),
    "ip": sql.SQL("inet"),
    "object": sql.SQL("jsonb"),
    "objects": sql.SQL("jsonb"),
    "array": sql.SQL("jsonb"),
}
_TEXTS = frozenset({"text", "character varying", "citext"})
_HOLDS: Mapping[str, frozenset[str]] = {
    "string": _TEXTS,
    "enum": _TEXTS,
    "email": _TEXTS,
    "phone": _TEXTS,
    "int": frozenset({"bigint", "integer", "smallint", "numeric"}),
    "decimal": frozenset({"numeric"}),
    "phones": frozenset({"text[]", "character varying[]"}),
}
"""Which existing columns may hold a field, without their length; else exactly the type it would be created with."""

_TYPE = re.compile(r"^(?P<base>[^(]*?)(?:\((?P<length>\d+)(?:,(?P<scale>\d+))?\))?(?P<rest>[^()]*)$")


def type_of(field: Field) -> sql.Composable:
    """The Postgres type of a field's column."""
    if field.type == "decimal":
        return sql.SQL("numeric({},{})").format(sql.Literal(field.precision), sql.Literal(field.scale))
    if field.type == "string":
        if field.max_length is None:
            return sql.SQL("text")
        return sql.SQL("character varying({})").format(sql.Literal(field.max_length))
    return _PLAIN[field.type]


def column_type(field: Field) -> str:
    """The Postgres type of a field's column, as text."""
    return type_of(field).as_string()


def can_hold(column: str, field: Field) -> bool:
    """Whether an existing column takes every value of the field unchanged.

    Args:
        column: its type, as Postgres's `format_type` spells it.
    """
    match = _TYPE.match(column)
    assert match is not None
    base = f"{match['base']}{match['rest']}".strip()
    if base not in _HOLDS.get(field.type, frozenset({column_type(field)})):
        return False
    length, scale = (int(match[part] or 0) for part in ("length", "scale"))
    if length == 0:
        return True
    if field.type == "decimal":
        assert field.precision is not None
        assert field.scale is not None
        return scale >= field.scale and length - scale >= field.precision - field.scale
    return field.max_length is not None and field.max_length <= length
