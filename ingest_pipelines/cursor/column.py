"""A cursor column as a result brings it, read as the values that its import says it holds."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.cursor.values import CursorKind, CursorValue, Moment
from ingest_pipelines.errors import CursorStuck

SPELLS = b"spells"
"""Metadata of an Arrow field of texts that are something else in the source: what they spell."""

Spelled = Literal["number", "moment", "enum"]

NANOSECONDS_PER = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


def spelling(kind: Spelled | None) -> dict[bytes, bytes] | None:
    """The metadata of a field whose texts spell something else in the source; None for texts."""
    return None if kind is None else {SPELLS: kind.encode()}


def spelled_by(field: pa.Field) -> Spelled | None:
    """What the field's texts are in the source, where they are no texts."""
    if pa.types.is_decimal(field.type):
        return "number"
    name = (field.metadata or {}).get(SPELLS)
    kinds: tuple[Spelled, ...] = ("number", "moment", "enum")
    return next((kind for kind in kinds if kind.encode() == name), None)


def typed(column: pa.Array, kind: CursorKind, spells: Spelled | None) -> pa.Array:
    """The column as its kind is compared. Texts that spell the source's numbers or moments are read as such.

    Raises:
        ValueError: the column holds something else.
    """
    of = column.type
    is_text = pa.types.is_string(of) or pa.types.is_large_string(of)
    if kind == "text" and is_text and spells is None:
        return column
    if kind == "number" and (pa.types.is_integer(of) or pa.types.is_decimal(of)):
        return column
    if kind == "moment" and (pa.types.is_timestamp(of) or pa.types.is_date(of)):
        return column
    if pa.types.is_null(of) or (kind == spells and is_text and not len(column)):
        return column
    if kind == spells and is_text:
        return pc.cast(column, _spelled(column, kind))  # ArrowInvalid is a ValueError
    raise ValueError(f"{of} holds no {kind}")


def largest_value(largest: pa.Array, column: str, kind: CursorKind, where: str) -> CursorValue | None:
    """The value of an array of one; None of an empty one.

    Raises:
        CursorStuck: no cursor can hold it.
    """
    if not len(largest):
        return None
    spells: Spelled | None = None if kind == "text" else kind
    try:
        return value_of(typed(largest, kind, spells)[0])
    except ValueError:
        what, hint = unusable(largest, column, kind, spells)
        raise CursorStuck(f"{where}: {what}", hint=hint) from None


def unusable(column: pa.Array, name: str, kind: CursorKind, spells: Spelled | None) -> tuple[str, str]:
    """Why the column cannot be a cursor of the kind, and what to do."""
    of = column.type
    if pa.types.is_floating(of):
        return (
            f"'{name}' is {of}, a binary floating-point number, whose digits in the database no cursor can hold",
            f"select it, compare it and order by it as a decimal: CAST({name} AS DECIMAL(38, 10)) AS {name}",
        )
    if kind == spells and pc.any(pc.match_substring_regex(column, "(?i)^[+-]?(nan|inf|infinity)$")).as_py():
        return (
            f"'{name}' holds infinity or NaN, which no cursor can pass",
            f"leave these rows out in the query's WHERE, or give them a value of their own in '{name}'",
        )
    if kind == spells:
        what = "more than 76 digits" if kind == "number" else "dates that are none of the years 1 to 9999"
        return f"'{name}' holds {what}", "leave these rows out in the query's WHERE, or choose another column"
    if spells == "enum":
        return (
            f"'{name}' is an enumeration, whose order is that of its list, and not that of its texts",
            f"select it, compare it and order by it as text: CAST({name} AS CHAR) AS {name}",
        )
    says = {"number": "numbers", "moment": "dates or timestamps", "text": "text"}
    hint = "write cursor.start as a number, as '2026-01-31', as '2026-01-31T00:00:00', or as text"
    if spells is None and (pa.types.is_string(of) or pa.types.is_large_string(of)):
        hint = f"the database orders it as text: write cursor.start as text, or CAST {name} to {says[kind]} wherever "
        hint += "the query selects it, compares it and orders by it"
    return f"'{name}' is {says[spells] if spells else of}, and its start says it holds {says[kind]}", hint


def _spelled(texts: pa.Array, kind: CursorKind) -> pa.DataType:
    """The type that the texts are read as: the widest number with their decimals, or a moment like the first one."""
    if kind == "number":
        fractions = pc.replace_substring_regex(texts, r"^[^.]*\.?", "")
        return pa.decimal256(76, pc.max(pc.binary_length(fractions)).as_py() or 0)
    text = texts[0].as_py()
    if len(text) == len("2026-01-31"):
        return pa.date32()
    zoned = text.endswith("Z") or "+" in text[10:] or "-" in text[10:]
    return pa.timestamp("us", "UTC" if zoned else None)


def value_of(scalar: pa.Scalar) -> CursorValue:
    """The value of one cell of a typed column."""
    if pa.types.is_timestamp(scalar.type):
        return Moment(scalar.value * NANOSECONDS_PER[scalar.type.unit], scalar.type.tz is not None)
    value = scalar.as_py()
    if isinstance(value, float | Decimal):
        digits = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return Decimal(digits) if "." in digits else int(digits)
    assert isinstance(value, CursorValue)
    return value
