"""The SQL side of a cursor: what its chunks require of a query's text, and the queries made from it. Pure.

Chunks lose no row if the query chooses rows by the cursor column (WHERE) and orders them by the same expression
(ORDER BY), so that one order of the server decides both, and only a LIMIT at its end cuts rows off. What the values
mean, and where a chunk ends, is in `ingest_pipelines/cursor/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from ingest_pipelines.config.connections import DIALECTS
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources.cursor_rows import brings_rows, hidden_limits, last_items, parts_around
from ingest_pipelines.sources.query_text import Query, about_rows, read_query
from ingest_pipelines.sources.sql_lexer import SqlToken

if TYPE_CHECKING:
    from sqlglot import exp


def chunk_limit(query: Query) -> int | None:
    """How many rows a chunk has at most; None: it has all that there are."""
    if query.statement is not None:
        return query.limit
    count = _count(query)
    return None if count is None else int(count.value)


def one_row_more(query: Query) -> str:
    """The query's text with a LIMIT of one row more than its own: that row shows whether another value follows.

    Nothing but the digits of that number is changed; where the parser understands the query, it has seen that it is so.
    """
    limit = chunk_limit(query)
    if limit is None:
        return query.text
    if query.statement is None:
        count = _count(query)
        assert count is not None
        return f"{query.text[: count.start]}{limit + 1}{query.text[count.end :]}"
    for token in reversed(query.tokens):
        if token.kind == "number" and token.value.isdigit() and int(token.value) == limit:
            text = f"{query.text[: token.start]}{limit + 1}{query.text[token.end :]}"
            longer = read_query(text, query.dialect)
            if longer.limit == limit + 1 and _without_limit(longer) == _without_limit(query):
                return text
    raise ConfigError(["query: its LIMIT is not found in its text"], hint="write it at the end: LIMIT 1000")


def _without_limit(query: Query) -> exp.Query | None:
    if query.statement is None:
        return None
    statement = query.statement.copy()
    statement.set("limit", None)
    return statement


def no_value_query(query: Query, column: str) -> Query | None:
    """A query for one row whose column is NULL: no comparison with `{lastItem}` is ever true for it.

    `seq > {lastItem}` becomes `seq IS NULL`, and the parser has seen that nothing else changed. None: the query
    compares in another way.
    """
    if query.statement is None:
        return None
    for _ in range(len(query.marks)):
        changed = next(_without_one_comparison(query), None)
        if changed is None:
            return None
        query = changed
        if not query.marks:
            return about_rows(query, column)
    return None


_AFTER_IT = {"", ")", ";", "AND", "GROUP", "ORDER", "LIMIT", "UNION"}
"""What may follow a condition, so that it ends with `{lastItem}`."""


def rows_of_another_answer(query: Query, column: str, condition: str) -> Query | None:
    """A query for one row that fulfils another condition than to come after `{lastItem}`: `seq <= {lastItem}`.

    None: the database raises an error for a value that it cannot compare, or the query compares in another way.

    Args:
        condition: what follows the column in place of `> {lastItem}`.
    """
    if not DIALECTS[query.dialect].unreadable_is_null:
        return None
    text = query.text
    for mark in reversed(query.marks):
        ahead = [token for token in query.tokens if token.end <= mark.start]
        behind = next((token.value for token in query.tokens if token.start >= mark.end), "")
        operator = ahead[-2] if [token.value for token in ahead[-2:]] == [">", "="] else ahead[-1]
        if operator.value not in {">", ">="} or behind not in _AFTER_IT:
            return None
        text = f"{text[: operator.start]} {condition} {text[mark.end :]}"
    return about_rows(read_query(text, query.dialect), column)


def _without_one_comparison(query: Query) -> Iterator[Query]:
    """The query with its first comparison with `{lastItem}` replaced by IS NULL, if that can be done."""
    from sqlglot import exp

    assert query.statement is not None
    mark = query.marks[0]
    expected = query.statement.copy()
    comparison, value = next(_comparisons(expected), (None, None))
    if comparison is None or value is None:
        return
    comparison.replace(exp.Is(this=value.copy(), expression=exp.Null()))
    ahead = [token for token in query.tokens if token.end <= mark.start and token.value in {">", ">=", "="}]
    ends = [mark.end, *(token.end for token in query.tokens if token.start >= mark.end)][:12]
    for operator in reversed(ahead[-2:]):
        for end in ends:
            text = f"{query.text[: operator.start].rstrip().removesuffix('>')} IS NULL {query.text[end:]}"
            try:
                changed = read_query(text, query.dialect)
            except ConfigError:
                continue
            if changed.statement is not None and changed.statement == expected:
                yield changed


def cursor_mistakes(query: Query, column: str, *, is_text: bool) -> Iterator[str]:
    """Why chunks of the query could lose rows, and what to write instead."""
    if "lastItem" not in {mark.name for mark in query.marks}:
        yield f"query: {{lastItem}} is only in a comment; write WHERE {column} > {{lastItem}}"
        return
    if query.skips_rows:
        yield "query: OFFSET skips rows that no chunk reads again; leave it out, the cursor moves by itself"
    if query.descending:
        yield "query: ORDER BY ... DESC reads the last rows first, and the cursor skips the others: use ASC"
        return
    statement = query.statement
    if statement is None:
        yield from _unproven(query, column, is_text=is_text)
        return
    yield from _limit_mistakes(query, statement)
    yield from hidden_limits(query, statement, _comparisons(statement))
    ordered = is_text or statement.args.get("limit") is not None
    yield from _order_mistakes(query, statement, column, ordered=ordered, is_text=is_text)
    yield from _condition_mistakes(query, statement, column, ordered=ordered)


_ADDS = re.compile(r"(?i)add|.*add$")
"""Functions that add to a moment: DATE_ADD, addDays, ADD_MONTHS."""

_LIMITING = {"LIMIT", "FETCH", "TOP", "ROWNUM", "ROW_NUMBER", "OFFSET"}


def _unproven(query: Query, column: str, *, is_text: bool) -> Iterator[str]:
    """What the tokens of a query leave open that the parser does not understand."""
    tokens = query.tokens
    limits = [token for token in tokens if token.value in _LIMITING and token.kind == "word"]
    if not limits and not is_text:
        return
    name = column.upper()
    places = [at for at, token in enumerate(tokens[:-1]) if not token.depth and token.value == "ORDER"]
    key = [] if not places else [*takewhile(lambda token: token.value not in _BEHIND_A_KEY, tokens[places[-1] + 2 :])]
    begins = {mark.start for mark in query.marks}
    ahead = [[token.value for token in tokens[:at]] for at, token in enumerate(tokens) if token.start in begins]
    compared = [_before_operator(values).strip('"`[]').upper() for values in ahead]
    plain_key = bool(key) and _plain(key).upper().strip('"`[]') == name
    plain_where = bool(compared) and all(value == name for value in compared)
    ends = {mark.end for mark in query.marks}
    behind = [next((token.value for token in tokens if token.start >= end), "") for end in ends]
    plain_where = plain_where and not {"+", "*", "||"}.intersection(behind)
    counted = not limits or (_count(query) is not None and all(not token.depth for token in limits))
    if not (plain_key and plain_where and counted):
        yield (
            f"query: {query.not_understood}: the parser does not understand it, so it is not proven that its "
            f"LIMIT loses no row; write WHERE {column} > {{lastItem}} ORDER BY {column} and the LIMIT at the query's "
            "end, or put the rest into a view"
        )


def _before_operator(values: list[str]) -> str:
    """What stands before a closing `>` or `>=`; "" where there is none."""
    for operator in ([">="], [">", "="], [">"]):
        if values[-len(operator) :] == operator:
            return ("", *values[: -len(operator)])[-1]
    return ""


_BEHIND_A_KEY = {",", "ASC", "NULLS", *_LIMITING}


def _plain(key: list[SqlToken]) -> str:
    """The column's name where the tokens are a name, or `table.name`."""
    if len(key) == 1 or (len(key) == 3 and key[1].value == "."):
        return key[-1].value
    return ""


def _count(query: Query) -> SqlToken | None:
    """The number of an outermost LIMIT, TOP or FETCH FIRST, by the query's tokens."""
    outer = [token for token in query.tokens if not token.depth]
    for at, token in enumerate(outer):
        behind = outer[at + 1 : at + 4]
        if token.value in {"LIMIT", "TOP"} and behind and behind[0].value.isdigit():
            further = behind[1].value if len(behind) > 1 else ""
            if further == "BY":  # ClickHouse: so many rows of each group
                continue
            return None if further in {",", "PERCENT", "WITH", "OFFSET"} else behind[0]
        if token.value == "FETCH" and [token.value for token in behind[2:]] in (["ROW"], ["ROWS"]):
            ends = outer[at + 4].value if len(outer) > at + 4 else ""
            return behind[1] if ends == "ONLY" and behind[1].value.isdigit() else None
    return None


def _limit_mistakes(query: Query, statement: exp.Query) -> Iterator[str]:
    """A LIMIT that does not say in digits how many rows a whole chunk has."""
    limit = statement.args.get("limit")
    if query.limit == 0:
        yield "query: LIMIT 0 reads no row"
    if limit is None or query.limit is not None or limit.args.get("expressions"):
        return
    options = limit.args.get("limit_options")
    if options is not None and options.args.get("with_ties") and not options.args.get("percent"):
        order = statement.args.get("order")
        if order is None or len(order.expressions) != 1:
            yield "query: WITH TIES keeps rows of one cursor value together only if it alone stands in ORDER BY"
    elif str(limit.expression).upper() not in {"ALL", "NULL"}:
        yield "query: the LIMIT is no plain number, so the end of a chunk is unknown; write LIMIT 1000"


def _order_mistakes(query: Query, statement: exp.Query, column: str, *, ordered: bool, is_text: bool) -> Iterator[str]:

    if not query.ordered:
        if ordered:
            why = "only the database knows the order of texts" if is_text else "with a LIMIT any rows can come first"
            yield f"query: ORDER BY {column} is missing: {why}, and the cursor would skip the others"
        return
    if ordered:
        key = _order_key(statement)
        if not (_names(key, column) or _is_selected(key, _selected(column, statement))):
            yield f"query: ORDER BY does not begin with the cursor, which would skip rows; write ORDER BY {column}"


def _condition_mistakes(query: Query, statement: exp.Query, column: str, *, ordered: bool) -> Iterator[str]:
    """Rows that are chosen by something else than the cursor, or compared in another way than they are ordered."""
    write = f"write WHERE {column} > {{lastItem}}"
    comparisons = list(_comparisons(statement))
    if not comparisons:
        yield f"query: it does not ask for rows beyond {{lastItem}}; {write}"
    if any(map(_is_added_to, last_items(statement))):
        yield f"query: it adds to {{lastItem}}, which leaves out rows that no chunk reads again; {write}"
    key = _order_key(statement) if ordered and query.ordered else None
    for comparison, value in comparisons:
        part = next(parts_around(comparison))
        selected = _selected(column, part)
        by_alias = DIALECTS[query.dialect].aliases_in_where and _names(value, column)
        if not (by_alias or _is_selected(value, selected)):
            yield f"query: what it compares with {{lastItem}} is not the cursor {column}; {write}"
        elif key is not None and _ways(value) != _ways(key) + (_ways(selected) if _names(key, column) else ()):
            yield (
                f"query: WHERE and ORDER BY compare {column} in different ways, and the cursor would skip rows; write "
                "the same collation or conversion in both"
            )


def _comparisons(statement: exp.Query) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """Conditions that rows beyond `{lastItem}` fulfil, each with what it compares."""
    from sqlglot import exp

    for mark in last_items(statement):
        side: exp.Expr = mark
        while side.parent is not None and not isinstance(side.parent, exp.Predicate | exp.Query | exp.Case):
            side = side.parent
        condition = side.parent
        greater = isinstance(condition, exp.GT | exp.GTE) and side is condition.expression
        between = isinstance(condition, exp.Between) and side is condition.args["low"]
        less = isinstance(condition, exp.LT | exp.LTE) and side is condition.this
        if condition is not None and (greater or between or less) and _chooses_rows(condition):
            yield condition, condition.expression if less else condition.this


def _chooses_rows(condition: exp.Expr) -> bool:
    """Whether every row that is read fulfils the condition, or another one beside it."""
    from sqlglot import exp

    node = condition.parent
    while isinstance(node, exp.And | exp.Or | exp.Paren):
        node = node.parent
    chooses = isinstance(node, exp.Where | exp.PreWhere | exp.Having | exp.Join | exp.Qualify)
    return chooses and brings_rows(next(parts_around(condition)))


def _is_added_to(mark: exp.Column) -> bool:
    """Whether something is added to `{lastItem}`. A negative amount takes something off: a lag of the user's own."""
    from sqlglot import exp

    side: exp.Expr = mark
    while (parent := side.parent) is not None and not isinstance(parent, exp.Predicate | exp.Query | exp.Case):
        called = parent.name if isinstance(parent, exp.Anonymous) else type(parent).__name__
        grows = isinstance(parent, exp.Add | exp.Mul | exp.DPipe) or _ADDS.match(called) is not None
        negative = parent.find(exp.Neg) or any(text.name.startswith("-") for text in parent.find_all(exp.Literal))
        if (grows and not negative) or (isinstance(parent, exp.Sub) and side is parent.expression):
            return True
        side = parent
    return False


def _order_key(statement: exp.Query) -> exp.Expr | None:
    """What the rows are ordered by first; None: the number of a column that `*` hides."""
    from sqlglot import exp

    first = statement.args["order"].expressions[0]
    key: exp.Expr = first.this if isinstance(first, exp.Ordered) else first
    if not (isinstance(key, exp.Literal) and key.is_int):
        return key
    selected = statement.selects[: int(key.name)]
    if len(selected) != int(key.name) or any(item.is_star for item in selected):
        return None
    return exp.column(selected[-1].alias_or_name)


def _selected(column: str, part: exp.Query) -> exp.Expr | None:
    """The result's column as a part of the query spells it; None: it is made outside of that part."""
    from sqlglot import exp

    spelled: exp.Expr = exp.column(column)
    place: int | None = None
    parts = [*reversed([*parts_around(part)]), part]
    for around in parts:
        names = [item.alias_or_name.lower() for item in around.selects]
        if not isinstance(spelled, exp.Column):
            return None
        if spelled.name.lower() in names and place is None:
            place = names.index(spelled.name.lower())
        if isinstance(around, exp.SetOperation):
            continue
        stars = [item.is_star for item in around.selects[: (place or 0) + 1]]
        spelled = exp.column(spelled.name) if place is None or any(stars) else around.selects[place].unalias()
        place = None
    return spelled


def _names(value: exp.Expr | None, column: str) -> bool:
    """Whether it is the column's bare name, in whatever way it is compared."""
    from sqlglot import exp

    bare = _bare(value)
    return isinstance(bare, exp.Column) and not bare.table and bare.name.lower() == column.lower()


def _is_selected(value: exp.Expr | None, selected: exp.Expr | None) -> bool:
    """Whether the value is what is selected, or what a conversion of dates and times there is made of."""
    from sqlglot import exp

    if value is None or selected is None:
        return False
    bare, made = _bare(value), _bare(selected)
    if _alike(bare, made):
        return True
    assert made is not None
    moment = isinstance(made, exp.AtTimeZone) or (
        isinstance(made, exp.Cast)
        and made.to.is_type("date", "timestamp", "timestamptz", "timestampntz", "datetime", "datetime2")
    )
    return moment and _alike(bare, _bare(made.this))


def _alike(value: exp.Expr | None, other: exp.Expr | None) -> bool:
    from sqlglot import exp

    if value is None or other is None:
        return False
    tables = [{column.table.lower() for column in side.find_all(exp.Column)} for side in (value, other)]
    named = all("" not in side for side in tables)
    return _spelled(value, tables=named) == _spelled(other, tables=named)


def _spelled(value: exp.Expr, *, tables: bool) -> str:
    from sqlglot import exp

    plain = value.copy()
    for column in [*plain.find_all(exp.Column)]:
        parts = [exp.to_identifier(part.lower()) for part in (column.table, column.name) if part]
        named = exp.column(parts[-1], table=parts[0] if tables and len(parts) > 1 else None)
        plain = named if column is plain else (column.replace(named), plain)[1]
    return plain.sql().lower()


def _bare(value: exp.Expr | None) -> exp.Expr | None:
    """The value without what only says how it is compared: collations and conversions to bytes."""
    from sqlglot import exp

    while isinstance(value, exp.Paren | exp.Collate) or _to_bytes(value):
        assert value is not None
        value = value.this
    return value


def _ways(value: exp.Expr | None) -> tuple[str, ...]:
    """How the value is compared: its collations and conversions to bytes."""
    from sqlglot import exp

    ways: list[str] = []
    while isinstance(value, exp.Paren | exp.Collate) or _to_bytes(value):
        assert value is not None
        if isinstance(value, exp.Collate):
            ways.append(value.expression.sql().strip("\"'").lower())
        elif not isinstance(value, exp.Paren):
            ways.append("bytes")
        value = value.this
    return tuple(ways)


def _to_bytes(value: exp.Expr | None) -> bool:
    from sqlglot import exp

    return isinstance(value, exp.Cast) and value.to.is_type("binary", "varbinary")
