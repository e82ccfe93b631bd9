"""What is provably no single SELECT, seen from its tokens alone. Pure.

The protection of a source is one statement in a read-only session. This module is there for early, friendly words, and
for the databases that have no read-only session: there it refuses every word that begins a statement which writes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ingest_pipelines.config.connections import DIALECTS, Dialect
from ingest_pipelines.sources.sql_lexer import SqlToken

_STATEMENTS = frozenset(
    "ALTER ANALYZE ATTACH BEGIN CALL COMMENT COMMIT COPY CREATE DECLARE DELETE DENY DESCRIBE DETACH DO DROP EXEC"
    " EXECUTE EXPLAIN EXPORT GRANT IMPORT INSERT KILL LOAD LOCK MERGE OPTIMIZE PUT RENAME REPLACE REVOKE ROLLBACK SET"
    " SHOW TRUNCATE UNLOAD UPDATE USE VACUUM VALUES".split()
)
"""Words that begin other statements; a misspelt SELECT is none of them."""

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})

_BEHIND_UPDATE = frozenset(
    "IS IN AND OR NOT LIKE ILIKE BETWEEN AS ASC DESC COLLATE OVER FROM END THEN ELSE WHEN".split()
)

_COMBINES = frozenset({"UNION", "ALL", "DISTINCT", "EXCEPT", "INTERSECT", "(", ")"})


def reasons_against(tokens: Sequence[SqlToken], dialect_name: str) -> Iterator[tuple[str, SqlToken | None]]:
    """Why the tokens are not one SELECT, each with where; nothing, where that is not certain."""
    dialect, query = DIALECTS[dialect_name], tokens
    if dialect.routines_in_with and [token.value for token in tokens[:2]] in (
        ["WITH", "FUNCTION"],
        ["WITH", "PROCEDURE"],
    ):
        last = max((index for index, token in enumerate(tokens) if token.value == ";"), default=0)
        yield from _routine_writes(tokens[:last])
        query = tokens[last + 1 :]  # the server runs one statement a call: what stands before is the routines'
    elif any(_is_symbol(token, ";") for token in tokens):
        yield (
            f"{1 + sum(_is_symbol(token, ';') for token in tokens)} statements; a source is one SELECT statement",
            None,
        )
        return
    if not query:
        yield "empty; a source is one SELECT statement", None
        return
    yield from _unbalanced(query)
    first = next((token for token in query if not _is_symbol(token, "(")), query[-1])
    if query is tokens and (first.kind != "word" or first.value not in dialect.first_words):
        yield from _begins_otherwise(first, dialect)
        return
    yield from _verbs(query, dialect)
    if dialect.statement_words:
        yield from _unseparated_statements(query, dialect.statement_words)


def _verbs(tokens: Sequence[SqlToken], dialect: Dialect) -> Iterator[tuple[str, SqlToken]]:
    """The query itself and each query in parentheses only read."""
    with_at: set[int] = set()  # depths at which a WITH waits for the verb behind its common table expressions
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.kind != "word" or (before is not None and before.value in {".", "AS"}):
            continue
        opens = before is None or _is_symbol(before, "(")
        if opens:
            with_at = {depth for depth in with_at if depth < token.depth}
        if opens and token.value == "WITH":
            with_at.add(token.depth)
        elif token.value in _WRITES and (
            (dialect.reserves_verbs and _is_verb(token, after))
            or _writes(token, before, after, opens=opens, awaited=token.depth in with_at)
        ):
            yield f"{token.value} inside the SELECT; a source only reads", token
        elif token.value == "CALL" and token.depth in with_at:
            yield "CALL of a procedure; a source only reads", token
        elif token.value in {"SELECT", "TABLE", "VALUES"}:
            with_at.discard(token.depth)
        elif token.value == "INTO" and _makes_something(after, dialect):
            yield "SELECT ... INTO makes a table, a file or a variable; a source only reads", token
        elif (
            dialect.insert_after_from
            and token.value == "INSERT"
            and after is not None
            and after.value in {"INTO", "OVERWRITE"}
        ):
            yield "INSERT inside the query; a source only reads", token
        if before is not None and before.value == "->>" and token.value not in dialect.first_words:
            yield f"{token.value} behind ->>; a source only reads", token


def _writes(token: SqlToken, before: SqlToken | None, after: SqlToken | None, *, opens: bool, awaited: bool) -> bool:
    """Whether the word is the verb of a query: its first word, or the one behind its WITH; not a name."""
    if not opens and not (awaited and before is not None and _is_symbol(before, ")")):
        return False
    if token.value == "UPDATE":
        return after is not None and after.kind in {"word", "name"} and after.value not in _BEHIND_UPDATE
    return _is_verb(token, after)


def _is_verb(token: SqlToken, after: SqlToken | None) -> bool:
    """INSERT INTO, DELETE FROM, MERGE INTO: no name stands before these words."""
    return token.value != "UPDATE" and after is not None and after.value in {"INTO", "OVERWRITE", "FROM"}


def _makes_something(after: SqlToken | None, dialect: Dialect) -> bool:
    if dialect.into_is_a_name:
        return after is not None and after.value == "OUTFILE"
    return after is not None and after.value not in {"(", ",", ")", "="}


def _unseparated_statements(tokens: Sequence[SqlToken], words: frozenset[str]) -> Iterator[tuple[str, SqlToken]]:
    """Another statement that begins without a semicolon before it."""
    selected = False
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        after = tokens[index + 1].value if index + 1 < len(tokens) else ""
        if token.kind != "word" or (before is not None and before.value == "."):
            continue
        if token.value == "MERGE" and (after in {"JOIN", ")", ",", "UNION"} or before is None):
            continue  # the hints INNER MERGE JOIN and OPTION (MERGE JOIN)
        if token.value in words:
            yield f"{token.value} begins another statement; a source is one SELECT", token
            return
        if token.value == "SELECT" and token.depth == 0:
            if selected and before is not None and before.value not in _COMBINES:
                yield "a second SELECT begins here; a source is one statement", token
                return
            selected = True


def _routine_writes(tokens: Sequence[SqlToken]) -> Iterator[tuple[str, SqlToken]]:
    """A routine of WITH FUNCTION that is no read, or leaves the query's transaction."""
    begins = {";", "BEGIN", "THEN", "ELSE", "LOOP"}
    for before, token in pairwise(tokens):
        if token.kind != "word" or before.value not in begins | {"PRAGMA", "IS", "AS"}:
            continue
        if before.value in begins and token.value in {*_WRITES, "EXECUTE", "COMMIT", "ROLLBACK", "LOCK", "SET"}:
            yield f"{token.value} inside the function; a source only reads", token
        if token.value == "AUTONOMOUS_TRANSACTION":
            yield "PRAGMA AUTONOMOUS_TRANSACTION leaves the read-only transaction; a source only reads", token


def _unbalanced(tokens: Sequence[SqlToken]) -> Iterator[tuple[str, SqlToken]]:
    opened: list[SqlToken] = []
    for token in tokens:
        if _is_symbol(token, "("):
            opened.append(token)
        elif _is_symbol(token, ")"):
            if not opened:
                yield "this parenthesis closes nothing", token
                return
            opened.pop()
    if opened:
        yield "this parenthesis never closes", opened[-1]


def _begins_otherwise(first: SqlToken, dialect: Dialect) -> Iterator[tuple[str, SqlToken | None]]:
    if first.kind == "word" and first.value not in _STATEMENTS:
        near = difflib.get_close_matches(first.value, dialect.first_words, n=1)
        meant = f"; did you mean {near[0]}?" if near else "; a query begins with SELECT or WITH"
        yield f"'{first.value[:40]}' begins no SELECT{meant}", first
    else:
        yield "not a SELECT; a source only reads", None


def _is_symbol(token: SqlToken, symbol: str) -> bool:
    return token.kind == "symbol" and token.value == symbol
