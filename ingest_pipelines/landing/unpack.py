"""Compressed items: what `.gz` and `.zip` bytes hold, in bounded memory, or why they are refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ingest_pipelines.errors import ItemRefused

PIECE = 1 << 20
"""Most bytes that are decompressed at a time."""

_ENCRYPTED = 0x1


class Gunzip:
    """Gzip members, decompressed as they arrive."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk adds, in pieces of at most PIECE bytes.

        Raises:
            ItemRefused: the bytes are not gzip, or damaged.
        """
        while chunk:
            if self._member.eof:
                chunk = chunk.lstrip(b"\0")  # padding after the last member, as tape and block tools leave it
                if not chunk:
                    return
                self._member = zlib.decompressobj(wbits=31)
            try:
                piece = self._member.decompress(chunk, PIECE)
            except zlib.error:
                raise ItemRefused(
                    f"{self._uri}: the .gz data is damaged, or not gzip",
                    hint="compress the file again, or deliver it as plain .csv",
                ) from None
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        """Raises ItemRefused if the last member has not ended."""
        if not self._member.eof:
            raise ItemRefused(
                f"{self._uri}: the .gz data breaks off before its end", hint="upload the whole file again"
            )


def unzip(path: Path, uri: str) -> Iterator[bytes]:
    """The one file in a zip archive, in pieces; its checksum is verified at the end.

    Folders and the `__MACOSX` shadow files that macOS adds do not count.

    Raises:
        ItemRefused: not a zip archive, damaged, encrypted, or not exactly one file.
    """
    again = "compress one CSV file without a password, or deliver it as plain .csv"
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                raise ItemRefused(f"{uri}: the .zip holds {len(members)} files, and must hold exactly one", hint=again)
            if members[0].flag_bits & _ENCRYPTED:
                raise ItemRefused(f"{uri}: the .zip is encrypted", hint=again)
            if members[0].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise ItemRefused(f"{uri}: the .zip uses a compression other than deflate", hint=again)
            with archive.open(members[0]) as member:
                while piece := member.read(PIECE):
                    yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError):
        raise ItemRefused(f"{uri}: the .zip is damaged, or not a zip archive", hint=again) from None
