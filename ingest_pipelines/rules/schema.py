"""An import's rules as a Pandera schema, whose checks are vectorised Polars expressions.

Pandera takes a moment to import: only code that validates rows imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import polars as pl

from ingest_pipelines.errors import InternalError
from ingest_pipelines.model import LINE
from ingest_pipelines.rules.types import TYPES, Cell, Rule

if TYPE_CHECKING:
    import pandera.polars as pa
    from pandera.api.polars.types import PolarsData
    from pandera.errors import SchemaError


_KEPT: ContextVar[frozenset[int]] = ContextVar("kept", default=frozenset())
"""The rules, by identity, that every row of the frame keeps which Pandera is about to look at."""


@dataclass(frozen=True)
class Passes:
    """A rule in the form Pandera calls."""

    rule: Rule

    def __call__(self, data: PolarsData) -> pl.LazyFrame | bool:
        """True if every row passes; else one Boolean per row, for Pandera to show the failures.

        A lone True spares Pandera four collects; most frames it sees are validated already.
        """
        if id(self.rule) in _KEPT.get():
            return True
        passes = self.rule.passes.alias(self.rule.field)
        return bool(data.lazyframe.select(passes.all()).collect().item()) or data.lazyframe.select(passes)

    def __deepcopy__(self, memo: Mapping[int, object]) -> Self:
        # Pandera copies its columns on every validation; a frozen rule needs no copy.
        return self


def build_schema(name: str, cells: Sequence[Cell], rules: Sequence[Rule]) -> pa.DataFrameSchema:
    """One column per field with its dtype and its rules, over the working frame.

    Raw cells (`raw:FIELD`) are beside the values, so that a check can tell an empty cell from one
    that its type does not accept.
    """
    from ingest_pipelines.rules.pandera_polars import pa

    columns: dict[str, pa.Column] = {LINE: pa.Column(pl.Int64, nullable=False)}
    for cell in cells:
        checks = [
            pa.Check(Passes(rule), name=rule.code, error=f"{rule.code}: {rule.reason}")
            for rule in rules
            if rule.field == cell.name
        ]
        dtype = TYPES[cell.field.type].dtype(cell.field)
        columns[cell.name] = pa.Column(dtype, checks, nullable=True, description=cell.field.description or None)
    return pa.DataFrameSchema(columns, name=name, strict=False)


def declared_rules(schema: pa.DataFrameSchema) -> list[Rule]:
    """The rules of the schema's own checks, in its order."""
    functions = [check._check_fn for column in schema.columns.values() for check in column.checks]
    return [function.rule for function in functions if isinstance(function, Passes)]


def prove(schema: pa.DataFrameSchema, accepted: pl.DataFrame) -> None:
    """Passes if Pandera confirms that every accepted row keeps every rule.

    All rules are computed together first: one query instead of one for each check.

    Raises:
        InternalError: an accepted row breaks the schema. The message names fields and codes, never a value.
    """
    from pandera.errors import SchemaErrors

    rules = declared_rules(schema)
    answers = accepted.select(rule.passes.all().alias(str(place)) for place, rule in enumerate(rules)).row(0)
    kept = _KEPT.set(frozenset(id(rule) for rule, passes in zip(rules, answers, strict=True) if passes))
    try:
        schema.validate(accepted, lazy=True)
    except SchemaErrors as errors:
        broken = sorted(
            {f"{error.column_name or error.schema.name}: {_check(error)}" for error in errors.schema_errors}
        )
        raise InternalError(
            f"import {schema.name}: accepted rows break the import's own schema ({'; '.join(broken)})",
            hint="nothing was merged; this is a bug: please report it with the import's YAML file",
        ) from None
    finally:
        _KEPT.reset(kept)


def _check(error: SchemaError) -> str:
    return str(getattr(error.check, "name", None) or error.check)
