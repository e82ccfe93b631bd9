"""JSON values as cells: parsed strictly, numbers and documents written with all of their digits. Pure."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, NoReturn

from ingest_pipelines.model import utf8_or_nul

LARGEST_EXPONENT = 400
"""A number beyond it stays as it is written: its digits would fill the memory."""


class Number(str):
    """A number in plain notation: `1.5`, not `15e-1`."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Number:
        """The JSON number."""
        number = Decimal(text)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or abs(exponent) > LARGEST_EXPONENT:
            return cls(text)
        plain = format(number, "f")
        plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return cls("0" if plain in {"-0", ""} else plain)


class RepeatedKey(ValueError):
    """An object has a key twice."""


def parsed(text: bytes) -> Any:
    """The value, with each number as `Number`.

    Raises:
        RepeatedKey.
        ValueError, RecursionError: it is no JSON.
    """
    return json.loads(
        text, parse_int=Number.of, parse_float=Number.of, parse_constant=_no_number, object_pairs_hook=_object
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise RepeatedKey
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def kind_of(value: object) -> str:
    """`null`, `truth`, `number`, `text` or `nested`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, Number):
        return "number"
    return "text" if isinstance(value, str) else "nested"


def cell_of(value: object) -> str | None:
    """The cell of a value that `parsed` returned."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return document(value)


def document(value: object) -> str:
    """JSON of a value of `parsed`, or of Python: decimals are numbers, bytes the text that they are in UTF-8."""
    if isinstance(value, dict):
        members = (f"{json.dumps(str(key), ensure_ascii=False)}: {document(inner)}" for key, inner in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(document, value)) + "]"
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    if isinstance(value, bytes):
        value = utf8_or_nul(value)
    return json.dumps(value, default=str, ensure_ascii=False)
