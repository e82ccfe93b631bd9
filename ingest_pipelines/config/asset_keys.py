"""Keys of Dagster assets in YAML: `[dbt, mart_customers]`, `dbt/mart_customers`, or a list of keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

KeyPath = tuple[str, ...]
"""The parts of an asset's key."""

_MEANING = "an asset's key is [dbt, mart_customers] or dbt/mart_customers"


def parse_key(value: Any) -> KeyPath:
    """The key's parts.

    Raises:
        ValueError: another spelling.
    """
    parts = value.split("/") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise ValueError(_MEANING)
    for part in parts:
        if not isinstance(part, str):
            raise ValueError(f"{_MEANING}; a number or a word such as true needs quotes, else YAML does not read text")
        if part != part.strip() or not part.isprintable() or not part:
            raise ValueError(f"{_MEANING}: its parts are not empty, and have no blanks around them")
        if "/" in part:
            raise ValueError(
                f"'{part}' has a '/', and is one part of a key here; a list of keys is [[dbt, a], [dbt, b]]"
            )
    return tuple(parts)


def parse_keys(value: Any) -> tuple[KeyPath, ...]:
    """One key, or a list of keys, of which none is given twice.

    Raises:
        ValueError: another spelling.
    """
    several = isinstance(value, list | tuple) and any(isinstance(part, list | tuple) for part in value)
    keys = tuple(map(parse_key, value)) if several else (parse_key(value),)
    if len(set(keys)) < len(keys):
        raise ValueError("a key is given twice")
    return keys


def spelled_key(key: Iterable[str]) -> str:
    """The key as Dagster's UI spells it: `dbt/mart_customers`."""
    return "/".join(key)


_PART = {"type": "string", "minLength": 1}
_KEY = [_PART, {"type": "array", "items": _PART, "minItems": 1}]
AssetPath = Annotated[KeyPath, BeforeValidator(parse_key), WithJsonSchema({"anyOf": _KEY})]
"""The key of one asset."""

AssetPaths = Annotated[
    tuple[KeyPath, ...],
    BeforeValidator(parse_keys),
    WithJsonSchema({"anyOf": [*_KEY, {"type": "array", "items": _KEY[1], "minItems": 1}]}),
]
"""The key of one asset, or keys of several."""
