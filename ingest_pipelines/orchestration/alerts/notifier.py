"""Sends a message to an address: by mail, or by any other service that Apprise supports."""

from __future__ import annotations

import logging
import re

from ingest_pipelines.config.base import Secret


def send(address: Secret, title: str, body: str) -> str:
    """Sends the message. Returns why it was not sent, or ""; the reason holds no part of the address."""
    import apprise  # imports a hundred services, for a second

    url = address.reveal().strip()
    # Without the time, whose milliseconds may look like a status code.
    with apprise.LogCapture(level=logging.DEBUG, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]  # untyped
        services = apprise.Apprise()
        if not services.add(url):
            return (
                "the address is not an Apprise URL, such as mailtos://user:password@mail.example.com?to=crm@example.com"
            )
        if services.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
            return ""
        return _reason(log.getvalue())


_REASONS = (
    (r"certificate[ _]verify[ _]failed", "the server's certificate is not trusted"),
    (r"\(53[045],|\b401\b|\b403\b|authentication", "the service refuses the login"),
    (r"\(4\d\d,|\(55\d,|was refused:", "the server refuses the recipient"),
    (r"timed out|connection refused|name or service not known|connection error", "the service does not answer"),
)


def _reason(log: str) -> str:
    """The kind of the service's answer; the answer itself may hold addresses."""
    reasons = (reason for pattern, reason in _REASONS if re.search(pattern, log, re.IGNORECASE))
    return next(reasons, "the service did not accept it")
