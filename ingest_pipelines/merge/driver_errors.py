"""psycopg's errors as ours: what happened and whether trying again helps, without a word of the server.

A server's text holds row values: in DETAIL, in the message itself ("invalid input syntax ..."), in whatever a trigger
raises, in the names that a trigger claims (`RAISE ... USING CONSTRAINT = NEW.email`). And it is in the language of the
server. So the SQLSTATE alone decides what an error is; what is told of it is the name of that code, and names that the
catalog has (`concerned`).
"""

from __future__ import annotations

from psycopg import Error, OperationalError, errors

from ingest_pipelines.errors import IngestError, InternalError, TargetDenied, TargetUnavailable
from ingest_pipelines.merge.sqlstates import login_meaning_of, meaning_of
from ingest_pipelines.postgres_login import BROKEN, CANNOT_CONNECT, LOGIN_REFUSED, REFUSED, UNTRUSTED

_NOT_OF_A_FUNCTION = (meaning_of("42703"), meaning_of("28P01"), meaning_of("42501"), meaning_of("53100"))
"""What a function of the table's owner raises with such a code says something of that function, and not of us."""

LOCK_ERRORS = (errors.LockNotAvailable, errors.DeadlockDetected)
"""Errors after which it is worth asking who holds the lock."""


def translate(error: Error, where: str, *, concerned: str = "", holder: str = "", hint: str = "") -> IngestError:
    """The error to raise instead; raise it `from None`, so that no traceback carries the original.

    Args:
        where: import and item, the start of the message.
        concerned: the table, constraint or function that it is about, as the catalog names it.
        holder: who holds the lock that was waited for, if that is known.
        hint: what to do, where more is known than the code says.
    """
    if error.sqlstate is None:
        return _without_a_code(error, where)
    meaning = meaning_of(error.sqlstate)
    if error.diag.context and meaning in _NOT_OF_A_FUNCTION:
        meaning = meaning_of("P0001")
    said = meaning.says if isinstance(error, LOCK_ERRORS) else f"{meaning.says}: {kind_of(error.sqlstate)}"
    told = ", ".join(part for part in (said, concerned) if part)
    return meaning.error(f"{where}: {told}{f'; {holder}' if holder else ''}", hint=hint or meaning.hint)


def translate_login(error: Error, where: str) -> IngestError:
    """The error to raise where `postgres_login` brought no session; raise it `from None`."""
    state = error.sqlstate or BROKEN
    meaning = login_meaning_of(state)
    said = _LOGIN_REFUSED.get(state) or kind_of(state)
    refused = meaning.error(f"{where}: {meaning.says}: {said}", hint=meaning.hint)
    if isinstance(refused, TargetDenied):
        refused.counted = state.startswith(_IDENTITY)
    return refused


_IDENTITY = "28"
"""The class of codes about who logs in: a wrong password, a role that may not."""

_LOGIN_REFUSED = {
    CANNOT_CONNECT: "nothing listens at the address of INGEST_DATABASE_URL",
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
"""What a code means in answer to a login."""


def kind_of(sqlstate: str) -> str:
    """The code's name in Postgres's appendix, in words, with the code; a function's own code may be a row's value."""
    try:
        name = errors.lookup(sqlstate).__name__.removesuffix("_")
    except KeyError:
        return "an error code of a function"
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return f"{words} ({sqlstate})"


def _without_a_code(error: Error, where: str) -> IngestError:
    """The server did not say it: the connection is gone, or psycopg itself cannot go on."""
    if isinstance(error, OperationalError):
        return TargetUnavailable(
            f"{where}: the connection to the target broke off", hint="nothing was committed; it is tried again"
        )
    return InternalError(
        f"{where}: the target's driver cannot do what it was asked for ({type(error).__name__})",
        hint="nothing was committed; this is a bug",
    )
