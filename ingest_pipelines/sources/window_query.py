"""What a window requires of a query's text: that each row is in a window, those of the very bounds too. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingest_pipelines.sources.query_text import MARK, Query

if TYPE_CHECKING:
    from sqlglot import exp


def window_mistakes(query: Query) -> Iterator[str]:
    """Why rows could be in no window, and what to write instead."""
    if query.statement is None:
        return
    after_start, before_end = (_compared(query.statement, bound) for bound in ("windowStart", "windowEnd"))
    for value in after_start:
        if after_start[value] == before_end.get(value) == {True}:
            yield (
                f"query: rows whose {value} is a window's bound are in no window; write {value} >= {{windowStart}} AND "
                f"{value} < {{windowEnd}}"
            )


def _compared(statement: exp.Query, bound: str) -> dict[str, set[bool]]:
    """What is compared with the bound -> whether the bound itself is left out, in each comparison."""
    from sqlglot import exp

    found: dict[str, set[bool]] = {}
    for mark in statement.find_all(exp.Column):
        side: exp.Expr = mark
        while isinstance(side.parent, exp.Paren | exp.Cast):
            side = side.parent
        condition = side.parent
        if mark.name != f"{MARK}{bound}" or not isinstance(condition, exp.Predicate):
            continue
        value = condition.this if condition.this is not side else condition.args.get("expression")
        if value is not None:
            found.setdefault(value.sql(), set()).add(isinstance(condition, exp.GT | exp.LT))
    return found
