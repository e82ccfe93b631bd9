"""object, objects, array: JSON that a jsonb column holds as the source wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import polars as pl

from ingest_pipelines.rules.types.base import Cell, FieldKind
from ingest_pipelines.rules.types.by_value import by_distinct_value

LONGEST_NUMBER = 400
"""Characters of a number, and the largest exponent: beyond every system's numbers, within Postgres's."""

_SHAPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "object": ('a JSON object such as {"size": "M"}', lambda value: isinstance(value, dict)),
    "array": ('a JSON array such as ["a", 1]', lambda value: isinstance(value, list)),
    "objects": (
        'a JSON array of objects such as [{"size": "M"}]',
        lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
    ),
}


def _refuse(text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _number(text: str) -> float:
    exponent = text.lower().partition("e")[2]
    if len(text) > LONGEST_NUMBER or (exponent and abs(int(exponent)) > LONGEST_NUMBER):
        raise ValueError("a number that no column holds")
    return 0.0


def _texts(value: object) -> list[str]:
    """All strings in the document, names included, in any order."""
    texts: list[str] = []
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str):
            texts.append(inner)
        elif isinstance(inner, dict):
            waiting += [*inner, *inner.values()]
        elif isinstance(inner, list):
            waiting += inner
    return texts


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(text: str, shape: Callable[[object], bool]) -> str | None:
    """The text itself, if it is JSON of the shape: numbers keep every digit.

    If a name repeats within an object, the last one wins, as in Postgres.

    Raises:
        ValueError: not JSON, or with half of a surrogate pair, which no text may contain.
    """
    value = _parse(text)
    if "\\u" in text:
        "".join(_texts(value)).encode()
    return text if shape(value) else None


def _unescape(text: str) -> str:
    """The document's strings without JSON's escapes, for the rules about characters.

    Raises:
        ValueError: not JSON.
    """
    joined = "\n".join(_texts(_parse(text)))
    joined.encode()
    return joined


def document_text(cell: Cell) -> pl.Expr:
    """The document's characters, with JSON's escapes decoded."""
    escaped = pl.when(cell.raw.str.contains("\\", literal=True)).then(cell.raw)
    return pl.coalesce(by_distinct_value(escaped, _unescape, pl.String()), cell.raw)


def _document(type_name: str) -> FieldKind:
    words, shape = _SHAPES[type_name]
    return FieldKind(
        code="bad_json",
        dtype=lambda _: pl.String(),
        reason=lambda _: f"not {words}",
        read=lambda cell, _: by_distinct_value(cell.raw, partial(read_json, shape=shape), pl.String()),
        keeps_raw=True,
    )


OBJECT, OBJECTS, ARRAY = _document("object"), _document("objects"), _document("array")
