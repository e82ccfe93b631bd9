"""One SELECT, checked in its database's dialect, with the places where values are bound. Pure.

The text that reaches the database is the user's own, byte for byte, but for a closing semicolon and the markers in
place of `{lastItem}`, `{windowStart}` and `{windowEnd}`. Values are never part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ingest_pipelines.errors import ConfigError

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.tokenizer_core import Token

DIALECTS = {
    "postgresql": "postgres", "mysql": "mysql", "mssql": "tsql", "oracle": "oracle", "hive": "hive",
    "clickhouse": "clickhouse", "snowflake": "snowflake",
}  # fmt: skip
"""Connection type -> sqlglot's name of its SQL."""

PLACEHOLDERS = ("lastItem", "windowStart", "windowEnd")

_MARK = "ingest_bound_"


@dataclass(frozen=True)
class Mark:
    """Where a placeholder stands in a text."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Query:
    """A checked query.

    Attributes:
        dialect: sqlglot's name of the database's SQL.
        marks: placeholders in the order of the text.
        statement: the parsed query; each placeholder is a column whose name starts with `ingest_bound_`.
    """

    text: str
    dialect: str
    marks: tuple[Mark, ...]
    statement: exp.Query

    def with_markers(self, marker: Callable[[str], str], escape: Callable[[str], str] = str) -> str:
        """The text with a driver's markers.

        Args:
            marker: from a placeholder's name, called in the order of the text.
            escape: for what stands between them, such as doubling `%`.
        """
        return "".join(_pieces(self.text, self.marks, marker, escape))

    def rebuilt(self, statement: exp.Query) -> Query:
        """Another statement made from this one, such as a sample of it, with its placeholders."""
        text = statement.sql(dialect=self.dialect, comments=False)
        marks = tuple(
            Mark(found[1], found.start(), found.end()) for found in re.finditer(rf"\b{_MARK}([A-Za-z]+)\b", text)
        )
        return Query(text, self.dialect, marks, statement)

    def sample(self, rows: int) -> Query:
        """The query with a LIMIT of so many rows, or its own if that is lower."""
        own = self.limit
        if own is not None and own <= rows:
            return self
        return self.rebuilt(self.statement.copy().limit(rows, copy=False))

    @property
    def limit(self) -> int | None:
        """The outermost LIMIT, TOP or FETCH FIRST, where it is a plain number."""
        from sqlglot import exp

        found = self.statement.args.get("limit")
        if found is None or found.args.get("expressions"):
            return None
        options = found.args.get("limit_options")
        if options is not None and (options.args.get("percent") or options.args.get("with_ties")):
            return None
        count = found.args.get("count") if isinstance(found, exp.Fetch) else found.expression
        return int(count.name) if isinstance(count, exp.Literal) and count.is_int else None

    @property
    def may_cut(self) -> bool:
        """Whether something in the query may leave rows for the next chunk."""
        from sqlglot import exp

        return self.statement.find(exp.Limit, exp.Fetch) is not None or any(
            column.name.upper() == "ROWNUM" for column in self.statement.find_all(exp.Column)
        )

    @property
    def ordered(self) -> bool:
        """Whether the outermost query has an ORDER BY."""
        return self.statement.args.get("order") is not None


def read_query(text: str, dialect: str) -> Query:
    """The query, proven to be one SELECT.

    Raises:
        ConfigError: it is not one, or a placeholder stands where no value can be bound.
    """
    from sqlglot import exp, parse
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ParseError, TokenError

    tokenizer = Dialect.get_or_raise(dialect)
    try:
        tokens = _without_semicolon(tokenizer.tokenize(text))
        text = text[: tokens[-1].end + 1] if tokens else ""
        marks = _marks(tokens)
        _no_hidden_statement(tokens, dialect)
        parsed = parse("".join(_pieces(text, marks, lambda name: f" {_MARK}{name} ", str)), read=dialect)
    except (ParseError, TokenError) as error:
        raise ConfigError([f"query: {_where(error)}"], hint="the query must be one SELECT statement") from None
    if len(parsed) != 1:
        raise ConfigError([f"query: {len(parsed)} statements; a source is one SELECT statement"])
    statement = parsed[0]
    if not isinstance(statement, exp.Query) or isinstance(statement, exp.Values):
        raise ConfigError(["query: not a SELECT; a source only reads"])
    for kind, what in _writing(statement):
        raise ConfigError([f"query: {kind} {what}; a source only reads"])
    return Query(text, dialect, marks, statement)


def table_query(table: str, columns: Sequence[str], dialect: str) -> str:
    """A SELECT of the columns from `schema.table`. Without columns: of all.

    Raises:
        ConfigError: `table` is no name.
    """
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    try:
        named = exp.to_table(table, dialect=dialect)
        parts = [named.args.get(part) for part in ("catalog", "db", "this")]
        plain = all(part is None or isinstance(part, exp.Identifier) for part in parts) and not named.alias
    except (ParseError, TokenError, ValueError, AttributeError):
        plain = False
    if not plain or ";" in table:
        raise ConfigError([f"table: '{table}' is no name of a table; write schema.table"])
    selected: list[exp.Expression] = [exp.column(exp.to_identifier(name, quoted=True)) for name in columns]
    return exp.select(*(selected or [exp.Star()])).from_(named).sql(dialect=dialect)


def behind_query(query: Query, column: str) -> Query:
    """Asks whether there are rows from the start on, and the largest value of the column lies below the cursor.

    The answer is one row: 1 where it is so, else 0. The database compares, in its own order. `{lastItem}` is where the
    rows begin; what the largest is compared with is a placeholder `cursor`.
    """
    from sqlglot import exp

    rows, of = _all_rows(query, column)
    # MAX of no rows is NULL in most databases, and 0 in ClickHouse.
    some = exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(0))
    below = exp.LT(this=exp.Max(this=of), expression=exp.column(f"{_MARK}cursor"))
    answer = exp.case().when(exp.and_(some, below), exp.Literal.number(1)).else_(exp.Literal.number(0))
    return query.rebuilt(exp.select(exp.alias_(answer, "behind")).from_(rows))


def largest_query(query: Query, column: str) -> Query:
    """Asks for the largest value of the column, of all rows from the start on, in one row; see `behind_query`."""
    from sqlglot import exp

    rows, of = _all_rows(query, column)
    return query.rebuilt(exp.select(exp.alias_(exp.Max(this=of), "largest")).from_(rows))


def _all_rows(query: Query, column: str) -> tuple[exp.Subquery, exp.Column]:
    """The query's rows without limit and order, and the column in them."""
    from sqlglot import exp

    whole = query.statement.copy()
    for part in ("limit", "offset", "order"):
        whole.set(part, None)
    name = exp.to_identifier(column, quoted=_needs_quotes(column, query.dialect))
    return whole.subquery("rows_read"), exp.column(name, table="rows_read")


def cursor_mistakes(query: Query, column: str, *, is_text: bool) -> Iterator[str]:
    """Why chunks of the query could lose rows."""
    from sqlglot import exp

    if "lastItem" not in {mark.name for mark in query.marks}:
        yield "query: {lastItem} is only in a comment; write WHERE " + column + " > {lastItem}"
    offset = query.statement.args.get("offset")
    if offset is not None and offset.expression.name != "0":
        yield "query: OFFSET skips rows that no chunk reads again; leave it out, the cursor moves on by itself"
    if query.ordered:
        first = query.statement.args["order"].expressions[0]
        if isinstance(first, exp.Ordered) and first.args.get("desc"):
            yield "query: ORDER BY ... DESC reads the last rows first, and the cursor skips the others: use ASC"
    elif query.limit is not None or is_text:
        why = "only the database knows the order of texts" if is_text else "with a LIMIT any rows could come first"
        yield f"query: ORDER BY {column} is missing: {why}, and the cursor would skip the others"


def _pieces(
    text: str, marks: Sequence[Mark], marker: Callable[[str], str], escape: Callable[[str], str]
) -> Iterator[str]:
    place = 0
    for mark in marks:
        yield escape(text[place : mark.start])
        yield marker(mark.name)
        place = mark.end
    yield escape(text[place:])


def _without_semicolon(tokens: Sequence[Token]) -> list[Token]:
    from sqlglot import TokenType

    kept = list(tokens)
    while kept and kept[-1].token_type == TokenType.SEMICOLON:
        kept.pop()
    return kept


def _marks(tokens: Sequence[Token]) -> tuple[Mark, ...]:
    from sqlglot import TokenType

    marks = []
    for index, token in enumerate(tokens):
        if token.token_type in _texts() and any(f"{{{name}}}" in token.text for name in PLACEHOLDERS):
            raise ConfigError(
                [f"query: line {token.line}: a placeholder stands inside quotes"],
                hint="write it bare: WHERE id > {lastItem}; its value is bound, with its type",
            )
        around = tokens[index - 1 : index + 2] if index else ()
        if token.text in PLACEHOLDERS and [part.token_type for part in around][::2] == [
            TokenType.L_BRACE, TokenType.R_BRACE,
        ]:  # fmt: skip
            marks.append(Mark(token.text, around[0].start, around[2].end + 1))
    return tuple(marks)


@cache
def _texts() -> frozenset[object]:
    """Tokens whose text is data or a name, never SQL."""
    from sqlglot import TokenType

    names = (
        "STRING", "NATIONAL_STRING", "RAW_STRING", "HEREDOC_STRING", "UNICODE_STRING", "BYTE_STRING", "HEX_STRING",
        "BIT_STRING", "IDENTIFIER",
    )  # fmt: skip
    return frozenset(getattr(TokenType, name) for name in names)


def _no_hidden_statement(tokens: Sequence[Token], dialect: str) -> None:
    """MySQL executes comments that start with an exclamation mark; nobody has read what is in them."""
    if dialect == "mysql" and any(comment.startswith(("!", "M!")) for token in tokens for comment in token.comments):
        raise ConfigError(["query: MySQL executes comments of the form /*! ... */; write the SQL itself"])


def _writing(statement: exp.Query) -> Iterator[tuple[str, str]]:
    from sqlglot import exp

    writers = (
        exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, exp.Copy,
        exp.Command, exp.Set,
    )  # fmt: skip
    for node in statement.find_all(*writers):
        yield node.key.upper(), "inside the SELECT"
    if statement.find(exp.Into) is not None:
        yield "SELECT ... INTO", "makes a table"


def _where(error: Exception) -> str:
    """Where the parser stopped, in its words for people, without its excerpt of the text."""
    details = getattr(error, "errors", None)
    if details:
        return f"line {details[0]['line']}, column {details[0]['col']}: {details[0]['description'].rstrip('.')}"
    return "not readable as SQL: is a quote or a comment left open?"


def _needs_quotes(name: str, dialect: str) -> bool:
    if dialect == "postgres":
        return re.fullmatch(r"[a-z_][a-z0-9_]*", name) is None
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None
