"""What all sources do about a failing network: pauses between attempts, names of errors, bugs told from failures."""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ingest_pipelines.errors import SourceUnavailable

T = TypeVar("T")

LONGEST_PAUSE = 10.0
"""Seconds between two attempts, at most."""

FIRST_PAUSE = 0.25

BROKEN_HINT = "it is tried again by itself; to see which step fails, run: ingest check --connect"


def pauses(retries: int) -> Iterator[float]:
    """Seconds between attempts: FIRST_PAUSE, doubled each time, up to LONGEST_PAUSE."""
    return (min(FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE) for attempt in range(retries))


def retried(work: Callable[[], T], retries: int, pause: Callable[[float], None]) -> T:
    """What the work returns; it is repeated while the source does not answer.

    Args:
        work: may be done twice.

    Raises:
        SourceUnavailable: of the last attempt; all other errors at once.
    """
    for seconds in pauses(retries):
        try:
            return work()
        except SourceUnavailable:
            pause(seconds)
    return work()


def silence(log: str) -> None:
    """Switches off a driver's log, unless the user has configured it: it repeats our errors in its own words."""
    logger = logging.getLogger(log)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def error_name(error: BaseException) -> str:
    """An error's name without its text: `ECONNRESET`, or its class."""
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number, type(error).__name__) if isinstance(number, int) else type(error).__name__


_PYOPENSSL = "certificate verify failed"
"""OpenSSL's name of the reason: this side's, never the server's."""

UNTRUSTED = "the server's certificate is not trusted, is out of date, or is made out to another name"
UNTRUSTED_HINT = (
    "nothing was sent; ask the server's owner who signed its certificate, and name that authority's certificate in "
    "connections.yaml, or in the variable SSL_CERT_FILE"
)


def is_untrusted(error: BaseException) -> bool:
    """Whether the server's certificate is what failed, however deep a driver has buried it: no retry helps."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop()
        if isinstance(found, ssl.SSLCertVerificationError):
            return True
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        if type(found).__module__ == "OpenSSL.SSL" and _PYOPENSSL in str(found):  # Snowflake's way to TLS
            return True
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__, *found.args]
        waiting += [getattr(found, name, None) for name in ("reason", "original_exception", "cause", "error")]
        kept = getattr(found, "kwargs", None)  # botocore's
        waiting += kept.values() if isinstance(kept, Mapping) else ()
    return False


def raised_by_us(error: BaseException) -> bool:
    """Whether our own code raised it, and no driver did: a bug must not look like a broken connection."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = innermost.tb_frame.f_globals.get("__name__", "") if innermost is not None else ""
    return str(module).startswith("ingest_pipelines.")
