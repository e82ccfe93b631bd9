"""Packets, and the primitives that messages are made of."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable

CONNECT, ACCEPT, REFUSE, DATA, MARKER = 1, 2, 4, 6, 12
BREAK, RESET = 1, 2
"""Markers."""
CANCELLED = "ORA-01013: user requested cancel of current operation\n"
PROTOCOL = 317
"""Oracle Net version; from 315 on, packets have a length of four bytes."""
LARGEST = 8192
END_OF_FILE = 0x40
NULL, EMPTY, LONG = 0xFF, 0x00, 0xFE
LONGEST_SHORT = 252
PART = 32767


class Wire:
    """One client's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._large = False

    def receive_connect(self) -> bytes:
        """The connect string that a client begins with.

        Raises:
            EOFError: it is no client of Oracle, or gone.
        """
        kind, content = self._packet()
        if kind != CONNECT:
            raise EOFError
        length, start = struct.unpack(">HH", content[16:20])
        described = content[start - 8 : start - 8 + length]
        return described if len(described) == length else self._packet()[1][2:]

    def accept(self) -> None:
        """The connection stands; from now on lengths have four bytes."""
        body = struct.pack(">HH", PROTOCOL, 0) + bytes(10) + b"\x04" + bytes(9) + struct.pack(">I", LARGEST)
        self._socket.sendall(struct.pack(">HHBBH", len(body) + 8, 0, ACCEPT, 0, 0) + body)
        self._large = True

    def refuse(self, number: int) -> None:
        """The listener's ORA-`number`."""
        said = f"(DESCRIPTION=(TMP=)(VSNNUM=202375680)(ERR={number})(ERROR_STACK=(ERROR=(CODE={number})(EMFI=4))))"
        body = struct.pack(">BBH", 34, 0, len(said)) + said.encode()
        self._socket.sendall(struct.pack(">HHBBH", len(body) + 8, 0, REFUSE, 0, 0) + body)

    def receive(self) -> bytes:
        """The content of the next data packet.

        Raises:
            EOFError: the client is gone.
        """
        while True:
            kind, content = self._packet()
            if kind == MARKER and content[2] != RESET:  # a break that crossed our answer: its client waits for another
                self._agree_to_stop()
                self.send(error(1013, CANCELLED))
            elif kind == MARKER:
                self._mark(RESET)
            elif kind != DATA or content[1] & END_OF_FILE:
                raise EOFError
            else:
                return content[2:]

    def asks_to_stop(self) -> bool:
        """Whether the client has sent a break; if so, it is told that the call ends, and the way is free for why.

        Raises:
            EOFError: the client is gone.
        """
        if not select.select([self._socket], [], [], 0)[0]:
            return False
        if self._packet()[0] != MARKER:
            raise EOFError  # a client asks nothing while it waits
        self._agree_to_stop()
        return True

    def _agree_to_stop(self) -> None:
        self._mark(BREAK)
        while self._packet() != (MARKER, bytes([1, 0, RESET])):
            pass
        self._mark(RESET)

    def _mark(self, what: int) -> None:
        self._socket.sendall(struct.pack(">IBBHBBB", 11, MARKER, 0, 0, 1, 0, what))

    def send(self, content: bytes) -> None:
        """The content in data packets."""
        room = LARGEST - 10
        packets = []
        for start in range(0, max(1, len(content)), room):
            part = content[start : start + room]
            packets.append(struct.pack(">IBBHH", len(part) + 10, DATA, 0, 0, 0) + part)
        self._socket.sendall(b"".join(packets))

    def _packet(self) -> tuple[int, bytes]:
        header = self._read(8)
        length = int.from_bytes(header[: 4 if self._large else 2], "big")
        return header[4], self._read(length - 8)

    def _read(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self._socket.recv(count - len(received))
            if not part:
                raise EOFError
            received += part
        return received


class Reader:
    """Reads a message; one that spans packets asks for the next when it needs it."""

    def __init__(self, content: bytes, more: Callable[[], bytes]) -> None:
        self._content = content
        self._position = 0
        self._more = more

    @property
    def left(self) -> int:
        """Bytes not read yet of the packets that are here."""
        return len(self._content) - self._position

    def take(self, count: int) -> bytes:
        """The next bytes."""
        while self.left < count:
            self._content = self._content[self._position :] + self._more()
            self._position = 0
        start, self._position = self._position, self._position + count
        return self._content[start : self._position]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """A number behind its length."""
        return int.from_bytes(self.take(self.byte() & 0x7F), "big")

    def value(self) -> bytes | None:
        """Bytes behind their length; long ones come in parts."""
        length = self.byte()
        if length in {EMPTY, NULL}:
            return None
        if length != LONG:
            return self.take(length)
        parts = []
        while size := self.number():
            parts.append(self.take(size))
        return b"".join(parts)

    def pairs(self, count: int) -> dict[str, bytes]:
        """Keys and values, each with flags that nobody needs here."""
        found = {}
        for _ in range(count):
            key = self.value() if self.number() else None
            value = self.value() if self.number() else None
            self.number()
            found[(key or b"").decode()] = value or b""
        return found


def number(value: int) -> bytes:
    """A number behind its length."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def sized(value: bytes) -> bytes:
    """Bytes behind their length; long ones in parts."""
    if len(value) <= LONGEST_SHORT:
        return bytes([len(value)]) + value
    parts = [value[start : start + PART] for start in range(0, len(value), PART)]
    return bytes([LONG]) + b"".join(number(len(part)) + part for part in parts) + number(0)


def text(value: str) -> bytes:
    """Text, its length twice."""
    encoded = value.encode()
    return number(len(encoded)) + (sized(encoded) if encoded else b"")


def pairs(values: dict[str, tuple[str, int]]) -> bytes:
    """Keys, values and their flags: what a server returns from a step of the login."""
    return b"\x08" + number(len(values)) + b"".join(
        text(key) + text(value) + number(flags) for key, (value, flags) in values.items()
    )  # fmt: skip


def status() -> bytes:
    """The end of an answer without rows or errors."""
    return b"\x09" + number(1) + number(0)


def error(code: int = 0, message: str = "", cursor: int = 0, rows: int = 0) -> bytes:
    """The end of every answer to a statement; code 0 is success."""
    fields = [1, 0, 0, 0, 0, 0, cursor, 0]  # call status, sequence, row, code and array codes of old, cursor, position
    body = b"\x04" + b"".join(map(number, fields)) + bytes(6)
    body += number(0) * 2 + b"\0" + number(0) * 3 + b"\0\0" + number(0) * 6  # row id, system error, statement, batch
    return body + number(code) + number(rows) + (sized(message.encode()) if code else b"")
