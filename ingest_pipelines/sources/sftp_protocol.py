"""What Paramiko's SFTP client lacks: listings that survive any file name, and fast reads without threads.

One name that is not UTF-8 makes Paramiko's whole listing fail, and its prefetch thread never ends when the connection
is cut. Both are done here with the client's own requests and answers. Paramiko's channel moves all received bytes
each time that a part of them is read; `BufferedClient` reads everything at once.
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
"""The one reason for refusing a channel that may go away by itself (RFC 4254, 5.1)."""

REQUEST = 32 << 10
"""Bytes that every server sends in one answer."""

MAX_REQUEST = 255 << 10
"""Most bytes of one request, if the server says that it sends so many."""

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
"""Fastest first: GCM needs no second pass for the checksum."""

CHANNEL_WINDOW = 16 << 20
"""Most bytes that the server may send before we have read them."""

PACKET = 128 << 10
"""Most bytes in one SSH packet, if the server makes them that large. Each packet costs Paramiko a loop in Python."""

WINDOW = 4 << 20
"""Bytes requested and not yet delivered: enough for a 100 MB/s line with 40 ms latency."""


class LoginPacketizer(paramiko.packet.Packetizer):
    """Paramiko's packets; remembers whether the server refused a login.

    Paramiko raises the same error for a refused login and for a connection that breaks off during one.
    """

    login_refused = False

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The next message's kind and the message."""
        kind, message = super().read_message()
        if kind == MSG_USERAUTH_FAILURE:
            self.login_refused = True
        return kind, message


class SftpTransport(paramiko.Transport):
    """Paramiko's transport with `LoginPacketizer`."""

    packetizer: LoginPacketizer


def transport_over(connected: socket.socket) -> SftpTransport:
    """A transport with large windows and fast ciphers; nothing is sent yet."""
    silence("paramiko")  # it would print a traceback for each connection that breaks off
    transport = SftpTransport(
        connected, default_window_size=CHANNEL_WINDOW, default_max_packet_size=PACKET, packetizer_class=LoginPacketizer
    )
    options = transport.get_security_options()
    options.ciphers = tuple(name for name in CIPHERS if name in options.ciphers)
    return transport


def session_over(transport: paramiko.Transport, timeout_seconds: float) -> BufferedClient:
    """A new SFTP session; each answer may take `timeout_seconds`.

    Raises:
        SourceUnavailable, TimeoutError: the server is silent.
        Exception: paramiko's, of any kind; `is_alive` tells a refusal from a connection that broke off.
    """
    channel = transport.open_session(window_size=CHANNEL_WINDOW, max_packet_size=PACKET, timeout=timeout_seconds)
    channel.settimeout(timeout_seconds)
    request = Worker("sftp")  # paramiko has no timeout for this one request
    try:
        request.call(lambda: channel.invoke_subsystem("sftp"), timeout_seconds, "SFTP")
    finally:
        request.stop()
    return BufferedClient(channel)


def is_alive(transport: paramiko.Transport, error: Exception) -> bool:
    """Whether the server still responds after the error: it opens another channel, or refuses it."""
    if isinstance(error, paramiko.ChannelException):
        return error.code != RESOURCE_SHORTAGE
    try:
        transport.open_session(timeout=transport.channel_timeout).close()
    except paramiko.ChannelException:
        return True
    except (paramiko.SSHException, EOFError, OSError):
        return False
    return True


class BufferedClient(paramiko.SFTPClient):
    """Paramiko's client with a buffer of its own for what has been received and not read yet."""

    def __init__(self, sock: paramiko.Channel) -> None:
        self._received = bytearray()
        super().__init__(sock)

    def _read_all(self, n: int) -> bytes:
        """The next `n` bytes of the session; paramiko calls it for the length of each answer, then for the answer."""
        while len(self._received) < n:
            piece = self.sock.recv(CHANNEL_WINDOW)
            if not piece:
                raise EOFError
            self._received += piece
        next_bytes = bytes(memoryview(self._received)[:n])
        del self._received[:n]
        return next_bytes


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
    named_attributes: list[tuple[str, paramiko.SFTPAttributes]] = []
    with contextlib.suppress(EOFError):
        while True:
            _, message = wire._request(CMD_READDIR, handle)
            for _ in range(message.get_int()):
                name, _long = message.get_binary(), message.get_binary()
                named_attributes.append((name.decode("utf-8", "surrogateescape"), _ATTRIBUTES._from_msg(message)))
    wire._request(CMD_CLOSE, handle)
    return named_attributes


def read(client: paramiko.SFTPClient, path: str, offset: int) -> Iterator[bytes]:
    """The file's bytes from `offset` in chunks of at most CHUNK, with many requests under way."""
    wire = cast(_Wire, client)
    request = _largest_answer(wire)
    _, message = wire._request(CMD_OPEN, path.encode(), SFTP_FLAG_READ, paramiko.SFTPAttributes())
    open_file = _PipelinedRead(wire, message.get_binary(), offset, request)
    chunk: list[bytes] = []
    size = 0
    try:
        for piece in open_file.pieces():
            if chunk and size + len(piece) > CHUNK:
                yield b"".join(chunk)
                chunk, size = [], 0
            chunk.append(piece)
            size += len(piece)
        if chunk:
            yield b"".join(chunk)
    finally:
        open_file.close()


def _largest_answer(wire: _Wire) -> int:
    """How many bytes the server sends in one answer. OpenSSH tells; 32 KB are safe with all others."""
    try:
        kind, message = wire._request(CMD_EXTENDED, b"limits@openssh.com")
    except OSError:
        return REQUEST
    if kind != CMD_EXTENDED_REPLY:
        return REQUEST
    _packet, read = message.get_int64(), message.get_int64()
    return max(REQUEST, min(MAX_REQUEST, read))


class _PipelinedRead:
    """One open file: requests under way, and answers that arrived out of order."""

    def __init__(self, wire: _Wire, handle: bytes, offset: int, request: int) -> None:
        self._wire = wire
        self._request = request
        self._handle = handle
        self._requested_to = self._delivered_to = offset
        self._pending: dict[int, tuple[int, int]] = {}
        self._arrived: dict[int, bytes] = {}
        self._failure: Exception | None = None
        self._broken = False

    def pieces(self) -> Iterator[bytes]:
        """The bytes in order, up to the size that the file has now, or to an earlier end."""
        _, message = self._wire._request(CMD_FSTAT, self._handle)
        size = _ATTRIBUTES._from_msg(message).st_size or 0
        while self._delivered_to < size and self._failure is None:
            while self._requested_to < min(size, self._delivered_to + WINDOW):
                length = min(self._request, size - self._requested_to)
                self._request_range(self._requested_to, length)
                self._requested_to += length
            try:
                self._wire._read_response()
            except Exception:
                self._broken = True
                raise
            while (piece := self._arrived.pop(self._delivered_to, None)) is not None:
                self._delivered_to += len(piece)
                yield piece
        if self._failure is not None and not isinstance(self._failure, EOFError):
            raise self._failure

    def _request_range(self, position: int, length: int) -> None:
        number = self._wire._async_request(self, CMD_READ, self._handle, int64(position), length)
        self._pending[number] = (position, length)

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        """Paramiko calls it with the answer to each request."""
        position, length = self._pending.pop(number)
        if kind == CMD_DATA:
            data = message.get_binary()
            self._arrived[position] = data
            if data and len(data) < length and self._failure is None:
                self._request_range(position + len(data), length - len(data))
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
