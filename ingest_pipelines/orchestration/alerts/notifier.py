"""Sends a message to an address: by mail, or by any other service that Apprise supports."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ingest_pipelines.config.base import Secret
from ingest_pipelines.errors import ConfigError

_LOGGER = logging.getLogger("apprise")


def send(address: Secret, title: str, body: str, severity: str = "warning") -> str:
    """Sends the message. Returns why it was not sent, or ""; the reason holds no part of the address.

    Args:
        severity: `failure`, `warning` or `success`, as Apprise calls the types of messages.
    """
    import apprise  # imports a hundred services, for a second

    try:
        url = address.reveal().strip()
    except (KeyError, ConfigError):
        return "the secret with the address is gone, or is no text"
    with _log_of_this_thread() as log:
        # In this thread, whose log is read. Apprise's own threads are few: some hung addresses would hold up all.
        services = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, service_timeout=0))
        if not services.add(url):
            return (
                "the address is not an Apprise URL, such as mailtos://user:password@mail.example.com?to=crm@example.com"
            )
        if services.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT, notify_type=severity):
            return ""
        return _reason("\n".join(log))


class _Log(logging.Handler):
    """Keeps the messages of one thread: several addresses are served at once.

    Without the time, whose milliseconds may look like a status code.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread = threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the message if this thread has written it."""
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


@contextmanager
def _log_of_this_thread() -> Iterator[list[str]]:
    """What Apprise logs in this thread; nobody else gets it, for it may hold addresses."""
    handler = _Log()
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        _LOGGER.removeHandler(handler)


_REASONS = (
    (r"certificate[ _]verify[ _]failed", "the server's certificate is not trusted"),
    (r"\(53[045],|\b401\b|\b403\b|authentication", "the service refuses the login"),
    (r"\(4\d\d,|\(55\d,|was refused:", "the server refuses the recipient"),
    (
        r"timed out|connection refused|name or service not known|connection error|connection unexpectedly closed"
        r"|connection reset|connection aborted|broken pipe",
        "the service does not answer",
    ),
)


def _reason(log: str) -> str:
    """The kind of the service's answer; the answer itself may hold addresses."""
    reasons = (reason for pattern, reason in _REASONS if re.search(pattern, log, re.IGNORECASE))
    return next(reasons, "the service did not accept it")
