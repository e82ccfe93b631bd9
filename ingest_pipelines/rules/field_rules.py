"""The rules of a field's config: required, min, max, pattern, one_of. `unique` needs the whole item: `validate`."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.rules.types import TYPES, Cell, Rule


def field_rules(bound: BoundImport, cell: Cell) -> Iterator[Rule]:
    """The rules that the field's config adds to those of its type.

    Raises:
        ConfigError: a `min`, `max` or `one_of` that the type does not accept, or a `pattern` that the
            linear-time engine does not know.
    """
    field = cell.field
    if field.required:
        # A value that its type does not accept is there, and has its own code. An enum's 0 is "not selected".
        there = cell.given
        if field.type == "enum":
            there &= cell.value.is_not_null() | ~TYPES["enum"].accepted(cell).passes
        yield cell.rule("required", "empty, and the field is required", there)
    if field.min is not None:
        least = _constant(bound, cell, "min", str(field.min))
        yield cell.rule("below_min", f"less than {field.min}", (cell.value >= least).fill_null(True))
    if field.max is not None:
        most = _constant(bound, cell, "max", str(field.max))
        yield cell.rule("above_max", f"more than {field.max}", (cell.value <= most).fill_null(True))
    if field.pattern is not None:
        yield cell.rule("pattern", f"does not match {field.pattern} as a whole", _matches(bound, cell, field.pattern))
    if field.one_of is not None:
        yield cell.rule("not_one_of", f"not one of {', '.join(field.one_of)}", _is_one(bound, cell, field.one_of))


def _mistake(bound: BoundImport, cell: Cell, key: str, what: str) -> ConfigError:
    return ConfigError([f"imports/{bound.name}.yaml: {cell.name}.{key}: {what}"], hint=f"ingest check {bound.name}")


def constants(cell: Cell, texts: tuple[str, ...]) -> pl.Series:
    """The texts as values of the cell's type, read as a source's cells are; NULL where not accepted."""
    kind = TYPES[cell.field.type]
    frame = pl.DataFrame({cell.raw_name: list(texts)}, schema={cell.raw_name: pl.String})
    text = pl.String()
    for stage in kind.before(cell, text):
        frame = frame.with_columns(**stage)
    return frame.select(kind.read(cell, text).alias(cell.name)).to_series()


def _constant(bound: BoundImport, cell: Cell, key: str, text: str) -> pl.Expr:
    series = constants(cell, (text,))
    if series[0] is None and cell.field.type == "datetime":
        series = constants(cell, (f"{text}T00:00:00",))
    if series[0] is None:
        raise _mistake(bound, cell, key, f"'{text}' is no {cell.field.type_name}")
    return pl.lit(series[0], dtype=series.dtype)


def _is_one(bound: BoundImport, cell: Cell, texts: tuple[str, ...]) -> pl.Expr:
    allowed = constants(cell, texts)
    if allowed.null_count():
        wrong = texts[int(allowed.is_null().arg_max() or 0)]
        raise _mistake(bound, cell, "one_of", f"'{wrong}' is no {cell.field.type_name}")
    if FIELD_TYPES[cell.field.type].ignores_case:
        return cell.value.str.to_lowercase().is_in(allowed.str.to_lowercase().to_list()).fill_null(True)
    return cell.value.is_in(allowed.implode()).fill_null(True)


def _matches(bound: BoundImport, cell: Cell, pattern: str) -> pl.Expr:
    whole = rf"\A(?:{pattern})\z"
    try:
        pl.Series([""]).str.contains(whole)
    except pl.exceptions.ComputeError as error:
        why = (
            "is too large"
            if "size limit" in str(error)
            else "is no regular expression of the engine that validates rows"
        )
        raise _mistake(bound, cell, "pattern", f"{why}; write it more simply, or use one_of") from None
    return cell.value.str.contains(whole).fill_null(True)
