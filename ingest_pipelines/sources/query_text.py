"""One SELECT, checked in its database's dialect, with the places where values are bound. Pure.

The text that reaches the database is the user's own, byte for byte, but for a closing semicolon and the markers in
place of `{lastItem}`, `{windowStart}` and `{windowEnd}`. Values are never part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Literal

from ingest_pipelines.config.connections import DIALECTS
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.sources.network import silence
from ingest_pipelines.sources.single_select import reasons_against
from ingest_pipelines.sources.sql_lexer import LexicalError, SqlToken, tokens_of, with_executable_comments

if TYPE_CHECKING:
    from sqlglot import exp

PLACEHOLDERS = ("lastItem", "windowStart", "windowEnd")

MARK = "ingest_bound_"
"""How the names start that stand for placeholders in a parsed query."""

_ROWS = "rows_read"
"""What a query's rows are called in a query about them."""


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
        statement: the parsed query; each placeholder is a column whose name starts with `ingest_bound_`. None: the
            parser does not understand the text, and it is sent for what its tokens say: one SELECT.
        not_understood: the line where the parser stopped (`line 3`); None: it did not.
    """

    text: str
    dialect: str
    marks: tuple[Mark, ...]
    statement: exp.Query | None
    not_understood: str | None = None

    @cached_property
    def tokens(self) -> list[SqlToken]:
        """The text's tokens."""
        return tokens_of(self.text, self.dialect)

    def marked(self) -> str:
        """The text with a name in place of each placeholder, as the parser reads it."""
        text = self.with_markers(lambda name: f" {MARK}{name} ")
        return with_executable_comments(text, self.dialect)

    def with_markers(self, marker: Callable[[str], str], escape: Callable[[str], str] = str) -> str:
        """The text with a driver's markers.

        Args:
            marker: from a placeholder's name, called in the order of the text.
            escape: for what stands between them, such as doubling `%`.
        """
        return "".join(_pieces(self.text, self.marks, marker, escape))

    def rebuilt(self, text: str) -> Query:
        """Another query, made from `marked()`, with its placeholders."""
        marks = tuple(
            Mark(match[1], match.start(), match.end()) for match in re.finditer(rf"\b{MARK}([A-Za-z]+)\b", text)
        )
        return replace(self, text=text, marks=marks, statement=None)

    @property
    def limit(self) -> int | None:
        """The outermost LIMIT, TOP or FETCH FIRST, where it is a plain number."""
        from sqlglot import exp

        limit = self.statement.args.get("limit") if self.statement is not None else None
        if limit is None or limit.args.get("expressions"):
            return None
        options = limit.args.get("limit_options")
        if options is not None and (options.args.get("percent") or options.args.get("with_ties")):
            return None
        count = limit.args.get("count") if isinstance(limit, exp.Fetch) else limit.expression
        return int(count.name) if isinstance(count, exp.Literal) and count.is_int else None

    @property
    def ordered(self) -> bool:
        """Whether the outermost query has an ORDER BY."""
        if self.statement is None:
            return self._order_by is not None
        return self.statement.args.get("order") is not None

    @property
    def descending(self) -> bool:
        """Whether the outermost ORDER BY begins with the largest value."""
        from sqlglot import exp

        if self.statement is None:
            place = self._order_by
            ordered_by = takewhile(
                lambda token: token.depth or token.value != ",", self.tokens[place:] if place else ()
            )
            return any(token.value == "DESC" and not token.depth for token in ordered_by)
        order = self.statement.args.get("order")
        first = order.expressions[0] if order is not None else None
        return isinstance(first, exp.Ordered) and bool(first.args.get("desc"))

    @property
    def skips_rows(self) -> bool:
        """Whether the outermost query has an OFFSET that is not 0."""
        if self.statement is None:
            outer = [token for token in self.tokens if not token.depth]
            return any(token.value == "OFFSET" and number.value != "0" for token, number in pairwise(outer))
        offset = self.statement.args.get("offset")
        return offset is not None and offset.expression.name != "0"

    @property
    def _order_by(self) -> int | None:
        """Which token begins the outermost ORDER BY; None: there is none."""
        words = [(token.depth, token.value) for token in self.tokens]
        places = [index for index, pair in enumerate(pairwise(words)) if pair == ((0, "ORDER"), (0, "BY"))]
        return places[-1] if places else None


def read_query(text: str, dialect: str) -> Query:
    """The query: one SELECT, as far as its tokens and, where it understands the text, the parser can tell.

    Raises:
        ConfigError: it is provably not one, or a placeholder stands where no value can be bound.
    """
    try:
        tokens = tokens_of(text, dialect)
    except LexicalError as error:
        raise ConfigError([f"query: {_place(text, error.start)}: {error}"]) from None
    text, tokens = _without_semicolons(text, tokens)
    marks = _marks(text, tokens)
    for reason, token in reasons_against(tokens, dialect):
        where = f"{_place(text, token.start)}: " if token is not None else ""
        raise ConfigError([f"query: {where}{reason}"])
    if DIALECTS[dialect].format_clause:
        text = _without_format(text, tokens)
    query = Query(text, dialect, marks, None)
    statement, not_understood = _parsed(query)
    if statement is not None:
        for kind, what in _writing(statement):
            raise ConfigError([f"query: {kind} {what}; a source only reads"])
    return replace(query, statement=statement, not_understood=not_understood)


def _parsed(query: Query) -> tuple[exp.Query | None, str | None]:
    """The parser's view of the query, or where it stopped."""
    from sqlglot import exp, parse
    from sqlglot.errors import ParseError, TokenError

    silence("sqlglot")  # it prints parts of the query to stderr
    try:
        statements = parse(query.marked(), read=query.dialect)
    except ParseError as error:
        details = error.errors[0] if error.errors else {}
        # The text that the parser saw is the user's up to the first placeholder; behind it, only the line is the same.
        return None, f"line {details['line']}" if "line" in details else "line 1"
    except (TokenError, RecursionError):  # or it is nested deeper than the parser goes
        return None, "line 1"
    [statement] = statements if len(statements) == 1 else [None]
    return (statement, None) if isinstance(statement, exp.Query) else (None, "line 1")


def table_query(table: str, columns: Sequence[str], dialect: str, limit: int | None = None) -> str:
    """A SELECT of the columns from `schema.table`, of the first `limit` rows. Without columns: of all.

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
    statement = exp.select(*(selected or [exp.Star()])).from_(named)
    return (statement if limit is None else statement.limit(limit)).sql(dialect=dialect)


def about_rows(query: Query, column: str, *, largest: bool = False, where: Literal["=", ">="] | None = None) -> Query:
    """Asks for the column of one of the query's rows, its limit and order left out.

    The query stays as the user wrote it, but for the limit, which its tokens show: a parser that rewrites SQL loses
    what it does not know.

    Args:
        largest: asks for its largest value.
        where: asks for all values that compare so with the placeholder `cursor`.
    """
    from sqlglot import exp

    value = exp.column(exp.to_identifier(column, quoted=needs_quotes(column, query.dialect)), table=_ROWS)
    asked = exp.select(exp.alias_(exp.Max(this=value), "largest") if largest else value).from_(_ROWS)
    if where is not None:
        compares = exp.EQ if where == "=" else exp.GTE
        asked = asked.where(compares(this=value.copy(), expression=exp.column(f"{MARK}cursor")))
    if largest:  # of no rows, ClickHouse's largest value is 0
        asked = asked.having(exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(0)))
    elif where != "=":
        asked = asked.limit(1)
    asks = asked.sql(dialect=query.dialect)
    text = query.marked()
    tokens = tokens_of(text, query.dialect)
    outer = [index for index, token in enumerate(tokens) if token.depth == 0]
    begins = _main_query(tokens, outer)
    outer = [index for index in outer if index >= begins]
    ends = _tail(tokens, outer, query.dialect)
    first, end = tokens[begins].start, len(text) if ends is None else tokens[ends].start
    body = text[first:end].rstrip()
    for top in _top(tokens, outer):
        body = body[: top.start - first] + " " * (top.stop - top.start) + body[top.stop - first :]
    head = text[:first].strip()
    if not head:
        return query.rebuilt(asks.replace(f"FROM {_ROWS}", f"FROM (\n{body}\n) {_ROWS}", 1))
    comma = "" if head.endswith(";") else ","  # Oracle's routines end with a semicolon of their own
    return query.rebuilt(f"{head}{comma} {_ROWS} AS (\n{body}\n) {asks}")


def _main_query(tokens: Sequence[SqlToken], outer: Sequence[int]) -> int:
    """Which token begins the query behind its common table expressions and routines."""
    last_routine = max((index for index in outer if tokens[index].value == ";"), default=0)
    for index in outer:
        if index < last_routine:
            continue
        behind = tokens[index - 1].value == ")" if index else True
        if tokens[index].value == "SELECT" or (behind and tokens[index].value in {"(", "FROM", "TABLE"}):
            return index
    return 0


def _tail(tokens: Sequence[SqlToken], outer: Sequence[int], dialect: str) -> int | None:
    """Which token begins what limits the rows; what orders them, where a subquery can have no order."""
    ordered = [index for index in outer if [token.value for token in tokens[index : index + 2]] == ["ORDER", "BY"]]
    if ordered and not DIALECTS[dialect].ordered_subqueries:
        return ordered[-1]
    for index in outer:
        if ordered and index < ordered[-1]:
            continue
        if tokens[index].value in {"FETCH", "OFFSET"} or (
            tokens[index].value == "LIMIT" and not _chooses(tokens, index)
        ):
            return index
    return None


def _chooses(tokens: Sequence[SqlToken], limit: int) -> bool:
    """ClickHouse's `LIMIT 1 BY a` and `LIMIT 1 OFFSET 2 BY a` choose rows of a group; they cut nothing off."""
    return "BY" in {token.value for token in tokens[limit + 2 : limit + 5 : 2]}


def _top(tokens: Sequence[SqlToken], outer: Sequence[int]) -> Iterator[slice]:
    """Where a TOP stands behind a SELECT, with its number."""
    for index in outer:
        if tokens[index].value != "TOP" or tokens[index - 1].value not in {"SELECT", "DISTINCT", "ALL"}:
            continue
        end = index + 2
        if tokens[index + 1].value == "(":
            end = 1 + next(at for at in outer if at > index + 1 and tokens[at].value == ")")
        end += tokens[end].value == "PERCENT"
        end += 2 * ([token.value for token in tokens[end : end + 2]] == ["WITH", "TIES"])
        yield slice(tokens[index].start, tokens[end].start)


def _pieces(
    text: str, marks: Sequence[Mark], marker: Callable[[str], str], escape: Callable[[str], str]
) -> Iterator[str]:
    place = 0
    for mark in marks:
        yield escape(text[place : mark.start])
        yield marker(mark.name)
        place = mark.end
    yield escape(text[place:])


def _without_semicolons(text: str, tokens: Sequence[SqlToken]) -> tuple[str, list[SqlToken]]:
    """Without semicolons at both ends, of which the first ones become blanks: places in the text stay."""
    kept = list(tokens)
    while kept and kept[0].value == ";":
        text = f"{text[: kept[0].start]} {text[kept.pop(0).end :]}"
    while kept and kept[-1].value == ";":
        text = text[: kept.pop().start]
    return text.rstrip(), kept


def _without_format(text: str, tokens: Sequence[SqlToken]) -> str:
    """Without ClickHouse's FORMAT: how rows travel is the driver's to say, and the rows are the same."""
    outer = [token for token in tokens if token.depth == 0]
    for token, name in pairwise(outer):
        if token.value == "FORMAT" and name.kind == "word" and name.end in {outer[-1].end, _settings(outer)}:
            text = text[: token.start] + " " * (name.end - token.start) + text[name.end :]
    return text.rstrip()


def _settings(tokens: Sequence[SqlToken]) -> int | None:
    """The end of what stands before ClickHouse's closing SETTINGS; None: there are no settings."""
    places = [index for index, token in enumerate(tokens) if token.value == "SETTINGS" and index]
    return tokens[places[-1] - 1].end if places else None


def _marks(text: str, tokens: Sequence[SqlToken]) -> tuple[Mark, ...]:
    marks = []
    for index, token in enumerate(tokens):
        if token.kind in {"text", "name"} and any(f"{{{name}}}" in token.value for name in PLACEHOLDERS):
            raise ConfigError(
                [f"query: {_place(text, token.start)}: a placeholder stands inside quotes"],
                hint="write it bare: WHERE id > {lastItem}; its value is bound, with its type",
            )
        around = tokens[index - 1 : index + 2] if index else ()
        name = text[token.start : token.end]
        if name in PLACEHOLDERS and [part.value for part in around][::2] == ["{", "}"]:
            marks.append(Mark(name, around[0].start, around[2].end))
    return tuple(marks)


def _writing(statement: exp.Query) -> Iterator[tuple[str, str]]:
    from sqlglot import exp

    writers = (
        exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, exp.Copy,
    )  # fmt: skip
    for node in statement.find_all(*writers):
        yield node.key.upper(), "inside the SELECT"
    if statement.find(exp.Into) is not None:
        yield "SELECT ... INTO", "makes a table"


def _place(text: str, offset: int) -> str:
    """`line 3, column 14`, both from 1."""
    before = text[:offset]
    return f"line {before.count(chr(10)) + 1}, column {offset - (before.rfind(chr(10)) + 1) + 1}"


def needs_quotes(name: str, dialect: str) -> bool:
    """Whether the database would take the bare name for another one."""
    return re.fullmatch(DIALECTS[dialect].bare_name, name) is None
