"""Splits SQL text into words, texts, quoted names and symbols, as the lexer of its dialect does. Pure.

A parser knows only the grammar that it was written for. This lexer knows no grammar: only where strings, quoted names
and comments begin and end. That is enough to find placeholders, to count statements, and to see the verb of each query,
also in SQL that no parser of ours understands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ingest_pipelines.config.connections import DIALECTS
from ingest_pipelines.config.connections.dialect import Lexicon

TokenKind = Literal["word", "number", "text", "name", "symbol"]


@dataclass(frozen=True)
class SqlToken:
    """A piece of SQL between blanks and comments.

    Attributes:
        kind: `text` is a quoted string, `name` a quoted identifier, `word` a keyword or a bare identifier.
        value: as it stands in the SQL; `word`: in capitals.
        start, end: offsets in the SQL, `end` exclusive.
        depth: how many parentheses are open around it; a parenthesis has the depth of what is outside of it.
    """

    kind: TokenKind
    value: str
    start: int
    end: int
    depth: int


class LexicalError(ValueError):
    """A string, a quoted name or a comment never closes.

    Attributes:
        start: where it opens.
    """

    def __init__(self, what: str, start: int) -> None:
        super().__init__(what)
        self.start = start


_WORD = re.compile(r"[^\W\d][\w$#]*|[@#$][\w$#@]*")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_SYMBOL = re.compile(r"->>|::|.", re.DOTALL)
_EXECUTABLE = re.compile(r"/\*M?!\d*")
_BRACKETS = {"[": "]", "(": ")", "{": "}", "<": ">"}


def tokens_of(sql: str, dialect: str) -> list[SqlToken]:
    """The SQL's tokens, without blanks and comments.

    Args:
        dialect: sqlglot's name of it, one of DIALECTS.

    Raises:
        LexicalError: something that opens never closes.
    """
    tokens: list[SqlToken] = []
    depth = 0
    for kind, start, end in _pieces(sql, DIALECTS[dialect].lexicon):
        value = sql[start:end]
        depth -= kind == "symbol" and value == ")"
        tokens.append(SqlToken(kind, value.upper() if kind == "word" else value, start, end, depth))
        depth += kind == "symbol" and value == "("
    return tokens


def _pieces(sql: str, lexicon: Lexicon) -> Iterator[tuple[TokenKind, int, int]]:
    line_comment = re.compile(rf"(?:{lexicon.line_comments})[^\n]*")
    place = 0
    closes = 0  # where the executable comment around `place` closes; 0: there is none
    while place < len(sql):
        start = place
        if closes and place == closes:
            place, closes = place + 2, 0
        elif sql[place].isspace() or sql[place] == "\ufeff":
            place += 1
        elif lexicon.executable_comments and not closes and (opened := _EXECUTABLE.match(sql, place)):
            closes = _closing(sql, opened.end(), "*/", "a comment", place)
            place = opened.end()
        elif sql.startswith("/*", place):
            place = _comment_end(sql, place, lexicon.nested_comments)
        elif comment := line_comment.match(sql, place):
            place = comment.end()
        else:
            kind, place = _piece(sql, place, lexicon)
            yield kind, start, place
        if closes and place > closes:
            # A server of another version skips the comment up to its first */, and would read on inside the quote.
            raise LexicalError("a quote or a comment begins inside /*! ... */ and ends behind it", start)


def _piece(sql: str, place: int, lexicon: Lexicon) -> tuple[TokenKind, int]:
    """Kind and end of the token that begins at `place`."""
    character = sql[place]
    if lexicon.q_quotes and (opened := re.compile(r"[nN]?[qQ]'(\S)").match(sql, place)):
        closing = _BRACKETS.get(opened[1], opened[1]) + "'"
        return "text", _closing(sql, opened.end(), closing, "a string", place) + 2
    if lexicon.dollar and (opened := re.compile(lexicon.dollar).match(sql, place)):
        return "text", _closing(sql, opened.end(), opened[0], "a string", place) + len(opened[0])
    for pattern, escapes in ((lexicon.prefixed, True), (lexicon.raw, False)):
        if pattern and re.compile(pattern).match(sql, place):
            return "text", _quoted_end(sql, place, place + 1, sql[place + 1], escapes=escapes)
    if character in lexicon.texts:
        return "text", _quoted_end(sql, place, place, character, escapes=character in lexicon.backslash)
    if character in lexicon.names:
        closing = lexicon.names[character]
        return "name", _quoted_end(sql, place, place, closing, escapes=character in lexicon.backslash)
    if match := _WORD.match(sql, place):
        return "word", match.end()
    if match := _NUMBER.match(sql, place):
        return "number", match.end()
    match = _SYMBOL.match(sql, place)
    assert match is not None
    return "symbol", match.end()


def _quoted_end(sql: str, start: int, opening: int, closing: str, *, escapes: bool) -> int:
    """Behind the closing quote; a doubled one, and with `escapes` one behind a backslash, belongs to the content."""
    place = opening + 1
    while place < len(sql):
        if escapes and sql[place] == "\\":
            place += 2
        elif sql[place] != closing:
            place += 1
        elif sql.startswith(closing * 2, place):
            place += 2
        else:
            return place + 1
    raise LexicalError("a quote never closes", start)


def _closing(sql: str, place: int, closing: str, what: str, start: int) -> int:
    end = sql.find(closing, place)
    if end < 0:
        raise LexicalError(f"{what} never closes", start)
    return end


def _comment_end(sql: str, start: int, nested: bool) -> int:
    if not nested:
        return _closing(sql, start + 2, "*/", "a comment", start) + 2
    open_comments = 0
    for mark in re.compile(r"/\*|\*/").finditer(sql, start):
        open_comments += 1 if mark[0] == "/*" else -1
        if not open_comments:
            return mark.end()
    raise LexicalError("a comment never closes", start)


def with_executable_comments(sql: str, dialect: str) -> str:
    """The SQL with the content of MySQL's executable comments as plain SQL; offsets stay."""
    if not DIALECTS[dialect].lexicon.executable_comments:
        return sql
    pieces, place = [], 0
    ends = [(token.end, token.start) for token in tokens_of(sql, dialect)]
    for opened in _EXECUTABLE.finditer(sql):
        if opened.start() < place or any(start <= opened.start() < end for end, start in ends):
            continue
        closes = sql.find("*/", opened.end())
        pieces += [sql[place : opened.start()], " " * len(opened[0]), sql[opened.end() : closes], "  "]
        place = closes + 2
    return "".join([*pieces, sql[place:]])
