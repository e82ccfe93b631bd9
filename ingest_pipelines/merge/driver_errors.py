"""psycopg's errors as ours: what happened and whether trying again helps, without a single row value.

Postgres puts values into DETAIL lines and, for some classes, into the message itself ("invalid input syntax for
type integer: ..."). Only messages of the classes in `_SPEAKS_OF_NAMES` are passed on: they name tables, columns,
constraints, files and roles, never data.
"""

from __future__ import annotations

from psycopg import Error, OperationalError, errors

from ingest_pipelines.errors import IngestError, InternalError, TargetBusy, TargetRefused, TargetUnavailable

_SPEAKS_OF_NAMES = ("23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57")
_LOGIN_FAILED = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist")
_BUSY = {"55P03": "a lock was not granted in time", "40P01": "a deadlock", "40001": "a serialization failure"}
_GONE = {"53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006"}
_DENIED = "42501"


def translate(error: Error, where: str, *, holder: str = "") -> IngestError:
    """The error to raise instead; raise it `from None`, so that no traceback carries the original.

    Args:
        where: import and item, the start of the message.
        holder: who holds the lock that was waited for, if that is known.
    """
    state = error.sqlstate or ""
    if state in _BUSY:
        held = f"; {holder}" if holder else ""
        return TargetBusy(
            f"{where}: {_BUSY[state]} in the target{held}",
            hint="nothing was committed; it is tried again, or wait for the other session and run it again",
        )
    if state == "57014":
        return TargetBusy(
            f"{where}: the target's administrator or a time limit cancelled the load",
            hint="nothing was committed; it is tried again",
        )
    if state in _GONE or state.startswith("08") or (not state and isinstance(error, OperationalError)):
        return _unavailable(error, where)
    if state.startswith("28") or state == "3D000":
        return TargetRefused(f"{where}: the target refuses the login: {_message(error)}", hint="check the target's URL")
    if state == "53100":
        return TargetRefused(
            f"{where}: the target's disk is full: {_message(error)}",
            hint="nothing was committed; free space there, then run it again",
        )
    if (state == "21000" or state.startswith("42")) and state != _DENIED and not _of_a_trigger(error):
        return InternalError(
            f"{where}: the target did not understand a statement: {_said(error)}",
            hint="nothing was committed; this is a bug, or the ledger needs: ingest up",
        )
    return TargetRefused(
        f"{where}: the target refused the rows: {_said(error)}",
        hint="nothing was committed; the table's owner can help",
    )


def _unavailable(error: Error, where: str) -> IngestError:
    text = _message(error)
    if any(words in text for words in _LOGIN_FAILED) and not error.sqlstate:
        return TargetRefused(f"{where}: the target refuses the login: {text}", hint="check the target's URL")
    return TargetUnavailable(f"{where}: the target does not answer: {text}", hint="nothing was committed")


def _of_a_trigger(error: Error) -> bool:
    return "PL/pgSQL function" in (error.diag.context or "")


def _said(error: Error) -> str:
    """The kind of error and the names it concerns, in words that cannot hold a value."""
    state = error.sqlstate or ""
    if state.startswith(_SPEAKS_OF_NAMES):
        return _message(error)
    kind = type(error).__name__ if state else "error"
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()
    diag = error.diag
    names = (("table", diag.table_name), ("column", diag.column_name), ("constraint", diag.constraint_name))
    named = ", ".join(f"{label} {name}" for label, name in names if name)
    return f"{words} ({state}{', ' + named if named else ''})"


def _message(error: Error) -> str:
    """The first line of what the server, or libpq, said."""
    text = error.diag.message_primary or (str(error) if isinstance(error, OperationalError) else "")
    return text.strip().splitlines()[0].strip() if text.strip() else type(error).__name__


LOCK_ERRORS = (errors.LockNotAvailable, errors.DeadlockDetected)
"""Errors after which it is worth asking who holds the lock."""
