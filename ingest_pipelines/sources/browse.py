"""A look into a file or table before an import is written: its first bytes, or its first rows."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

from ingest_pipelines.cursor.values import CursorValue
from ingest_pipelines.errors import UsageError, printable
from ingest_pipelines.file_content import content_of, is_litter, name_in_zip, office_file
from ingest_pipelines.sources.base import FileSource, QuerySource
from ingest_pipelines.sources.files import MAX_FOLDERS, visible
from ingest_pipelines.sources.request import first_window, window_bounds

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest_pipelines.config.imports import SourceOfImport

HEAD = 64 << 10
"""Most bytes that are read of a file, and most that are unpacked of a compressed one."""

WHOLE = 32 << 20
"""Most bytes that are read of a file that can be read from its end only."""

ROWS = 100
"""Rows of a table that are looked at."""

_READ_FROM_THE_END = (b"PK\x03\x04", b"PAR1")
"""How files begin whose list of contents is at their end."""


@dataclass(frozen=True)
class FileHead:
    """The beginning of what a file holds.

    Attributes:
        name: its path.
        content: decompressed.
        is_whole: whether that is all of it.
    """

    name: str
    content: bytes
    is_whole: bool


def zip_members(source: FileSource, path: str) -> list[str]:
    """The files in a `.zip` that is small enough to be read whole; empty: it is none, or larger."""
    if not path.lower().endswith(".zip"):
        return []
    content, is_whole = _head(source, path, WHOLE)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [info for info in archive.infolist() if not info.is_dir() and not is_litter(info.filename)]
            names = list(map(name_in_zip, files))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        return []
    return [] if not is_whole or office_file(names) else names


def sample_file(source: FileSource, path: str, member: str = "") -> FileHead:
    """The beginning of a file, also of what a `.gz` or `.zip` holds.

    Args:
        member: the file in a `.zip`, one of `zip_members`; by default its first.

    Raises:
        UsageError: no import can read a file there; it is empty, or not what its name says.
        SourceUnavailable, SourceDenied, ItemGone.
    """
    folders = path.strip("/").split("/")
    if len(folders) - 1 > MAX_FOLDERS:
        raise UsageError(
            f"{printable(path)} lies more than two folders deep: no import can read it",
            hint="move it up, then browse it there",
        )
    if not all(map(visible, folders)):
        raise UsageError(f"{printable(path)} is hidden, or not whole yet: no import can read it")
    if member:
        return _member(source, path, member)
    packed = path.lower().endswith((".gz", ".zip"))
    head, is_whole = _head(source, path, HEAD)
    if not packed and head.startswith(_READ_FROM_THE_END) and not is_whole:
        head, is_whole = _head(source, path, WHOLE)
    content = _unpacked(path, head)
    if packed:
        is_whole = is_whole and len(content) < HEAD
    if not content:
        raise UsageError(f"{printable(path)} is empty")
    return FileHead(path, content, is_whole)


def encrypted_file(source: FileSource, path: str) -> bytes:
    """The whole of a file that can be decrypted only as a whole.

    Raises:
        UsageError: it is too large to look into.
    """
    content, is_whole = _head(source, path, WHOLE)
    if not is_whole:
        raise UsageError(
            f"{printable(path)} is encrypted, and too large to look into",
            hint="write the import by hand, with decrypt in its source",
        )
    return content


def head_of(name: str, content: bytes) -> FileHead:
    """The beginning of a file of which all bytes are there.

    Raises:
        UsageError: it is empty, or not what its name says.
    """
    packed = name.lower().endswith((".gz", ".zip"))
    unpacked = _unpacked(name, content) if packed else content
    if not unpacked:
        raise UsageError(f"{printable(name)} is empty")
    if unpacked.startswith(_READ_FROM_THE_END):
        return FileHead(name, unpacked, is_whole=not packed)
    return FileHead(name, unpacked[:HEAD], len(unpacked) < HEAD)


def sample_table(source: QuerySource, table: str) -> pa.RecordBatch:
    """The first rows of a table or view."""
    with contextlib.closing(source.batches(source.select(table, [], limit=ROWS), {}, limit=ROWS)) as batches:
        return next(batches)


def sample_query(source: QuerySource, spec: SourceOfImport, now: datetime) -> pa.RecordBatch:
    """The first rows of an own SELECT that `query_mistakes` accepts: from its cursor's start, or its windows' first."""
    assert spec.query is not None
    values: dict[str, CursorValue] = {}
    if spec.cursor is not None:
        values = {"lastItem": spec.cursor.initial}
    elif spec.window is not None:
        start, until = first_window(spec.window), now.astimezone(ZoneInfo(spec.window.timezone))
        values = window_bounds(spec.window, start, max(start, until))
    with contextlib.closing(source.batches(spec.query, values, limit=ROWS)) as batches:
        return next(batches)


def _head(source: FileSource, path: str, most: int) -> tuple[bytes, bool]:
    """At most so many first bytes, and whether they are all."""
    head = b""
    # every source reads with a generator; closing it ends the transfer now, not at garbage collection
    with contextlib.closing(cast(Generator[bytes, None, None], source.read(path))) as chunks:
        for chunk in chunks:
            head += chunk
            if len(head) > most:
                break
    return head[:most], len(head) <= most


def _member(source: FileSource, path: str, member: str) -> FileHead:
    """The beginning of one file in an archive."""
    content, _ = _head(source, path, WHOLE)
    try:
        with (
            zipfile.ZipFile(io.BytesIO(content)) as archive,
            archive.open({name_in_zip(info): info for info in archive.infolist()}[member]) as file,
        ):
            head = file.read(HEAD + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, NotImplementedError, EOFError, KeyError):
        raise UsageError(
            f"{printable(path)}: its file {printable(member)} cannot be read", hint="is it encrypted, or damaged?"
        ) from None
    return FileHead(path, head[:HEAD], len(head) <= HEAD)


def _unpacked(path: str, head: bytes) -> bytes:
    """The beginning of what a .gz or .zip file holds."""
    try:
        if path.lower().endswith(".gz"):
            return zlib.decompressobj(31).decompress(head, HEAD)
        if path.lower().endswith(".zip"):
            return _unzipped(head)
    except (zlib.error, ValueError):
        content = content_of(head)
        instead = f": it is {content.name}" if content and not head.startswith(b"PK") else ": it cannot be decompressed"
        raise UsageError(f"{printable(path)} is not what its name says{instead}") from None
    return head


def _unzipped(head: bytes) -> bytes:
    """The beginning of the first file in a zip archive, by the header before each file: the directory is at the end."""
    while head[:4] == b"PK\x03\x04":
        flags, method = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
        size = int.from_bytes(head[18:22], "little")
        name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        body = head[30 + name + extra :]
        member = head[30 : 30 + name].decode("utf-8", "replace")
        if member.endswith("/") or is_litter(member):
            # A size of 0 stands behind the data: then the next file is where its own header is.
            head = body[size:] if size or not flags & 8 else body[max(0, body.find(b"PK\x03\x04")) :]
            continue
        if flags & 1 or method not in {0, 8}:
            break
        if method == 0:
            return body[:size] if size else body
        return zlib.decompressobj(-15).decompress(body, HEAD)
    raise ValueError("no file that can be read")
