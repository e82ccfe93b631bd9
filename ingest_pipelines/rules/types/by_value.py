"""Python functions for what no vectorised expression can do: called once per distinct value, not per row."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


def by_distinct_value(text: pl.Expr, read: Callable[[str], object], dtype: pl.DataType) -> pl.Expr:
    """`read` of every text; NULL where it returns None or raises ValueError."""

    def batch(cells: pl.Series) -> pl.Series:
        distinct = cells.drop_nulls().unique()
        if not len(distinct):
            return pl.Series(cells.name, [None], dtype=dtype).new_from_index(0, len(cells))
        values = pl.Series("value", [_or_none(read, text) for text in distinct], dtype=dtype)
        table = pl.DataFrame([distinct.alias("cell"), values])
        joined = cells.alias("cell").to_frame().join(table, on="cell", how="left", maintain_order="left")
        return joined["value"].alias(cells.name)

    return text.map_batches(batch, return_dtype=dtype)


def _or_none(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except ValueError:
        return None
