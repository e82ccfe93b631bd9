"""A field type: how raw cells become values, and which rules the type adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ingest_pipelines.config.databases import Field


@dataclass(frozen=True)
class Rule:
    """One rule of one field, as a vectorised test over the working frame.

    Attributes:
        field: the field's name, or `column:NAME` for a source column that fills no field.
        code: see `codes.CODES`. Rules of one field may share a code and differ in the reason.
        reason: what a person reads beside a rejected row; never the value.
        passes: Boolean expression, never NULL: True where the rule holds or does not apply.
    """

    field: str
    code: str
    reason: str
    passes: pl.Expr


@dataclass(frozen=True)
class Cell:
    """A field's columns in the working frame.

    Attributes:
        name: the field's name, and that of its column of values.
        zone: the import's time zone.
        decimal, thousands, grouping: the signs in numbers that are text, and how many digits are between them.
    """

    name: str
    field: Field
    zone: str = "UTC"
    decimal: str = "."
    thousands: str = ""
    grouping: str = ""

    @property
    def raw_name(self) -> str:
        """Name of the column `raw`. A string's cell is its value: one column for both."""
        return self.name if self.field.type == "string" else f"raw:{self.name}"

    @property
    def raw(self) -> pl.Expr:
        """The source's cell: text or Arrow-typed; NULL where it is empty."""
        return pl.col(self.raw_name)

    @property
    def given_name(self) -> str:
        """Name of the column `given`."""
        return f"given:{self.name}"

    @property
    def given(self) -> pl.Expr:
        """Whether the source's cell holds anything."""
        return pl.col(self.given_name)

    @property
    def value(self) -> pl.Expr:
        """The cast value; NULL where the cell is empty or its type does not accept it."""
        return pl.col(self.name)

    @property
    def local_name(self) -> str:
        """Name of a datetime's wall clock as the source wrote it, before any time zone."""
        return f"local:{self.name}"

    @property
    def local(self) -> pl.Expr:
        """The column of `local_name`."""
        return pl.col(self.local_name)

    def rule(self, code: str, reason: str, passes: pl.Expr) -> Rule:
        """A rule of this field."""
        return Rule(self.name, code, reason, passes)


Stages = Sequence[Mapping[str, pl.Expr]]
"""Columns by name, stage by stage: an expression may read what an earlier stage made."""


def _nothing(cell: Cell, source: pl.DataType) -> Stages:
    return ()


def _no_rules(cell: Cell) -> Sequence[Rule]:
    return ()


def _text_only(source: pl.DataType) -> bool:
    return False


@dataclass(frozen=True)
class FieldKind:
    """A type of design 4.1.

    Attributes:
        code: the reject code of a value that the type does not accept.
        dtype: what the values are in Polars and in the accepted files.
        reason: of the reject: says what would have been accepted.
        read: (cell, dtype of `cell.raw`) -> the value, NULL where not accepted. The dtype is String, or one
            for which `takes` is true.
        takes: Arrow types that `read` casts directly, not by way of text.
        before: columns that `read` and the rules need, computed first. Polars shares a repeated expression within one
            level only, so what several expressions need becomes a column.
        accepts: cell -> Boolean expression: the cell is empty or accepted. Default: its value is there.
        keeps_raw: whether rules read the raw text again. Else a validated frame drops it, because copying it would cost
            as much as the values.
        rules: further rules that belong to the type.
        drops_zeros: whether `3.00` of a typed source means 3. Text is read as it is.
    """

    code: str
    dtype: Callable[[Field], pl.DataType]
    reason: Callable[[Cell], str]
    read: Callable[[Cell, pl.DataType], pl.Expr]
    takes: Callable[[pl.DataType], bool] = _text_only
    before: Callable[[Cell, pl.DataType], Stages] = _nothing
    accepts: Callable[[Cell], pl.Expr] | None = None
    rules: Callable[[Cell], Sequence[Rule]] = _no_rules
    keeps_raw: bool = False
    drops_zeros: bool = False

    def accepted(self, cell: Cell) -> Rule:
        """The type's own rule: `bad_int`, `bad_date` ..."""
        passes = self.accepts(cell) if self.accepts else cell.value.is_not_null() | ~cell.given
        return cell.rule(self.code, self.reason(cell), passes)
