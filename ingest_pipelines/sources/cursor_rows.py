"""Which rows the parts of a cursor's query let through: limits that a chunk's number of rows does not show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ingest_pipelines.config.connections import DIALECTS
from ingest_pipelines.sources.query_text import MARK, Query

if TYPE_CHECKING:
    from sqlglot import exp


def last_items(statement: exp.Query) -> Iterator[exp.Column]:
    """The query's `{lastItem}`."""
    from sqlglot import exp

    return (column for column in statement.find_all(exp.Column) if column.name == f"{MARK}lastItem")


def parts_around(node: exp.Expr) -> Iterator[exp.Query]:
    """SELECTs and set operations that the node is in, from the innermost outwards."""
    from sqlglot import exp

    above = node.parent
    while above is not None:
        if isinstance(above, exp.Select | exp.SetOperation):
            yield above
        above = above.parent


def brings_rows(part: exp.Query) -> bool:
    """Whether the part's rows are rows of the whole query: it is no value, and no condition such as EXISTS."""
    from sqlglot import exp

    node: exp.Expr = part
    while (parent := node.parent) is not None:
        if isinstance(parent, exp.Select):
            if node.arg_key not in _RELATIONS:
                return False
        elif not isinstance(parent, _steps()):
            return False
        node = parent
    return True


_RELATIONS = frozenset({"from_", "joins", "laterals", "with_"})


def _steps() -> tuple[type[exp.Expr], ...]:
    """What stands between a part and the part around it."""
    from sqlglot import exp

    return (exp.Subquery, exp.From, exp.Join, exp.Lateral, exp.CTE, exp.With, exp.SetOperation, exp.Paren, exp.Final)


def hidden_limits(
    query: Query, statement: exp.Query, comparisons: Iterable[tuple[exp.Expr, exp.Expr]]
) -> Iterator[str]:
    """What cuts off rows in a part of the query that `{lastItem}` is in, or whose rows are compared with it.

    Args:
        comparisons: conditions that rows beyond `{lastItem}` fulfil, each with what it compares.
    """
    from sqlglot import exp

    write = f"write ORDER BY ... {DIALECTS[query.dialect].limit_clause} at the query's end"
    parts = {id(part): part for mark in last_items(statement) for part in parts_around(mark)}
    for condition, value in comparisons:
        for part in _read_by(next(parts_around(condition)), value, statement):
            parts.setdefault(id(part), part)
    numbered: set[str] = {"rownum"}
    for part in parts.values():
        limit = part.args.get("limit")
        if part is not statement and limit is not None and not limit.args.get("expressions"):
            yield f"query: a LIMIT within it cuts off rows that no chunk reads again; {write}"
        if isinstance(part, exp.Select):
            numbered |= {selected.alias_or_name.lower() for selected in part.selects if _numbers_rows(selected)}
    for part in parts.values():
        for clause in filter(None, map(part.args.get, ("where", "prewhere", "qualify"))):
            named = {column.name.lower() for column in clause.find_all(exp.Column)}
            if named & numbered or _numbers_rows(clause):
                yield f"query: a condition on row numbers cuts off rows that no chunk reads again; {write}"


def _read_by(part: exp.Query, value: exp.Expr, statement: exp.Query) -> Iterator[exp.Query]:
    """Subqueries and common table expressions that the compared value comes from, and those that they read."""
    from sqlglot import exp

    named = {cte.alias.lower(): cte.this for cte in statement.find_all(exp.CTE)}
    tables = {column.table.lower() for column in value.find_all(exp.Column)} - {""}
    waiting, found = [(part, tables)], {id(part)}
    while waiting:
        reading, wanted = waiting.pop()
        for relation in _relations(reading):
            if wanted and relation.alias_or_name.lower() not in wanted:
                continue
            below = relation.unnest() if isinstance(relation, exp.Subquery) else None
            if isinstance(relation, exp.Table) and not relation.db:
                below = named.get(relation.name.lower())
            if isinstance(below, exp.Query) and id(below) not in found:
                found.add(id(below))
                waiting.append((below, set()))
                yield below


def _relations(part: exp.Expr) -> Iterator[exp.Expr]:
    """What the part reads from: its first relation; joined ones are looked up for each of its rows."""
    from sqlglot import exp

    if isinstance(part, exp.SetOperation):
        for side in (part.left, part.right):
            yield from _relations(side.unnest() if isinstance(side, exp.Subquery) else side)
        return
    relation = part.args.get("from_")
    while isinstance(relation, exp.From | exp.Final | exp.Paren):
        relation = relation.this
    if relation is not None:
        yield relation


def _numbers_rows(node: exp.Expr) -> bool:
    """Whether a window function in it tells rows of one value apart: their number, or a count of rows before them."""
    from sqlglot import exp

    for window in node.find_all(exp.Window):
        if any(not isinstance(part, exp.Literal) for part in window.args.get("partition_by") or ()):
            continue
        spec = window.args.get("spec")
        by_rows = spec is not None and str(spec.args.get("kind")).upper() == "ROWS"
        counts = isinstance(window.this, exp.Count | exp.Sum) and by_rows
        if counts or isinstance(window.this, exp.RowNumber | exp.Ntile):
            return True
    return False
