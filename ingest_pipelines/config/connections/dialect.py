"""How a database writes SQL, as far as a query's text is read before it is sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lexicon:
    """How a dialect quotes, from its vendor's page on lexical structure.

    Attributes:
        texts: quotes around strings.
        names: quotes around identifiers, opening to closing.
        backslash: quotes inside which a backslash escapes.
        line_comments: pattern of what begins a comment that ends with its line.
        nested_comments: `/* /* */ */` is one comment.
        dollar: pattern of a dollar quote such as `$tag$`; None: the dialect has none.
        prefixed: pattern of a prefixed string's opening (`E'`), whose backslashes escape.
        raw: pattern of a raw string's opening (`r'`), whose backslashes do not.
        q_quotes: `q'[it's]'`.
        executable_comments: `/*! ... */`, whose content is SQL.
    """

    texts: str = "'"
    names: dict[str, str] = field(default_factory=lambda: {'"': '"'})
    backslash: str = ""
    line_comments: str = r"--"
    nested_comments: bool = False
    dollar: str | None = None
    prefixed: str | None = None
    raw: str | None = None
    q_quotes: bool = False
    executable_comments: bool = False


TAGGED_DOLLAR = r"\$(?:[A-Za-z_\x80-\uffff][\w]*)?\$"
"""The opening of a dollar quote that may have a tag."""


@dataclass(frozen=True)
class Dialect:
    """One dialect of SQL.

    Attributes:
        name: sqlglot's name of it.
        first_words: what a query may begin with.
        reserves_verbs: INSERT and DELETE are never a bare name, so that `SELECT 1 DELETE FROM t` is not one SELECT.
        statement_words: words that begin another statement even without a semicolon before them.
        routines_in_with: `WITH FUNCTION` declares routines, whose semicolons belong to the query.
        insert_after_from: `FROM t INSERT INTO u SELECT ...` is a statement.
        into_is_a_name: INTO makes nothing, except before OUTFILE.
        format_clause: a closing `FORMAT name` says how rows travel.
        aliases_in_where: a condition may name what the SELECT calls a column.
        unreadable_is_null: a comparison with a text that is no value of the column's type is NULL, and no error.
        ordered_subqueries: a subquery in FROM may have an ORDER BY.
        limit_clause: how 1,000 rows are asked for.
        bare_name: pattern of the names that mean themselves without quotes.
    """

    name: str
    lexicon: Lexicon = field(default_factory=Lexicon)
    first_words: frozenset[str] = frozenset({"SELECT", "WITH"})
    reserves_verbs: bool = True
    statement_words: frozenset[str] = frozenset()
    routines_in_with: bool = False
    insert_after_from: bool = False
    into_is_a_name: bool = False
    format_clause: bool = False
    aliases_in_where: bool = False
    unreadable_is_null: bool = False
    ordered_subqueries: bool = True
    limit_clause: str = "LIMIT 1000"
    bare_name: str = r"[A-Za-z_][A-Za-z0-9_]*"
