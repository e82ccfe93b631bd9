"""One message to one address: by mail, or by any other service that Apprise knows."""

from __future__ import annotations

import logging
import re

from ingest_pipelines.config.base import Secret


def send(address: Secret, title: str, body: str) -> str:
    """Why the message was not sent, or "". Neither the address nor anything of it is in the reason."""
    import apprise  # a hundred services: a second of imports

    url = address.reveal().strip()
    # Without the time: its milliseconds read as a status code now and then.
    with apprise.LogCapture(level=logging.DEBUG, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]  # untyped
        services = apprise.Apprise()
        if not services.add(url):
            return "its address is no Apprise URL, such as mailtos://user:password@mail.example.com?to=crm@example.com"
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
    """The service's answer in a few words: what Apprise logs may hold addresses."""
    found = (reason for pattern, reason in _REASONS if re.search(pattern, log, re.IGNORECASE))
    return next(found, "the service did not take it")
