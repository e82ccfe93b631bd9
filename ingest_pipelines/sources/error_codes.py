"""What the codes of databases mean: tried again, or final, and why. The only place that decides it for query sources.

A server's words are never shown and never searched for words: they may be in any language, and hold rows. Codes decide:
SQLSTATE, error numbers, a driver's own codes. A name is told only if the query has it.

Sources of the tables: PostgreSQL's and MySQL's appendix of error codes, MariaDB's and Oracle's message references,
SQL Server's `sys.messages` and Azure's list of transient errors, ODBC's SQLSTATEs, ClickHouse's `ErrorCodes.cpp`,
Hive's `ErrorMsg.java`, the Snowflake connector's `errorcode.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

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
        code: what the server or the driver calls it; part of the message.
        said: the server's words: searched for the query's names, and never shown.
    """

    code: str
    known: Code
    said: str = ""

    def told(self, uri: str, query: Query | None) -> IngestError:
        """Our error for it."""
        kind = SourceUnavailable if self.known.meaning is Meaning.GONE else SourceDenied
        reason = self.known.reason
        if self.known.meaning in {Meaning.NAME, Meaning.PERMISSION} and query is not None:
            reason += _named(self.said, query, with_kind=self.known.meaning is Meaning.PERMISSION)
        return kind(f"{uri}: {reason} ({self.code})", hint=self.known.meaning.value)


Codes = Mapping[str, Code]


def meaning_of(codes: Codes, number: object = "", state: str = "", *, unknown: Code = REFUSED) -> Code:
    """What a number means; where it is not known: a SQLSTATE, or its class, which is `08*` in the tables."""
    return codes.get(str(number)) or codes.get(state) or codes.get(f"{state[:2]}*") or unknown


def _codes(parts: Mapping[Meaning, Mapping[str, str]]) -> Codes:
    """By code; a key of the given mappings may hold several codes that mean the same.

    Raises:
        ValueError: a code means two things.
    """
    found: dict[str, Code] = {}
    for meaning, reasons in parts.items():
        for codes, reason in reasons.items():
            for code in codes.split():
                if code in found:
                    raise ValueError(code)
                found[code] = Code(meaning, reason)
    return found


_LOST = "the connection broke off"
_SHUTTING_DOWN = "the server is starting or shutting down"
_TOO_MANY = "the server has too many connections"
_CANCELLED = "the server ended the query: an administrator, or a time limit of its own"
_MEMORY = "the server has no memory or disk space left for the query"
_DEADLOCK = "other sessions hold what the query waits for"
_CREDENTIALS = "Access denied: the username or the password is wrong"
_NO_DATABASE = "there is no such database, or the user may not open it"
_UNKNOWN_DATABASE = "database does not exist"
_NO_TABLE = "table or view does not exist"
_NO_COLUMN = "column does not exist"
_NO_FUNCTION = "function does not exist"
_PERMISSION = "permission denied"
_CONVERSION = "a value cannot be converted, or is out of range"
_SYNTAX = "the query is not valid SQL"
_OWN = "a function or procedure in the query raises an error of its own"

POSTGRESQL = _codes({
    Meaning.GONE: {
        "08*": _LOST, "08001": "the server cannot be reached", "53*": _MEMORY, "53300": _TOO_MANY,
        "57014": _CANCELLED, "57P01 57P02 57P03": _SHUTTING_DOWN, "57P05 25P03 25P04": "the session was idle too long",
        "57*": _CANCELLED, "58*": "the server reports a failure of its operating system", "40*": _DEADLOCK,
        "55P03 55006": _DEADLOCK, "XX*": "the server reports an internal failure",
        "HV00N": "the server does not reach another server that the query reads",
    },
    Meaning.LOGIN: {
        "08004": "the server has no TLS, and `sslmode` demands it", "28*": "the server does not let this user in",
        "28P01": _CREDENTIALS, "3D*": _NO_DATABASE, "57P04": _NO_DATABASE,
    },
    Meaning.PERMISSION: {"42501": _PERMISSION},
    Meaning.NAME: {
        "42P01": _NO_TABLE, "42703": _NO_COLUMN, "42883": _NO_FUNCTION, "3F* 42*": "the query names what is not there",
        "42702": "a column's name fits more than one table", "42P10": _NO_COLUMN,
    },
    Meaning.QUERY: {
        "22*": _CONVERSION, "22012": "the query divides by zero", "21*": "a subquery returns more than one row",
        "25006": "the session is a read-only transaction, and the query writes", "42601 42602": _SYNTAX,
        "42804 42846 42809 42803 42P18 42P20 42P21 42P22": "the query's types or clauses do not fit together",
        "53400": "the query needs more than a limit of the server allows", "54*": "the query is too large",
        "55*": "what the query reads is not ready to be read", "58P01": "a file of the server is missing",
        "XX001 XX002": "the server's data are damaged", "P0* 38* 39*": _OWN, "0A*": "the server cannot do that",
    },
})  # fmt: skip
"""PostgreSQL, by SQLSTATE."""

MYSQL = _codes({
    Meaning.GONE: {
        "1040 1203 1226 1637": _TOO_MANY, "1053 1077 1078 1079 1080 3032": _SHUTTING_DOWN,
        "1021 1037 1038 1041 1114 1135": _MEMORY, "1205 1206 1213 1412 1615": _DEADLOCK,
        "1028 1317 1927 1969 3024 3169": _CANCELLED, "2003 2005 2002": "the server cannot be reached",
        "1042 1043 1152 1156 1157 1158 1159 1160 1161 1184 2006 2013 2014 2055 4031": _LOST,
    },
    Meaning.LOGIN: {
        "1045 1698": _CREDENTIALS, "1044": "Access denied to the database",
        "1130": "the server does not let this host in",
        "1129": "the server blocks this host after too many broken connections",
        "1251 2049 2059": "the server asks for a way to log in that the driver does not know",
        "1820 1862": "the password has expired", "3118 3955 4151": "the account is locked",
        "3159": "the server asks for TLS",
    },
    Meaning.PERMISSION: {"1142 1143 1227 1345 1370": _PERMISSION},
    Meaning.NAME: {
        "1046": "no database is chosen", "1049": _UNKNOWN_DATABASE,
        "1051 1109 1146": _NO_TABLE, "1054": _NO_COLUMN, "1305": _NO_FUNCTION,
        "1052": "a column's name fits more than one table", "1356": "a view names what is not there",
    },
    Meaning.QUERY: {
        "1064 1149": _SYNTAX, "1242": "a subquery returns more than one row", "1644": _OWN,
        "1792": "the query writes, and the session is a READ ONLY transaction",
        "1292 1365 1366 1411 1690": _CONVERSION,
    },
})  # fmt: skip
"""MySQL and MariaDB, by number; from 2000 to 2999 they are the driver's own."""

MSSQL = _codes({
    Meaning.GONE: {
        "08* HY000": _LOST, "08001": "the server cannot be reached, or broke off the login",
        "HYT00 HYT01": "the server did not answer in time", "40*": _DEADLOCK, "HY008": _CANCELLED,
        "1204 1205 1222 3960": _DEADLOCK, "701 802 8628 8645 8651 40549 40550 40551 40552 40553": _MEMORY,
        "596 6005 617 601": _SHUTTING_DOWN, "40143 40197 40501 40540 40613 42108 42109": _SHUTTING_DOWN,
        "10928 10929 17197 49918 49919 49920": _TOO_MANY,
    },
    Meaning.LOGIN: {
        "28* 18452 18456": _CREDENTIALS, "08004 911 916 4060 4064": _NO_DATABASE, "18470": "the account is disabled",
        "18486": "the account is locked", "18487 18488": "the password has expired",
        "40532 40615": "the server does not let this address in",
    },
    Meaning.PERMISSION: {"229 230 262 297 300 371": _PERMISSION},
    Meaning.NAME: {
        "42S02 208 4701": _NO_TABLE, "42S22 207 4104": _NO_COLUMN, "195 2812 4121": _NO_FUNCTION,
        "209": "a column's name fits more than one table",
    },
    Meaning.QUERY: {
        "102 105 156": _SYNTAX, "22* 241 242 245 248 8114 8115": _CONVERSION, "22012 8134": "the query divides by zero",
        "512": "a subquery returns more than one row", "25000 3906": "the database is read-only, and the query writes",
    },
})  # fmt: skip
"""SQL Server, by number, and by ODBC's SQLSTATE where its driver tells no number: of logins and of connections."""

MSSQL_LOGIN = Code(
    Meaning.LOGIN,
    "the user may log in, and the database does not open: it does not exist, is closed to the user, or paused",
)
"""SQLSTATE 42000 of a login: numbers 4060 and 18470, and 40613 of a database that wakes up, all look alike then."""

ORACLE = _codes({
    Meaning.GONE: {
        "ORA-18 ORA-20 ORA-2391 ORA-12516 ORA-12519 ORA-12520": _TOO_MANY,
        "ORA-28 ORA-31 ORA-1012 ORA-2396 ORA-2399 ORA-3113 ORA-3114 ORA-3135": _LOST,
        "ORA-12170 ORA-12537 ORA-12541 ORA-12543 ORA-12545 ORA-12547 ORA-12571": "the server cannot be reached",
        "ORA-1033 ORA-1034 ORA-1035 ORA-1089 ORA-1090 ORA-1092 ORA-1109 ORA-1219 ORA-12528": _SHUTTING_DOWN,
        "ORA-54 ORA-60 ORA-4068 ORA-8176 ORA-8177 ORA-30006": _DEADLOCK,
        "ORA-1013 ORA-40 ORA-56720 ORA-12805": _CANCELLED, "ORA-1652 ORA-4030 ORA-4031 ORA-4036": _MEMORY,
        "ORA-1555": "the query ran longer than the server keeps old rows (undo retention)",
        "DPY-1001 DPY-4005 DPY-4011 DPY-4024 DPY-6000 DPY-6005": _LOST,
    },
    Meaning.LOGIN: {
        "ORA-1005 ORA-1017": _CREDENTIALS, "ORA-1045": "the user may not log in (CREATE SESSION)",
        "ORA-28000": "the account is locked", "ORA-28001": "the password has expired",
        "ORA-12505 ORA-12514 DPY-6001 DPY-6003": "the listener does not know the service",
    },
    Meaning.PERMISSION: {"ORA-1031 ORA-41900": _PERMISSION},
    Meaning.NAME: {
        "ORA-942 ORA-980 ORA-4043": _NO_TABLE, "ORA-904": _NO_COLUMN, "ORA-1435": "user does not exist",
        "ORA-918": "a column's name fits more than one table", "ORA-2289": "sequence does not exist",
    },
    Meaning.QUERY: {
        "ORA-900 ORA-903 ORA-907 ORA-923 ORA-933 ORA-936": _SYNTAX, "ORA-1456": "the query writes",
        "ORA-1722 ORA-1830 ORA-1841 ORA-1843 ORA-1858 ORA-1861 ORA-6502": _CONVERSION,
        "ORA-1476": "the query divides by zero", "ORA-1427": "a subquery returns more than one row",
        "ORA-600 ORA-7445": "the server reports an internal error",
    },
})  # fmt: skip
"""Oracle, by the codes of the server (ORA) and of the driver (DPY), without leading zeros."""

HIVE = _codes({
    Meaning.GONE: {
        "cancelled": _CANCELLED, "handle": "the server no longer knows the session", "08*": _LOST, "57014": _CANCELLED,
        "HY008": _CANCELLED, "transient": "the query failed while it ran, in a way that may go away",
    },
    Meaning.LOGIN: {"login": _CREDENTIALS},
    Meaning.PERMISSION: {"42501": _PERMISSION},
    Meaning.NAME: {
        "3D* 42704 10072": _UNKNOWN_DATABASE,
        "42P01 42S02 10001": _NO_TABLE, "42703 42S22 10002 10004": _NO_COLUMN, "42883 10011": _NO_FUNCTION,
        "42702": "a column's name fits more than one table",
    },
    Meaning.QUERY: {
        "42601": _SYNTAX, "22*": _CONVERSION, "22012": "the query divides by zero", "P0*": _OWN,
    },
})  # fmt: skip
"""HiveServer2, by Hive's number, and by SQLSTATE, which Spark gives and Hive leaves general.

Hive's numbers from 30000 to 39999 are its own "may be transient". It has no number of its own for a denied permission.
"""

CLICKHOUSE = _codes({
    Meaning.GONE: {
        "3 24 32 209 210 279 425 999": _LOST, "159 160 394 439 319": _CANCELLED, "202 203": _TOO_MANY,
        "173 241 243": _MEMORY, "198": "the server does not find another server that the query reads",
        "242 473": _DEADLOCK, "236": _SHUTTING_DOWN,
    },
    Meaning.LOGIN: {
        "192 193 194 516": _CREDENTIALS, "195 291": "the server does not let this address or user in",
    },
    Meaning.PERMISSION: {"497": _PERMISSION},
    Meaning.NAME: {
        "81": _UNKNOWN_DATABASE,
        "60": _NO_TABLE, "16 47": _NO_COLUMN, "46": _NO_FUNCTION, "179 207": "a name stands for more than one thing",
        "36 42 43 44": "a function, a table or a column of the query does not fit",
    },
    Meaning.QUERY: {
        "62": _SYNTAX, "164": "the session is read-only, and the query writes", "395": _OWN, "153": _CONVERSION,
        "6 27 41 53 69 70 72 349 407": _CONVERSION,
    },
})  # fmt: skip
"""ClickHouse, by number."""

SNOWFLAKE = _codes({
    Meaning.GONE: {
        "604 630": _CANCELLED, "625": _DEADLOCK, "390112 390114 390115 390195": "the session has expired",
        "250001 250003 253012 290404 290500 290502 290503 290504": _LOST,
    },
    Meaning.LOGIN: {
        "390100": _CREDENTIALS,
        "390101 390102 390103 390104 390108 390110 390111 390120": "the account is locked or closed",
        "390144": "the key is not the user's", "390189 390201": "the role or the warehouse is not the user's",
        "390422 390432": "the account does not let this address in", "390146 390190 390191": _CREDENTIALS,
        "606": "no warehouse is chosen, or it may not be used",
    },
    Meaning.PERMISSION: {"3001": _PERMISSION},
    Meaning.NAME: {
        "2003 2043": "it does not exist, or the role may not read it", "904": _NO_COLUMN,
    },
    Meaning.QUERY: {
        "1003": _SYNTAX, "100035 100038 100039 100040 100046": _CONVERSION, "100051": "the query divides by zero",
    },
})  # fmt: skip
"""Snowflake, by number."""

SNOWFLAKE_LOGIN = Code(Meaning.LOGIN, "the account does not let this user in")
"""Its numbers from 390100 to 390499 that no other line knows."""

_OPEN, _CLOSE = "[\"'`»«„“”‘’\\[]", "[\"'`»«„“”‘’\\]]"
_QUOTED = re.compile(rf"{_OPEN}[^\"'`»«„“”‘’\[\]]{{1,200}}{_CLOSE}(?:\.{_OPEN}[^\"'`»«„“”‘’\[\]]{{1,200}}{_CLOSE})*")
_QUOTES = re.compile(f"{_OPEN}|{_CLOSE}")
_BARE = re.compile(r"[\w$#]+(?:\.[\w$#]+)*")


def _named(said: str, query: Query, *, with_kind: bool) -> str:
    """The name that the server's words point at, if the query has it: `: no_such_table`.

    Quoted names come first: a name that stands bare could be any word. Of the bare ones those with a schema come first,
    and later ones: servers put the name behind what is wrong with it. What is told is the query's own spelling.
    """
    names = {name.casefold(): (name, kind) for name, kind in _names(query)}
    quoted = (_QUOTES.sub("", found) for found in _QUOTED.findall(said))
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
    for token, following in zip(tokens, [*(each.value for each in tokens[1:]), ""], strict=True):
        kind = kinds.get(following, "table")
        if token.kind == "name":
            yield token.value[1:-1], kind
        elif token.kind == "word" and token.value not in keywords:
            yield query.text[token.start : token.end], kind
