"""DuckDB's types and values as SQL Server sends them, and a client's parameters as Python values."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from ingest_pipelines_tests.servers.tds.tokens import COLLATION, short_text

BINARY, VARBINARY, CHAR, VARCHAR, NCHAR, NVARCHAR = 0xAD, 0xA5, 0xAF, 0xA7, 0xEF, 0xE7
INTEGER, BIT, FLOAT, DECIMAL, NUMERIC, GUID = 0x26, 0x68, 0x6D, 0x6A, 0x6C, 0x24
DATE, TIME, DATETIME2, DATETIMEOFFSET = 0x28, 0x29, 0x2A, 0x2B
FIXED_INTEGERS = {0x30: 1, 0x34: 2, 0x38: 4, 0x7F: 8}
UNKNOWN_LENGTH = 0xFFFF
LONGEST = 8000


class Unsupported(Exception):
    """A type that the stand-in does not speak."""


@dataclass(frozen=True)
class Column:
    """How one column travels: its type, its NULL, and its values."""

    name: str
    type_info: bytes
    null: bytes
    encode: Callable[[Any], bytes]

    def metadata(self) -> bytes:
        """The column's part of COLMETADATA: nullable, updatability unknown."""
        return struct.pack("<IH", 0, 0x09) + self.type_info + short_text(self.name)


def column(name: str, duckdb_type: str) -> Column:
    """How a column of DuckDB travels."""
    if duckdb_type in {"BIGINT", "UBIGINT", "HUGEINT"}:
        return Column(name, bytes([INTEGER, 8]), b"\0", lambda value: struct.pack("<Bq", 8, value))
    if duckdb_type == "SMALLINT":
        return Column(name, bytes([INTEGER, 2]), b"\0", lambda value: struct.pack("<Bh", 2, value))
    if duckdb_type == "UTINYINT":
        return Column(name, bytes([INTEGER, 1]), b"\0", lambda value: bytes([1, value]))
    if duckdb_type in {"INTEGER", "TINYINT", "UINTEGER", "USMALLINT"}:
        return Column(name, bytes([INTEGER, 4]), b"\0", lambda value: struct.pack("<Bi", 4, value))
    if duckdb_type == "BOOLEAN":
        return Column(name, bytes([BIT, 1]), b"\0", lambda value: bytes([1, value]))
    if duckdb_type == "FLOAT":
        return Column(name, bytes([FLOAT, 4]), b"\0", lambda value: struct.pack("<Bf", 4, value))
    if duckdb_type == "DOUBLE":
        return Column(name, bytes([FLOAT, 8]), b"\0", lambda value: struct.pack("<Bd", 8, value))
    if duckdb_type.startswith("DECIMAL"):
        precision, scale = map(int, re.findall(r"\d+", duckdb_type))
        size = next(size for limit, size in ((9, 5), (19, 9), (28, 13), (38, 17)) if precision <= limit)
        return Column(
            name, bytes([DECIMAL, size, precision, scale]), b"\0",
            lambda value: bytes([size, value >= 0]) + int(abs(value).scaleb(scale)).to_bytes(size - 1, "little"),
        )  # fmt: skip
    if duckdb_type == "DATE":
        return Column(name, bytes([DATE]), b"\0", lambda value: b"\x03" + _days(value))
    if duckdb_type == "TIME":
        return Column(name, bytes([TIME, 7]), b"\0", lambda value: b"\x05" + _ticks(value))
    if duckdb_type == "TIMESTAMP WITH TIME ZONE":
        return Column(name, bytes([DATETIMEOFFSET, 7]), b"\0", lambda value: b"\x0a" + _moment(value) + b"\0\0")
    if duckdb_type.startswith("TIMESTAMP"):
        return Column(name, bytes([DATETIME2, 7]), b"\0", lambda value: b"\x08" + _moment(value))
    if duckdb_type == "UUID":
        return Column(name, bytes([GUID, 16]), b"\0", lambda value: b"\x10" + value.bytes_le)
    if duckdb_type == "BLOB":
        return Column(name, bytes([VARBINARY]) + struct.pack("<H", LONGEST), b"\xff\xff", _sized)
    return Column(
        name, bytes([NVARCHAR]) + struct.pack("<H", LONGEST) + COLLATION, b"\xff\xff",
        lambda value: _sized(str(value).encode("utf-16-le")),
    )  # fmt: skip


class Parameters:
    """Reads the parameters of a remote procedure call."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self._position = position

    def read(self) -> list[tuple[str, Any]]:
        """Names, without the `@`, and values.

        Raises:
            Unsupported: a type that the stand-in does not speak.
        """
        found = []
        while self._position < len(self._content):
            name = self._take(2 * self._number(1)).decode("utf-16-le").lstrip("@").lower()
            self._take(1)  # by reference, default
            found.append((name, self._value(self._number(1))))
        return found

    def _value(self, kind: int) -> Any:
        if kind in FIXED_INTEGERS:
            size = FIXED_INTEGERS[kind]
            return int.from_bytes(self._take(size), "little", signed=size > 1)
        if kind in {BINARY, VARBINARY, CHAR, VARCHAR, NCHAR, NVARCHAR}:
            return self._sized_value(kind)
        if kind in {INTEGER, BIT, FLOAT, GUID}:
            self._take(1)
            value = self._take(self._number(1))
            return _plain(kind, value) if value else None
        if kind in {DECIMAL, NUMERIC}:
            self._take(2)
            scale = self._number(1)
            value = self._take(self._number(1))
            digits = Decimal(int.from_bytes(value[1:], "little")).scaleb(-scale)
            return None if not value else digits if value[0] else -digits
        if kind == DATE:
            value = self._take(self._number(1))
            return _date(value) if value else None
        if kind in {TIME, DATETIME2, DATETIMEOFFSET}:
            scale = self._number(1)
            value = self._take(self._number(1))
            return _time(kind, scale, value) if value else None
        raise Unsupported(f"type {kind:#x}")

    def _sized_value(self, kind: int) -> Any:
        longest = self._number(2)
        if kind not in {BINARY, VARBINARY}:
            self._take(len(COLLATION))
        value = self._parts() if longest == UNKNOWN_LENGTH else self._sized()
        if value is None or kind in {BINARY, VARBINARY}:
            return value
        return value.decode("utf-16-le" if kind in {NCHAR, NVARCHAR} else "cp1252")

    def _sized(self) -> bytes | None:
        size = self._number(2)
        return None if size == UNKNOWN_LENGTH else self._take(size)

    def _parts(self) -> bytes | None:
        """A value of unknown length: its total (all ones: NULL), then parts until an empty one."""
        if self._number(8) == 2**64 - 1:
            return None
        parts = []
        while size := self._number(4):
            parts.append(self._take(size))
        return b"".join(parts)

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        return self._content[start : self._position]


def _sized(value: bytes) -> bytes:
    if len(value) > LONGEST:
        raise Unsupported("a value of more than 8000 bytes")
    return struct.pack("<H", len(value)) + value


def _days(value: date) -> bytes:
    return (value.toordinal() - 1).to_bytes(3, "little")


def _ticks(value: time | datetime) -> bytes:
    """Since midnight, in units of 100 nanoseconds."""
    seconds = value.hour * 3600 + value.minute * 60 + value.second
    return ((seconds * 1_000_000 + value.microsecond) * 10).to_bytes(5, "little")


def _moment(value: datetime) -> bytes:
    if value.tzinfo is not None:
        value = value.astimezone(UTC)
    return _ticks(value) + _days(value)


def _plain(kind: int, value: bytes) -> Any:
    if kind == FLOAT:
        return struct.unpack("<f" if len(value) == 4 else "<d", value)[0]
    if kind == GUID:
        return str(UUID(bytes_le=value))
    if kind == BIT:
        return bool(value[0])
    return int.from_bytes(value, "little", signed=len(value) > 1)


def _date(value: bytes) -> date:
    return date.fromordinal(int.from_bytes(value, "little") + 1)


def _time(kind: int, scale: int, value: bytes) -> Any:
    behind = {TIME: 0, DATETIME2: 3, DATETIMEOFFSET: 5}[kind]
    ticks = int.from_bytes(value[: len(value) - behind], "little") * 10 ** (7 - scale)
    since_midnight = timedelta(microseconds=ticks // 10)
    if kind == TIME:
        return (datetime.min + since_midnight).time()
    days = value[len(value) - behind :][:3]
    moment = datetime.combine(_date(days), time()) + since_midnight
    return moment if kind == DATETIME2 else moment.replace(tzinfo=UTC)
