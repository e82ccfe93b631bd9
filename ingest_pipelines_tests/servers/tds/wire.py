"""Messages in packets, and TLS inside them while a client logs in."""

from __future__ import annotations

import select
import socket
import ssl
import struct

PRELOGIN, LOGIN, BATCH, RPC, TRANSACTION, ATTENTION, RESPONSE = 0x12, 0x10, 0x01, 0x03, 0x0E, 0x06, 0x04
PACKET = 4096
HEADER = 8
LAST = 0x01


class Wire:
    """One client's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""
        self._tls: ssl.SSLObject | None = None
        self._from_client, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()

    def receive(self) -> tuple[int, bytes]:
        """The next message: its type, and its packets' contents joined.

        Raises:
            EOFError: the client is gone.
        """
        content = b""
        while True:
            kind, status, length = struct.unpack(">BBH", self._read(HEADER)[:4])
            content += self._read(length - HEADER)
            if status & LAST:
                return kind, content

    def asks_to_stop(self) -> bool:
        """Whether the client has sent ATTENTION.

        Raises:
            EOFError: the client is gone.
        """
        waiting = bool(self._received) or bool(self._tls and self._tls.pending())
        if not (waiting or select.select([self._socket], [], [], 0)[0]):
            return False
        return self.receive()[0] == ATTENTION

    def send(self, content: bytes, kind: int = RESPONSE, *, last: bool = True) -> None:
        """The content in packets; `last` ends the message."""
        room = PACKET - HEADER
        packets = []
        for number, start in enumerate(range(0, max(1, len(content)), room), 1):
            part = content[start : start + room]
            status = LAST if last and start + room >= len(content) else 0
            packets.append(struct.pack(">BBHHBB", kind, status, len(part) + HEADER, 52, number % 256, 0) + part)
        self._write(b"".join(packets))

    def secure(self, context: ssl.SSLContext) -> None:
        """TLS from now on. Its handshake travels in PRELOGIN packets, everything after it directly."""
        tls = context.wrap_bio(self._from_client, self._to_client, server_side=True)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            if answer := self._to_client.read():
                self.send(answer, PRELOGIN)
            if not done:
                self._from_client.write(self.receive()[1])
        self._tls = tls

    def unsecure(self) -> None:
        """No TLS from now on: some clients ask for it during the login only."""
        self._tls = None

    def _read(self, count: int) -> bytes:
        while len(self._received) < count:
            self._received += self._more()
        wanted, self._received = self._received[:count], self._received[count:]
        return wanted

    def _more(self) -> bytes:
        while True:
            if self._tls is not None:
                try:
                    return self._tls.read(65536) or _gone()
                except ssl.SSLWantReadError:
                    self._from_client.write(self._socket.recv(65536) or _gone())
            else:
                return self._socket.recv(65536) or _gone()

    def _write(self, content: bytes) -> None:
        if self._tls is not None:
            self._tls.write(content)
            content = self._to_client.read()
        self._socket.sendall(content)


def _gone() -> bytes:
    raise EOFError
