"""What each SQLSTATE means for a load: which of our errors it is, and why. Only the code counts, never a text.

A code is looked up in `CODES`, then its class in `CLASSES`, else it is `ANY_OTHER`; so a code of a later Postgres is
read by its class. The codes are those of PostgreSQL's appendix A.

A trigger may raise any code, so none may cause harm: retries are safe, and there are only a few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingest_pipelines.errors import (
    IngestError,
    TargetBusy,
    TargetDenied,
    TargetForbids,
    TargetRefused,
    TargetUnavailable,
)
from ingest_pipelines.postgres_login import REFUSED, UNTRUSTED


@dataclass(frozen=True)
class SqlstateMeaning:
    """One of our errors; its class says whether to try again.

    Attributes:
        says: what happened, for a message.
        hint: what is safe, and the next step.
    """

    error: type[IngestError]
    says: str
    hint: str


_AGAIN = "nothing was committed; runs try again by themselves"
_OWNER = "nothing was committed; the table's owner can help"
TARGET_URL = "the target's URL (INGEST_DATABASE_URL, or target_url in your code location)"
_CHECK_URL = f"check {TARGET_URL} and the role it names"

_GONE = SqlstateMeaning(TargetUnavailable, "the target does not answer, or not to a load", _AGAIN)
_ROWS = SqlstateMeaning(TargetRefused, "the target refused the rows", _OWNER)
_MISFIT = SqlstateMeaning(
    TargetRefused,
    "the target refused a statement of the load",
    "nothing was committed; the table, or something attached to it, does not fit the import: compare the names and "
    "types of its columns with: ingest plan NAME",
)
_SERVER = SqlstateMeaning(
    TargetRefused,
    "the target's server has a fault",
    "nothing was committed; the server's administrator finds more in its log; then run it again",
)
_LIMIT = SqlstateMeaning(
    TargetRefused,
    "a limit of the target was reached",
    "nothing was committed; the server's administrator can raise it, then run it again",
)
_LOGIN = SqlstateMeaning(TargetDenied, "the target refuses the login", _CHECK_URL)
_DENIED = SqlstateMeaning(
    TargetForbids,
    "the target denies it",
    "nothing was committed; grant the target's role what it lacks, then run it again",
)


def _busy(says: str) -> SqlstateMeaning:
    return SqlstateMeaning(
        TargetBusy, f"{says} in the target", f"{_AGAIN}, or wait for the other session and run it again"
    )


CODES: Mapping[str, SqlstateMeaning] = {
    # Another session is in the way: the transaction is whole again when it is repeated.
    "40001": _busy("a serialization failure"),
    "40P01": _busy("a deadlock"),
    "55P03": _busy("a lock was not granted in time"),
    "55006": _busy("an object is in use by another session"),
    "40002": _ROWS,  # a constraint, asked at the commit: the same rows break it again
    # The session was ended from outside, or a time limit fired: the next one may get through.
    "57014": SqlstateMeaning(TargetBusy, "the target's administrator or a time limit cancelled the load", _AGAIN),
    "25P03": _GONE,  # idle_in_transaction_session_timeout
    "25P04": _GONE,  # transaction_timeout
    "57P04": SqlstateMeaning(TargetDenied, "the target's database was dropped", _CHECK_URL),  # it does not come back
    # A server that only reads: a standby, until a failover is over.
    "25006": SqlstateMeaning(
        TargetUnavailable,
        "the target takes no changes: it is a standby, or a failover is under way",
        f"{_AGAIN}; {TARGET_URL} has to name the primary",
    ),
    # What runs out by itself (connections, memory) comes back by itself; disk and limits need a person.
    "53100": SqlstateMeaning(
        TargetRefused, "the target's disk is full", "nothing was committed; free space there, then run it again"
    ),
    "53400": _LIMIT,  # temp_file_limit
    "42501": _DENIED,
    "XX000": _SERVER,
    "HV00N": _GONE,  # a foreign table's server does not answer
}

CLASSES: Mapping[str, SqlstateMeaning] = {
    # Values and rules of the table: the same rows are refused again.
    "00": _ROWS, "01": _ROWS, "02": _ROWS,  # no errors; only a function raises them
    "20": _ROWS,  # a CASE without ELSE, in a function
    "22": _ROWS,  # a value does not fit its type
    "23": _ROWS,  # a constraint
    "27": _ROWS,  # a trigger changes the row under way
    "44": _ROWS,  # a view's check option
    "54": _ROWS,  # a row or an index entry is too large
    # A function of the table's owner (trigger, default, generated column, constraint) failed or said no.
    "09": _ROWS, "0Z": _ROWS, "2F": _ROWS, "38": _ROWS, "39": _ROWS, "P0": _ROWS,
    # A statement does not fit the table it meets: its types, operators, rules, partitions, what a view can do.
    "0A": _MISFIT, "10": _MISFIT, "21": _MISFIT, "42": _MISFIT, "HV": _MISFIT, "2B": _MISFIT,
    # Sessions and cursors that are not as we left them: a pooler that mixes sessions, or a function.
    "03": _MISFIT, "0B": _MISFIT, "0F": _MISFIT, "24": _MISFIT, "25": _MISFIT, "26": _MISFIT, "2D": _MISFIT,
    "34": _MISFIT, "3B": _MISFIT,
    # Objects that do not allow it now: a sequence not begun, a database that takes no sessions.
    "55": _MISFIT,
    # Who may do what.
    "0L": _DENIED, "0P": _LOGIN, "28": _LOGIN, "3D": _LOGIN, "3F": _MISFIT,
    # Not the table's fault, and not for long.
    "08": _GONE,  # the connection, also a pooler's to its server
    "40": _busy("the transaction was rolled back"),
    "72": _busy("a snapshot became too old"),
    "53": _GONE,  # too many connections, out of memory
    "57": _GONE,  # shutting down, starting up
    # Not the table's fault, and not by itself over.
    "58": _SERVER, "F0": _SERVER, "XX": _SERVER,
}  # fmt: skip

ANY_OTHER = _ROWS
"""A code that is in no list: a function's own."""


def meaning_of(sqlstate: str) -> SqlstateMeaning:
    """What the code means while a statement runs."""
    return CODES.get(sqlstate) or CLASSES.get(sqlstate[:2]) or ANY_OTHER


def login_meaning_of(sqlstate: str) -> SqlstateMeaning:
    """What the code means as the answer to a login: retryable, or a refused login."""
    meaning = meaning_of(sqlstate)
    return meaning if meaning.error.retryable and sqlstate not in {REFUSED, UNTRUSTED} else _LOGIN
