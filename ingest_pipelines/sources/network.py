"""What all sources do about a failing network: pauses between attempts, names of errors, bugs told from failures."""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from ingest_pipelines.errors import SourceDenied, SourceUnavailable

T = TypeVar("T")

LONGEST_PAUSE = 10.0
"""Seconds between two attempts, at most."""

FIRST_PAUSE = 0.25

BROKEN_HINT = "runs and sensors try again by themselves; to see which step fails, run: ingest check --connect"


def pauses(retries: int) -> Iterator[float]:
    """Seconds between attempts: FIRST_PAUSE, doubled each time, up to LONGEST_PAUSE."""
    return (min(FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE) for attempt in range(retries))


def _always(error: SourceUnavailable) -> bool:
    return True


def retried(
    work: Callable[[], T],
    retries: int,
    pause: Callable[[float], None],
    worth_it: Callable[[SourceUnavailable], bool] = _always,
) -> T:
    """What the work returns; it is repeated while the source does not answer.

    Args:
        work: may be done twice.
        worth_it: whether to try again after this error.

    Raises:
        SourceUnavailable: of the last attempt; all other errors at once.
    """
    for seconds in pauses(retries):
        try:
            return work()
        except SourceUnavailable as error:
            if not worth_it(error):
                raise
            pause(seconds)
    return work()


@contextmanager
def at_step(step: str) -> Iterator[None]:
    """Errors of the source in the block name the step, unless a block inside it has named one."""
    try:
        yield
    except (SourceUnavailable, SourceDenied) as error:
        error.step = error.step or step
        raise


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
    return any(
        isinstance(cause, ssl.SSLCertVerificationError)
        or (type(cause).__module__ == "OpenSSL.SSL" and _PYOPENSSL in str(cause))  # Snowflake's way to TLS
        for cause in _causes(error)
    )


_TIMEOUTS = {"ReadTimeoutError", "ConnectTimeoutError", "ReadTimeout", "ConnectTimeout", "Timeout"}
"""Classes of HTTP clients that are not Python's own TimeoutError."""


def is_timeout(error: BaseException) -> bool:
    """Whether the server was silent for too long, however deep a driver has buried it."""
    return any(isinstance(cause, TimeoutError) or type(cause).__name__ in _TIMEOUTS for cause in _causes(error))


_INSIDE = ("reason", "original_exception", "cause", "error", "inner_exception")
"""What drivers call the error inside an error."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all errors inside it."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        yield found
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__, *found.args]
        waiting += [getattr(found, name, None) for name in _INSIDE]
        kept = getattr(found, "kwargs", None)  # botocore's
        waiting += kept.values() if isinstance(kept, Mapping) else ()


def raised_by_us(error: BaseException) -> bool:
    """Whether our own code raised it, and no driver did: a bug must not look like a broken connection."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = innermost.tb_frame.f_globals.get("__name__", "") if innermost is not None else ""
    return str(module).startswith("ingest_pipelines.")
