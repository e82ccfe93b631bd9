"""What a response consists of."""

from __future__ import annotations

import struct

DONE, DONE_PROCEDURE, DONE_IN_PROCEDURE = 0xFD, 0xFE, 0xFF
MORE, FAILED, COUNTED, CANCELLED = 0x01, 0x02, 0x10, 0x20
COLLATION = bytes.fromhex("0904d00034")
"""Latin1_General_CI_AS."""
TDS_7_4 = 0x74000004
VERSION = (16, 0, 4135)


def short_text(text: str) -> bytes:
    """Text behind its length in one byte."""
    return bytes([len(text)]) + text.encode("utf-16-le")


def long_text(text: str) -> bytes:
    """Text behind its length in two bytes."""
    return struct.pack("<H", len(text)) + text.encode("utf-16-le")


def error(number: int, message: str, severity: int = 16) -> bytes:
    """An error, as `sys.messages` numbers it."""
    body = struct.pack("<iBB", number, 1, severity) + long_text(message)
    body += short_text("stand-in") + short_text("") + struct.pack("<i", 1)
    return b"\xaa" + struct.pack("<H", len(body)) + body


def done(status: int = 0, rows: int = 0, token: int = DONE) -> bytes:
    """The end of one statement's response."""
    return struct.pack("<BHHQ", token, status, 0xC1, rows)


def logged_in(database: str, *, features: bool) -> bytes:
    """The greeting after a login."""
    acknowledged = b"\x01" + struct.pack(">I", TDS_7_4) + short_text("Microsoft SQL Server")
    acknowledged += bytes([VERSION[0], VERSION[1]]) + struct.pack(">H", VERSION[2])
    greeting = changed(1, short_text(database), short_text("master"))
    greeting += changed(7, bytes([len(COLLATION)]) + COLLATION) + changed(4, short_text("4096"), short_text("4096"))
    greeting += b"\xad" + struct.pack("<H", len(acknowledged)) + acknowledged
    return greeting + (b"\xae\xff" if features else b"") + done()


def changed(what: int, new: bytes, old: bytes = b"\0") -> bytes:
    """A change of the session: 1 database, 4 packet size, 7 collation, 8 to 10 transaction begun, committed, undone."""
    body = bytes([what]) + new + old
    return b"\xe3" + struct.pack("<H", len(body)) + body


def return_status(status: int = 0) -> bytes:
    """What a stored procedure returns."""
    return b"\x79" + struct.pack("<i", status)


def returned_handle(handle: int) -> bytes:
    """The output parameter of a prepared statement: an int."""
    return (
        b"\xac" + struct.pack("<H", 0) + short_text("") + b"\x01" + struct.pack("<IH", 0, 0) + b"\x26\x04\x04"
        + struct.pack("<i", handle)
    )  # fmt: skip
