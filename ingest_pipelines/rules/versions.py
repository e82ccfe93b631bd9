"""Which of several rows with one value is the newest, by the import's `version`, as `merge.versions` compares rows.

Texts are compared as numbers if all of them are, else byte by byte, which sorts ISO dates. A row without a version is
older than any with one.
"""

from __future__ import annotations

import polars as pl

from ingest_pipelines.model import LINE
from ingest_pipelines.rules.compile import Rules
from ingest_pipelines.rules.keys import is_column
from ingest_pipelines.rules.types import TYPES

VERSION_NUMBER, VERSION = "version_number", "version"
"""A row's version in an order of numbers, NULL where it is none; and in the order of its type."""

NO_VERSION = (pl.lit(None).alias(VERSION_NUMBER), pl.lit(None).alias(VERSION))

_LINES = {VERSION_NUMBER: "line_by_number", VERSION: "line"}
"""By order, the column with the line of the newest row."""

_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_WIDTH = 10
"""Digits of the number of digits."""


def versions(rules: Rules) -> tuple[pl.Expr, pl.Expr]:
    """The columns VERSION_NUMBER and VERSION of an accepted file's rows."""
    column = rules.bound.spec.version
    if column is None:
        return NO_VERSION
    field = next((mapped.name for mapped in rules.bound.fields if mapped.column == column), f"column:{column}")
    cell = next(source.cell for source in rules.sources if source.cell.name == field)
    dtype = TYPES[cell.field.type].dtype(cell.field)
    if isinstance(dtype, pl.List):
        return NO_VERSION
    if dtype == pl.String or is_column(cell):
        return in_order_of_numbers(cell.value).alias(VERSION_NUMBER), cell.value.alias(VERSION)
    return cell.value.alias(VERSION_NUMBER), cell.value.alias(VERSION)


def in_order_of_numbers(text: pl.Expr) -> pl.Expr:
    """A text that sorts, byte by byte, as the number does that the given one is, of any size; NULL where it is none."""
    parts = text.str.extract_groups(r"^(?P<sign>-?)0*(?P<whole>[0-9]*?)(?:\.(?P<part>[0-9]*?)0*)?$")
    whole, part = parts.struct.field("whole"), parts.struct.field("part").fill_null("")
    size = whole.str.len_bytes().cast(pl.String).str.zfill(_WIDTH)
    positive = size + whole + "." + part
    digits = {str(digit): str(9 - digit) for digit in range(10)}
    negative = positive.str.replace_many(digits) + "~"  # the larger its digits, the earlier it sorts
    below_zero = (parts.struct.field("sign") == "-") & ((whole != "") | (part != ""))
    return pl.when(text.str.contains(_NUMBER)).then(pl.when(below_zero).then("-" + negative).otherwise("0" + positive))


def lines_of(acceptable: bool) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """The columns that `newest` reads, of rows of which all could be accepted, or none."""
    line = pl.col(LINE) if acceptable else pl.lit(None, pl.Int64)
    numbers = pl.col(VERSION_NUMBER).is_not_null() | pl.col(VERSION).is_null()
    return line.alias(_LINES[VERSION_NUMBER]), line.alias(_LINES[VERSION]), numbers.alias("numbers")


def newest(keep: str) -> list[pl.Expr]:
    """What finds the newest row of a group, over rows or over the results of this for parts of the group.

    Args:
        keep: `last` or `first` of equally new rows, by line.
    """
    lines = []
    for order, name in _LINES.items():
        line = pl.col(name).filter(pl.col(order).eq_missing(pl.col(order).max()))
        lines += [pl.col(order).max(), line.max() if keep == "last" else line.min()]
    return [*lines, pl.col("numbers").all()]


def newest_line() -> pl.Expr:
    """The line of the newest row, of the results of `newest`; NULL where no row could be accepted."""
    return pl.when("numbers").then(_LINES[VERSION_NUMBER]).otherwise(_LINES[VERSION])
