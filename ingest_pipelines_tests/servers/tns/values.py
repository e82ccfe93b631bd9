"""DuckDB's types and values as Oracle sends them, and a client's bind values as Python values."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ingest_pipelines_tests.servers.tns.wire import number, text

VARCHAR, NUMBER, DATE, RAW, BINARY_DOUBLE, TIMESTAMP, TIMESTAMP_TZ = 1, 2, 12, 23, 101, 180, 181
UTF8 = 873
MANTISSA = 20
"""An Oracle number has at most so many base-100 digits."""


@dataclass(frozen=True)
class Column:
    """How one column travels.

    Attributes:
        size: of the client's buffer.
        longest: in characters or bytes; 0 where the type says it.
    """

    name: str
    kind: int
    precision: int
    scale: int
    size: int
    longest: int
    encode: Callable[[Any], bytes]

    def metadata(self, position: int) -> bytes:
        """The column's part of a describe answer."""
        character = self.kind == VARCHAR
        described = bytes([self.kind, 0, self.precision, self.scale]) + number(self.size)
        described += number(0) * 4  # array elements, flags, object id, version
        described += number(UTF8 if character else 0) + bytes([character]) + number(self.longest)
        described += b"\x01" + bytes([len(self.name)]) + text(self.name.upper())  # nullable, and the name
        return described + text("") * 2 + number(position) + number(0)  # schema and type of an object


def column(name: str, duckdb_type: str) -> Column:
    """How a column of DuckDB travels."""
    if duckdb_type in {"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER"}:
        return Column(name, NUMBER, 38, 0, 22, 0, lambda value: encode_number(Decimal(value)))
    if duckdb_type.startswith("DECIMAL"):
        precision, scale = map(int, re.findall(r"\d+", duckdb_type))
        return Column(name, NUMBER, precision, scale, 22, 0, encode_number)
    if duckdb_type == "BOOLEAN":  # as NUMBER(1): truth values are younger than this protocol version
        return Column(name, NUMBER, 1, 0, 22, 0, lambda value: encode_number(Decimal(int(value))))
    if duckdb_type in {"DOUBLE", "FLOAT"}:
        return Column(name, BINARY_DOUBLE, 0, 0, 8, 0, _encode_double)
    if duckdb_type == "DATE":
        return Column(name, DATE, 0, 0, 7, 0, _encode_date)
    if duckdb_type == "TIMESTAMP WITH TIME ZONE":  # in UTC, +00:00
        return Column(
            name, TIMESTAMP_TZ, 0, 6, 13, 0, lambda value: _encode_timestamp(value.astimezone(UTC)) + b"\x14\x3c"
        )
    if duckdb_type.startswith("TIMESTAMP"):
        return Column(name, TIMESTAMP, 0, 6, 11, 0, _encode_timestamp)
    if duckdb_type == "BLOB":
        return Column(name, RAW, 0, 0, 2000, 2000, bytes)
    return Column(name, VARCHAR, 0, 0, 4000, 4000, lambda value: str(value).encode())


def encode_number(value: Decimal) -> bytes:
    """An exponent to base 100, then base-100 digits: each plus 1, or 101 minus it below zero."""
    if value == 0:
        return b"\x80"
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    padded = list(digits)
    while padded[-1] == 0:
        padded.pop()
        exponent += 1
    if exponent % 2:
        padded.append(0)
        exponent -= 1
    if len(padded) % 2:
        padded.insert(0, 0)
    hundreds = [10 * tens + ones for tens, ones in zip(padded[::2], padded[1::2], strict=True)][:MANTISSA]
    first = exponent // 2 + len(padded) // 2 - 1 + 193
    if not sign:
        return bytes([first]) + bytes(digit + 1 for digit in hundreds)
    ended = b"\x66" if len(hundreds) < MANTISSA else b""
    return bytes([~first & 0xFF]) + bytes(101 - digit for digit in hundreds) + ended


def decode_number(value: bytes) -> Decimal:
    """The inverse of `encode_number`."""
    if value == b"\x80":
        return Decimal(0)
    positive = bool(value[0] & 0x80)
    exponent = (value[0] if positive else ~value[0] & 0xFF) - 193
    hundreds = value[1:] if positive or value[-1] != 0x66 else value[1:-1]
    digits = (Decimal(digit - 1 if positive else 101 - digit) for digit in hundreds)
    total = sum((digit.scaleb(2 * (exponent - place)) for place, digit in enumerate(digits)), Decimal(0))
    return total if positive else -total


def decode(kind: int, value: bytes | None) -> Any:
    """A bind value."""
    if value is None:
        return None
    if kind == NUMBER:
        exact = decode_number(value)
        return int(exact) if exact == exact.to_integral_value() else exact
    if kind in {DATE, TIMESTAMP, TIMESTAMP_TZ}:
        nanoseconds = struct.unpack(">I", value[7:11])[0] if len(value) >= 11 else 0
        century, year, month, day, hour, minute, second = value[:7]
        full_year = (century - 100) * 100 + year - 100
        return datetime(full_year, month, day, hour - 1, minute - 1, second - 1, nanoseconds // 1000)
    if kind == BINARY_DOUBLE:
        positive = value[0] & 0x80
        plain = bytes([value[0] & 0x7F]) + value[1:] if positive else bytes(~byte & 0xFF for byte in value)
        return struct.unpack(">d", plain)[0]
    return value if kind == RAW else value.decode()


def _encode_double(value: float) -> bytes:
    """IEEE 754, turned so that its bytes sort like its values."""
    plain = struct.pack(">d", value)
    return bytes(~byte & 0xFF for byte in plain) if plain[0] & 0x80 else bytes([plain[0] | 0x80]) + plain[1:]


def _encode_date(value: date | datetime) -> bytes:
    clock = (value.hour, value.minute, value.second) if isinstance(value, datetime) else (0, 0, 0)
    calendar = (value.year // 100 + 100, value.year % 100 + 100, value.month, value.day)
    return bytes([*calendar, *(unit + 1 for unit in clock)])


def _encode_timestamp(value: datetime) -> bytes:
    return _encode_date(value) + struct.pack(">I", value.microsecond * 1000)
