"""psycopg's errors as ours: what happened and whether trying again helps, without a single row value.

Postgres puts values into DETAIL lines and, for some classes, into the message itself ("invalid input syntax for
type integer: ..."). Only messages of the classes in `_SPEAKS_OF_NAMES` are passed on: they name tables, columns,
constraints, files and roles, never data. What a trigger says may hold anything, whatever class it claims to be: of it
only the function's name is told.
"""

from __future__ import annotations

import re

from psycopg import Error, OperationalError, errors

from ingest_pipelines.errors import (
    IngestError,
    InternalError,
    TargetBusy,
    TargetDenied,
    TargetRefused,
    TargetUnavailable,
)

_SPEAKS_OF_NAMES = ("23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57")
_REFUSES_LOGIN = (
    "authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist", "permission denied",
    "is not permitted to log in", "does not support SSL", "certificate verify failed", "root certificate file",
)  # fmt: skip
"""What a failed connection says, where no other try will help. It has no code: only its words tell it from others."""

_BUSY = {"55P03": "a lock was not granted in time", "40P01": "a deadlock", "40001": "a serialization failure"}
_GONE = {"53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006"}
_STANDBY = "during recovery"
_DENIED = "42501"
_FUNCTION = re.compile(r"PL/pgSQL function (?:([\w.\"$]+)\(.*?\)|inline_code_block) line (\d+)")


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
    if state in _GONE or state.startswith("08") or _is_standby(error) or (not state and _is_cut(error)):
        return _unavailable(error, where)
    if state.startswith("28") or state == "3D000":
        return _login_refused(error, where)
    if state == "53100":
        return TargetRefused(
            f"{where}: the target's disk is full: {_said(error)}",
            hint="nothing was committed; free space there, then run it again",
        )
    if state == _DENIED:
        return TargetRefused(
            f"{where}: the target denies it: {_said(error)}",
            hint="nothing was committed; grant the role of INGEST_DATABASE_URL what it lacks, then run it again",
        )
    if (state == "21000" or state.startswith("42")) and not _in_function(error):
        return InternalError(
            f"{where}: the target did not understand a statement: {_said(error)}",
            hint="nothing was committed; this is a bug, or the ledger needs: ingest up",
        )
    return TargetRefused(
        f"{where}: the target refused the rows: {_said(error)}",
        hint="nothing was committed; the table's owner can help",
    )


def _unavailable(error: Error, where: str) -> IngestError:
    if not error.sqlstate and any(words in _message(error) for words in _REFUSES_LOGIN):
        return _login_refused(error, where)
    return TargetUnavailable(
        f"{where}: the target does not answer, or not to a load: {_said(error)}",
        hint="nothing was committed; it is tried again",
    )


def _login_refused(error: Error, where: str) -> IngestError:
    return TargetDenied(
        f"{where}: the target refuses the login: {_said(error)}", hint="check INGEST_DATABASE_URL and the role it names"
    )


def _is_cut(error: Error) -> bool:
    """Whether libpq says that there is no connection, or none any more; the server's own errors have a code."""
    return isinstance(error, OperationalError)


def _is_standby(error: Error) -> bool:
    """Whether the server replays another's changes, and takes none itself: a failover is under way."""
    return error.sqlstate == "0A000" and _STANDBY in (error.diag.message_primary or "")


def _in_function(error: Error) -> bool:
    """Whether a function was at work: a trigger's, or one in a constraint, an index, a default. Ours call none."""
    return "function" in (error.diag.context or "")


def _said(error: Error) -> str:
    """The kind of error and the names it concerns, in words that cannot hold a value."""
    state = error.sqlstate or ""
    if _in_function(error):
        function = _FUNCTION.search(error.diag.context or "")
        name = "a function" if function is None else f"function {function[1] or 'in a DO block'}, line {function[2]}"
        return f"{_kind(error)}, from {name}"
    if not state or state.startswith((*_SPEAKS_OF_NAMES, "08")) or _is_standby(error):
        return _message(error)
    diag = error.diag
    names = (("table", diag.table_name), ("column", diag.column_name), ("constraint", diag.constraint_name))
    return ", ".join([_kind(error), *(f"{label} {name}" for label, name in names if name)])


def _kind(error: Error) -> str:
    """Psycopg's name of the error's class, in words, with its code."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__).strip()
    return f"{words} ({error.sqlstate})"


def _message(error: Error) -> str:
    """The first line of what the server, or libpq, said."""
    text = error.diag.message_primary or (str(error) if isinstance(error, OperationalError) else "")
    lines = text.strip().splitlines() or [type(error).__name__]
    attempts = [line for line in lines if line.startswith("- ")]  # one per address that the host's name has
    return (attempts[-1][2:] if attempts else lines[0]).strip()


LOCK_ERRORS = (errors.LockNotAvailable, errors.DeadlockDetected)
"""Errors after which it is worth asking who holds the lock."""
