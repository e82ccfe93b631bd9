"""What Paramiko's SFTP client lacks: listings that survive any file name, and reads without threads, at a good pace.

Paramiko's listing fails as a whole on one name that is not UTF-8, and its prefetch thread never ends when the
connection is cut. Both are done here on the client's own requests and answers. Its channel moves all that has arrived
each time that a part of it is taken; `Client` takes everything at once.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Protocol, cast

import paramiko
from paramiko.common import MSG_USERAUTH_FAILURE
from paramiko.sftp import (
    CMD_CLOSE,
    CMD_DATA,
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_FSTAT,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READDIR,
    CMD_STATUS,
    SFTP_FLAG_READ,
    int64,
)

from ingest_pipelines.sources.base import CHUNK
from ingest_pipelines.sources.bounded import Worker
from ingest_pipelines.sources.network import silence

RESOURCE_SHORTAGE = 4
"""The reason in SSH's refusal of a channel that may go away by itself."""

REQUEST = 32 << 10
"""Bytes that every server gives in one answer."""

MAX_REQUEST = 255 << 10
"""Most that is asked for in one request, where the server says that it gives so much."""

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
"""Fastest first: GCM needs no second pass for the checksum."""

CHANNEL_WINDOW = 16 << 20
"""Most bytes that the server may send and that nobody took yet."""

PACKET = 128 << 10
"""Most bytes in one SSH packet, if the server makes them that large; each packet costs Paramiko a round of Python."""

WINDOW = 4 << 20
"""Bytes asked for and not yet handed on: enough for a 100 MB/s line with 40 ms latency."""


class Packets(paramiko.packet.Packetizer):
    """Paramiko's packets, which remembers whether the server refused a login.

    Paramiko raises the same for a refused login and for a connection that breaks off within one.
    """

    login_refused = False

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The next message's kind and the message."""
        kind, message = super().read_message()
        if kind == MSG_USERAUTH_FAILURE:
            self.login_refused = True
        return kind, message


class Transport(paramiko.Transport):
    """Paramiko's transport with `Packets`."""

    packetizer: Packets


def transport_over(connected: socket.socket) -> Transport:
    """A transport with room for a fast transfer, and the ciphers that it offers; nothing is sent yet.

    Paramiko would print a traceback for each connection that breaks off.
    """
    silence("paramiko")
    transport = Transport(
        connected, default_window_size=CHANNEL_WINDOW, default_max_packet_size=PACKET, packetizer_class=Packets
    )
    options = transport.get_security_options()
    options.ciphers = tuple(name for name in CIPHERS if name in options.ciphers)
    return transport


def session_over(transport: paramiko.Transport, timeout_seconds: float) -> Client:
    """A new SFTP session, each of whose answers may take so long.

    Raises:
        SourceUnavailable, TimeoutError: the server is silent.
        Exception: paramiko's, of any kind; `answers` tells a refusal from a connection that broke off.
    """
    channel = transport.open_session(window_size=CHANNEL_WINDOW, max_packet_size=PACKET, timeout=timeout_seconds)
    channel.settimeout(timeout_seconds)
    request = Worker("sftp")  # paramiko waits for the answer to this one request without an end
    try:
        request.call(lambda: channel.invoke_subsystem("sftp"), timeout_seconds, "SFTP")
    finally:
        request.stop()
    return Client(channel)


def answers(transport: paramiko.Transport, error: Exception) -> bool:
    """Whether the server is still there after the error: it answers a request for another channel, or refuses it."""
    if isinstance(error, paramiko.ChannelException):
        return error.code != RESOURCE_SHORTAGE
    try:
        transport.open_session(timeout=transport.channel_timeout).close()
    except paramiko.ChannelException:
        return True
    except (paramiko.SSHException, EOFError, OSError):
        return False
    return True


class Client(paramiko.SFTPClient):
    """Paramiko's client, which keeps by itself what has arrived and is not asked for yet."""

    def __init__(self, sock: paramiko.Channel) -> None:
        self._received = bytearray()
        super().__init__(sock)

    def _read_all(self, n: int) -> bytes:
        """The next `n` bytes of the session; paramiko calls it for each answer's length and for its rest."""
        while len(self._received) < n:
            piece = self.sock.recv(CHANNEL_WINDOW)
            if not piece:
                raise EOFError
            self._received += piece
        taken = bytes(memoryview(self._received)[:n])
        del self._received[:n]
        return taken


class _Wire(Protocol):
    """The part of `paramiko.SFTPClient` that speaks the protocol."""

    def _request(self, kind: int, *arguments: object) -> tuple[int, paramiko.Message]: ...
    def _async_request(self, sink: object, kind: int, *arguments: object) -> int: ...
    def _read_response(self) -> object: ...
    def _convert_status(self, message: paramiko.Message) -> None: ...


class _Attributes(Protocol):
    def _from_msg(self, message: paramiko.Message) -> paramiko.SFTPAttributes: ...


_ATTRIBUTES = cast(_Attributes, paramiko.SFTPAttributes)


def entries(client: paramiko.SFTPClient, folder: str) -> list[tuple[str, paramiko.SFTPAttributes]]:
    """Names and attributes in a folder; bytes that are not UTF-8 become lone surrogates."""
    wire = cast(_Wire, client)
    _, message = wire._request(CMD_OPENDIR, folder.encode())
    handle = message.get_binary()
    found: list[tuple[str, paramiko.SFTPAttributes]] = []
    with contextlib.suppress(EOFError):
        while True:
            _, message = wire._request(CMD_READDIR, handle)
            for _ in range(message.get_int()):
                name, _long = message.get_binary(), message.get_binary()
                found.append((name.decode("utf-8", "surrogateescape"), _ATTRIBUTES._from_msg(message)))
    wire._request(CMD_CLOSE, handle)
    return found


def read(client: paramiko.SFTPClient, path: str, offset: int) -> Iterator[bytes]:
    """The file's bytes from `offset` in chunks of at most CHUNK, with many requests under way."""
    wire = cast(_Wire, client)
    request = _largest_answer(wire)
    _, message = wire._request(CMD_OPEN, path.encode(), SFTP_FLAG_READ, paramiko.SFTPAttributes())
    answers = _Answers(wire, message.get_binary(), offset, request)
    chunk: list[bytes] = []
    size = 0
    try:
        for piece in answers.pieces():
            if chunk and size + len(piece) > CHUNK:
                yield b"".join(chunk)
                chunk, size = [], 0
            chunk.append(piece)
            size += len(piece)
        if chunk:
            yield b"".join(chunk)
    finally:
        answers.close()


def _largest_answer(wire: _Wire) -> int:
    """How many bytes the server gives in one answer: OpenSSH's servers say it, of others 32 KB are safe."""
    try:
        kind, message = wire._request(CMD_EXTENDED, b"limits@openssh.com")
    except OSError:
        return REQUEST
    if kind != CMD_EXTENDED_REPLY:
        return REQUEST
    _packet, read = message.get_int64(), message.get_int64()
    return max(REQUEST, min(MAX_REQUEST, read))


class _Answers:
    """Requests under way for one open file, and the answers that arrived before their turn."""

    def __init__(self, wire: _Wire, handle: bytes, offset: int, request: int) -> None:
        self._wire = wire
        self._request = request
        self._handle = handle
        self._asked = self._given = offset
        self._pending: dict[int, tuple[int, int]] = {}
        self._arrived: dict[int, bytes] = {}
        self._failure: Exception | None = None
        self._broken = False

    def pieces(self) -> Iterator[bytes]:
        """The bytes in order, to the size that the file has now, or to where it ends before that."""
        _, message = self._wire._request(CMD_FSTAT, self._handle)
        size = _ATTRIBUTES._from_msg(message).st_size or 0
        while self._given < size and self._failure is None:
            while self._asked < min(size, self._given + WINDOW):
                length = min(self._request, size - self._asked)
                self._ask(self._asked, length)
                self._asked += length
            try:
                self._wire._read_response()
            except Exception:
                self._broken = True
                raise
            while (piece := self._arrived.pop(self._given, None)) is not None:
                self._given += len(piece)
                yield piece
        if self._failure is not None and not isinstance(self._failure, EOFError):
            raise self._failure

    def _ask(self, position: int, length: int) -> None:
        number = self._wire._async_request(self, CMD_READ, self._handle, int64(position), length)
        self._pending[number] = (position, length)

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        """Paramiko's call with the answer to one request."""
        position, length = self._pending.pop(number)
        if kind == CMD_DATA:
            data = message.get_binary()
            self._arrived[position] = data
            if data and len(data) < length and self._failure is None:
                self._ask(position + len(data), length - len(data))
        elif kind == CMD_STATUS:
            try:
                self._wire._convert_status(message)
            except (OSError, EOFError) as error:
                self._failure = error

    def close(self) -> None:
        """Closes the file on the server, unless the connection is gone."""
        if not self._broken:
            with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
                self._wire._request(CMD_CLOSE, self._handle)
