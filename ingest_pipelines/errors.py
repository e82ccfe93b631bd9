"""Every error that Ingest Pipelines raises, in one tree.

The class says what to do about it: `retryable` errors may go away by themselves, so Dagster tries
again; the others need a person. Each error has a hint (the next step) and the exit code of the command
line. A message names import, item, line and field. It never contains a row's value or a secret.

    IngestError
    ├── ConfigError                 a mistake in a YAML file, with file, line and key          exit 2
    ├── UsageError                  a command that names something that does not exist        exit 2
    ├── Unavailable                 an external system does not answer         retryable       exit 3
    │   ├── SourceUnavailable       a connection: network, time-out, server error
    │   ├── TargetUnavailable       the target Postgres: gone, cut, restarting
    │   ├── TargetBusy              a lock is held longer than `lock_timeout`, or a deadlock
    │   └── ItemChanged             the item changed while it was read
    ├── SourceDenied                login, host key, permission, missing folder                exit 3
    ├── MissingDriver               an optional package is not installed                       exit 2
    ├── LoadError                   a load that did not commit                                 exit 1
    │   ├── ItemRefused             the item as a whole cannot be read (4.3)
    │   ├── ItemGone                the item is no longer at its source
    │   ├── RunDied                 its run's process ended before the run did   retryable
    │   ├── WindowNotEnded          its window goes on, by the target's clock    retryable
    │   ├── StaleItem               older than the last committed item
    │   ├── ShrunkItem              far fewer rows than the last committed item
    │   ├── DeletesAboveLimit       more profiles would be deleted or marked than the import allows
    │   ├── RejectsAboveLimit       more rejects than the import allows                        exit 4
    │   ├── ForgottenMeanwhile      somebody was forgotten after validation    retryable
    │   ├── CursorStuck             a chunk whose cursor did not grow, or went backwards
    │   ├── TargetRefused           the target cannot take the rows: full disk, permission, a user's constraint
    │   │   ├── TargetForbids       the role lacks a privilege; the hint has the GRANT             exit 3
    │   │   └── TargetDenied        the target refuses the login: address, login, database     exit 3
    │   └── CountsDisagree          read is not the sum of the outcomes: a bug, rolled back
    └── InternalError               a promise this code made to itself is broken: a bug        exit 1
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import ClassVar

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended: the shells' convention."""


class IngestError(Exception):
    """What happened, and where. `hint` is the next step.

    Attributes:
        reached: how far the load came, set if a drain fails in one of its chunks: the chunk's Item, Landing or
            Validated, for `record_failure`.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reached: object = None

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigError(IngestError):
    """The mistakes in the project's YAML files, one line each."""

    exit_code = 2

    def __init__(self, mistakes: Sequence[str], *, hint: str = "") -> None:
        super().__init__("\n".join(mistakes), hint=hint)
        self.mistakes = tuple(mistakes)


class UsageError(IngestError):
    """The command names an import, item, load or file that does not exist."""

    exit_code = 2


class Unavailable(IngestError):
    """An external system does not answer; trying again may help."""

    retryable = True
    exit_code = 3


class SourceUnavailable(Unavailable):
    """A connection's server does not answer, or the connection broke.

    Attributes:
        step: what failed: `resolve`, `connect`, `host key`, `login`, `folder`, `list`, `read` ...; "": not known.
        hung: the server was silent for longer than a time-out allows.
    """

    def __init__(self, message: str, *, hint: str = "", step: str = "", hung: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.hung = hung


class TargetUnavailable(Unavailable):
    """The target Postgres does not answer. Nothing was committed."""


class TargetBusy(Unavailable):
    """Another session holds a lock that the merge needs. Nothing was committed."""


class ItemChanged(Unavailable):
    """The item's size, time, etag or bytes changed while it was read."""


class SourceDenied(IngestError):
    """The server answers, but refuses: login, host key, permission, missing folder.

    Attributes:
        step: what was refused; see SourceUnavailable.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", step: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step = step


class MissingDriver(IngestError):
    """An optional package is not installed; the hint is the `pip install` line."""

    exit_code = 2


class LoadError(IngestError):
    """A load that did not commit. The target is unchanged."""


class ItemRefused(LoadError):
    """The item as a whole cannot be read; no row was validated.

    Attributes:
        line: physical line in the file (header = 1), if one line is the cause.
    """

    def __init__(self, message: str, *, line: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line


class ItemGone(LoadError):
    """The item is no longer at its source, or its bytes have changed."""


class RunDied(LoadError):
    """The process of the item's run ended before the run did."""

    retryable = True


class WindowNotEnded(LoadError):
    """The window's item was read before its window ended: this machine's clock is ahead of the target's."""

    retryable = True


class StaleItem(LoadError):
    """The item is older than the last committed item of its import."""


class ShrunkItem(LoadError):
    """The item has far fewer rows than the last committed item."""


class DeletesAboveLimit(LoadError):
    """More profiles would be deleted or marked than the import allows; nothing was merged."""


class RejectsAboveLimit(LoadError):
    """More rows were rejected than the import allows; nothing was merged, the rejects are kept."""

    exit_code = 4


class ForgottenMeanwhile(LoadError):
    """`ingest forget` ran after the rows were validated; they have to be validated again, without that person's."""

    retryable = True


class CursorStuck(LoadError):
    """A chunk's cursor did not grow, holds NULLs, or lies beyond the source's maximum."""


class TargetRefused(LoadError):
    """The target answers, but cannot take the rows. Nothing was committed."""


class TargetForbids(TargetRefused):
    """The login works, but the role lacks a privilege. Nothing was committed."""

    exit_code = 3


class TargetDenied(TargetRefused):
    """The target answers, but refuses the login. Nothing was committed.

    Attributes:
        counted: the credentials were refused. It is not tried again: servers and directories count such logins and
            lock the account after a few.
    """

    exit_code = 3
    counted = False


class CountsDisagree(LoadError):
    """`read` is not the sum of the outcomes. Rolled back."""


class InternalError(IngestError):
    """A promise this code made to itself is broken. Nothing was committed."""


def printable(text: str, limit: int = 120) -> str:
    r"""Text from outside (a file's name, a header) as one line that is safe in a terminal and a log.

    Control, bidirectional and other unprintable characters are escaped (`\x1b`), long text is cut in the middle.
    """
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return safe if len(safe) <= limit else f"{safe[: limit // 2]}...{safe[-(limit // 2) :]}"


_FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up", errno.EIO: "the disk failed",
         errno.ENFILE: "too many files are open", errno.EMFILE: "too many files are open"}  # fmt: skip
_REFUSED = {
    errno.EACCES: "this account has no permission", errno.EPERM: "this account has no permission",
    errno.EROFS: "the file system is read-only", errno.ENOENT: "it does not exist",
    errno.ENOTDIR: "part of the path is not a folder", errno.EISDIR: "it is a folder",
    errno.EEXIST: "it is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long", errno.ELOOP: "its symbolic links form a loop",
    errno.ENOTEMPTY: "the folder is not empty", errno.EFBIG: "the file is too large",
    errno.EXDEV: "it is on another disk", errno.EBUSY: "it is in use", errno.ETXTBSY: "it is in use",
}  # fmt: skip


def file_error(error: OSError) -> IngestError | None:
    """The file system's error as an IngestError; None if the error has another cause.

    Returns:
        Unavailable (retryable) if the disk is full or fails; else UsageError.
    """
    named = error.filename if error.filename2 is None else error.filename2
    where = printable(os.fsdecode(named)) if isinstance(named, str | bytes | os.PathLike) else "an internal file"
    if error.errno in _FULL:
        hint = "nothing was committed; free disk space, then run it again"
        return Unavailable(f"{where}: {_FULL[error.errno]}", hint=hint)
    if error.errno in _REFUSED and not isinstance(error, ConnectionError):
        hint = (
            "nothing was committed; to keep state and run files elsewhere: INGEST_STATE=DIR ingest ..., or, in a code "
            "location of yours, ingest_definitions(state=DIR)"
        )
        return UsageError(f"{where}: {_REFUSED[error.errno]}", hint=hint)
    return None
