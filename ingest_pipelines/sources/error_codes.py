"""What an engine's error codes mean: tried again or final, and why.

A server's words are never shown and never searched for words: they may be in any language, and hold rows. Codes decide:
SQLSTATE, error numbers, a driver's own codes. A message names a table or column only if the query does. Each engine's
table of codes is in its own file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from ingest_pipelines.errors import IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.sources.network import BROKEN_HINT
from ingest_pipelines.sources.query_text import Query


class Meaning(Enum):
    """What to do about an error: the value is the hint."""

    GONE = BROKEN_HINT
    LOGIN = "check the connection's username, password and database, and what the user is allowed"
    PERMISSION = "check the user's grants: it needs to read all that the query names"
    NAME = "check the name in the query, and the connection's database"
    QUERY = "run the query in the database's own console to see more"


class Reason(StrEnum):
    """Why, as the end of a sentence that starts with the source's address: the words for what many engines have."""

    LOST = "the connection broke off"
    SHUTTING_DOWN = "the server is starting or shutting down"
    TOO_MANY = "the server has too many connections"
    CANCELLED = "the server ended the query: an administrator, or a time limit of its own"
    MEMORY = "the server has no memory or disk space left for the query"
    DEADLOCK = "other sessions hold what the query waits for"
    CREDENTIALS = "Access denied: the username or the password is wrong"
    NO_DATABASE = "there is no such database, or the user may not open it"
    UNKNOWN_DATABASE = "database does not exist"
    NO_TABLE = "table or view does not exist"
    NO_COLUMN = "column does not exist"
    NO_FUNCTION = "function does not exist"
    PERMISSION = "permission denied"
    CONVERSION = "a value cannot be converted, or is out of range"
    SYNTAX = "the query is not valid SQL"
    TYPES = "the query compares or combines values whose types do not go together"
    OWN = "a function or procedure in the query raises an error of its own"


@dataclass(frozen=True)
class Code:
    """What one code, or a class of codes, means.

    Attributes:
        reason: why, as the end of a sentence that starts with the source's address.
    """

    meaning: Meaning
    reason: str


BROKEN = Code(Meaning.GONE, "the server does not answer, or broke off the connection")
REFUSED = Code(Meaning.QUERY, "the query was refused")


@dataclass(frozen=True)
class DriverError:
    """An exception of a driver, in codes.

    Attributes:
        code: the server's or the driver's code; part of the message.
        said: the server's words: only searched for names of the query, never shown.
    """

    code: str
    known: Code
    said: str = ""

    def as_ingest_error(self, uri: str, query: Query | None) -> IngestError:
        """The IngestError for it: retryable or final, in our own words."""
        kind = SourceUnavailable if self.known.meaning is Meaning.GONE else SourceDenied
        reason, hint = str(self.known.reason), self.known.meaning.value
        if self.known.reason == Reason.TYPES and query is not None and any(m.name == "lastItem" for m in query.marks):
            reason += "; {lastItem} is what cursor.start spells: a number, a date, a timestamp or a text"
            hint = (
                "cast the column to one of them, in the query's list and in its WHERE, or write cursor.start as a text "
                "and ORDER BY the column"
            )
        if self.known.meaning in {Meaning.NAME, Meaning.PERMISSION} and query is not None:
            reason += _named(self.said, query, with_kind=self.known.meaning is Meaning.PERMISSION)
        return kind(f"{uri}: {reason} ({self.code})", hint=hint)


Codes = Mapping[str, Code]


def meaning_of(codes: Codes, number: object = "", state: str = "", *, unknown: Code = REFUSED) -> Code:
    """What a number means; where it is not known: a SQLSTATE, or its class, which is `08*` in the tables."""
    return codes.get(str(number)) or codes.get(state) or codes.get(f"{state[:2]}*") or unknown


def codes_of(parts: Mapping[Meaning, Mapping[str, str]]) -> Codes:
    """By code; a key of the given mappings may hold several codes that mean the same.

    Raises:
        ValueError: a code means two things.
    """
    meanings: dict[str, Code] = {}
    for meaning, reasons in parts.items():
        for codes, reason in reasons.items():
            for code in codes.split():
                if code in meanings:
                    raise ValueError(code)
                meanings[code] = Code(meaning, reason)
    return meanings


_OPEN, _CLOSE = "[\"'`»«„“”‘’\\[]", "[\"'`»«„“”‘’\\]]"
_QUOTED = re.compile(rf"{_OPEN}[^\"'`»«„“”‘’\[\]]{{1,200}}{_CLOSE}(?:\.{_OPEN}[^\"'`»«„“”‘’\[\]]{{1,200}}{_CLOSE})*")
_QUOTES = re.compile(f"{_OPEN}|{_CLOSE}")
_BARE = re.compile(r"[\w$#]+(?:\.[\w$#]+)*")


def _named(said: str, query: Query, *, with_kind: bool) -> str:
    """The name that the server's words point at, if the query has it: `: no_such_table`.

    Quoted names come first: a name that stands bare could be any word. Of the bare ones those with a schema come first,
    and later ones: servers put the name behind what is wrong with it. The answer is in the query's own spelling.
    """
    names = {name.casefold(): (name, kind) for name, kind in _names(query)}
    quoted = (_QUOTES.sub("", name) for name in _QUOTED.findall(said))
    words = _BARE.findall(said)
    qualified = [word for word in words if "." in word]
    for candidate in (*quoted, *qualified, *reversed(words)):
        parts = [names[part] for part in (candidate.casefold(), *candidate.casefold().split(".")) if part in names]
        if parts:
            name = ".".join(dict.fromkeys(name for name, _ in parts))
            return f" for {parts[-1][1]} {name}" if with_kind else f": {name}"
    return ""


def _names(query: Query) -> Iterator[tuple[str, str]]:
    """Names in the query's text, without keywords, and what each is: schema, function or table."""
    from sqlglot.dialects.dialect import Dialect

    keywords = Dialect.get_or_raise(query.dialect).tokenizer_class.KEYWORDS
    tokens = query.tokens
    kinds = {".": "schema", "(": "function"}
    for token, following in zip(tokens, [*(later.value for later in tokens[1:]), ""], strict=True):
        kind = kinds.get(following, "table")
        if token.kind == "name":
            yield token.value[1:-1], kind
        elif token.kind == "word" and token.value not in keywords:
            yield query.text[token.start : token.end], kind
