"""Maps psycopg's errors to ours: what happened and whether a retry helps, without any text of the server.

A server's text may hold row values: in DETAIL, in the message itself ("invalid input syntax ..."), in what a trigger
raises, in the names that a trigger claims (`RAISE ... USING CONSTRAINT = NEW.email`). It is also in the server's
language. So the SQLSTATE alone decides which error to raise. The message has the code's name, and only names that the
catalog has (`concerned`).
"""

from __future__ import annotations

from psycopg import Error, OperationalError, errors

from ingest_pipelines.errors import IngestError, InternalError, TargetDenied, TargetUnavailable
from ingest_pipelines.merge.sqlstates import SqlstateMeaning, login_meaning_of, meaning_of
from ingest_pipelines.postgres_login import BROKEN, CANNOT_CONNECT, LOGIN_REFUSED, REFUSED, UNTRUSTED

_NOT_OF_A_FUNCTION = (meaning_of("42703"), meaning_of("28P01"), meaning_of("42501"), meaning_of("53100"))
"""With such a code, an error of a function of the table's owner is about that function, not about the load."""

LOCK_ERRORS = (errors.LockNotAvailable, errors.DeadlockDetected)
"""Errors after which the message names the session that holds the lock."""


def refuses_rows(error: Error) -> bool:
    """Whether the error may be about single rows: a constraint, a value, a function that says no."""
    return error.sqlstate is not None and _meaning(error).says == meaning_of("23505").says


def _meaning(error: Error) -> SqlstateMeaning:
    meaning = meaning_of(error.sqlstate or "")
    return meaning_of("P0001") if error.diag.context and meaning in _NOT_OF_A_FUNCTION else meaning


def translate(error: Error, where: str, *, concerned: str = "", holder: str = "", hint: str = "") -> IngestError:
    """The error to raise instead, `from None`, so that no traceback carries the original.

    Args:
        where: import and item, the start of the message.
        concerned: the table, constraint or function that the error is about, as the catalog names it.
        holder: the session that holds the lock, "" if unknown.
        hint: the next step, if it is more precise than that of the code.
    """
    if error.sqlstate is None:
        return _without_a_code(error, where)
    meaning = _meaning(error)
    said = meaning.says if isinstance(error, LOCK_ERRORS) else f"{meaning.says}: {kind_of(error.sqlstate)}"
    what = ", ".join(part for part in (said, concerned) if part)
    return meaning.error(f"{where}: {what}{f'; {holder}' if holder else ''}", hint=hint or meaning.hint)


def translate_login(error: Error, where: str) -> IngestError:
    """The error to raise, `from None`, where `postgres_login` failed to log in."""
    state = error.sqlstate or BROKEN
    meaning = login_meaning_of(state)
    said = _LOGIN_REFUSED.get(state) or kind_of(state)
    refused = meaning.error(f"{where}: {meaning.says}: {said}", hint=meaning.hint)
    if isinstance(refused, TargetDenied):
        refused.counted = state.startswith(_IDENTITY)
    return refused


_IDENTITY = "28"
"""The class of codes about the login itself: a wrong password, a role that may not log in."""

_LOGIN_REFUSED = {
    CANNOT_CONNECT: "nothing listens at the address in its URL",
    BROKEN: "the connection broke off, or time ran out, during the login",
    REFUSED: "TLS does not come about as sslmode demands it",
    UNTRUSTED: "its certificate is not what sslmode and sslrootcert demand",
    LOGIN_REFUSED: "the password, the role or the database is wrong",
    "28P01": "the password is wrong, missing or expired, or there is no such role (28P01)",
    "28000": "the role may not log in, or not from here (28000)",
    "3D000": "there is no such database (3D000)",
    "42501": "the role may not connect to the database (42501)",
    "55000": "the database takes no connections (55000)",
}
"""What a code means as the answer to a login."""


def kind_of(sqlstate: str) -> str:
    """The code's name in Postgres's appendix, in words, and the code. Other codes may be row values: not shown."""
    try:
        name = errors.lookup(sqlstate).__name__.removesuffix("_")
    except KeyError:
        return "an error code of a function"
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return f"{words} ({sqlstate})"


def _without_a_code(error: Error, where: str) -> IngestError:
    """The error where psycopg has no SQLSTATE: the connection broke, or the driver itself failed."""
    if isinstance(error, OperationalError):
        return TargetUnavailable(
            f"{where}: the connection to the target broke off",
            hint="nothing was committed; runs try again by themselves",
        )
    return InternalError(
        f"{where}: the target's driver cannot do what it was asked for ({type(error).__name__})",
        hint="nothing was committed; this is a bug",
    )
