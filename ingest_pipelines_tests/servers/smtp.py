"""A mail server inside the test: STARTTLS, a login, and the letters that arrived."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from ssl import Purpose, create_default_context
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


@dataclass
class SmtpServer:
    """Where it is, who may send, and what was sent.

    Attributes:
        ca_file: the certificate authority that a client has to trust.
        letters: every letter accepted, oldest first.
        refuse: recipients (whole addresses) and the answer that each gets: `550 no such user`.
    """

    port: int
    ca_file: Path
    host: str = "127.0.0.1"
    username: str = "alerts"
    password: str = "alerts-secret"
    letters: list[EmailMessage] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)


class _Mailbox:
    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def handle_RCPT(self, smtp: object, session: object, envelope: Any, address: str, options: object) -> str:
        if address in self._server.refuse:
            return self._server.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, smtp: object, session: object, envelope: Any) -> str:
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self._server.letters.append(letter)
        return "250 OK"


@contextmanager
def running(folder: Path, port: int) -> Iterator[SmtpServer]:
    """A mail server for the length of a block. Nobody sends without STARTTLS and the password."""
    authority = trustme.CA()
    ca_file = folder / "smtp-ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    server = SmtpServer(port, ca_file)
    tls = create_default_context(Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", server.host).configure_cert(tls)

    def authenticate(smtp: object, session: object, envelope: object, mechanism: str, login: object) -> AuthResult:
        right = isinstance(login, LoginPassword) and (login.login, login.password) == (
            server.username.encode(), server.password.encode(),
        )  # fmt: skip
        # `handled` left at True would mean that the refusal was already sent, and the client would wait for ever.
        return AuthResult(success=right, handled=right)

    controller = Controller(
        _Mailbox(server), hostname=server.host, port=port, tls_context=tls, require_starttls=True,
        authenticator=authenticate, auth_required=True,
    )  # fmt: skip
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
