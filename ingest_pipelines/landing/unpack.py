"""Decompresses `.gz` and `.zip` items in bounded memory, or refuses them."""

from __future__ import annotations

import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from io import FileIO
from pathlib import Path

from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.file_content import content_of, is_litter, name_in_zip, office_file

PIECE = 1 << 20
"""At most this many bytes are decompressed at a time."""

FEED = 64 << 10
"""Bytes given to the decompressor at a time. It copies what it has not used: at most FEED bytes per member."""

MAX_DIRECTORY = PIECE
"""Longest list of files of a zip archive. Reading it takes twenty times its size."""

NAMED = 5
"""How many files of an archive a message names."""

_ENCRYPTED = 0x1


_AGAIN = "compress the CSV file with {}, or give it the file name ending of its real format"


def _no(packing: str, ending: str, head: bytes) -> str:
    """Says that a file is not what its ending says, and what it is."""
    content = content_of(head)
    return f"its name ends in {ending}, but it is {content.name if content else 'not ' + packing + ' data'}"


class Gunzip:
    """Gzip members, decompressed as they arrive."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decompressed bytes of the chunk, in pieces of at most PIECE bytes.

        Raises:
            ItemRefused: the bytes are not gzip, or damaged.
        """
        if not self._begun and chunk[:2] != b"\x1f\x8b"[: len(chunk)]:
            raise ItemRefused(f"{self._uri}: {_no('gzip', '.gz', chunk)}", hint=_AGAIN.format("gzip"))
        self._begun = self._begun or bool(chunk)
        for start in range(0, len(chunk), FEED):
            yield from self._decompressed(chunk[start : start + FEED])

    def _decompressed(self, left: bytes) -> Iterator[bytes]:
        while left:
            if self._member.eof:
                left = left.lstrip(b"\0")  # padding after the last member, as tape and block tools leave it
                if not left:
                    return
                self._member = zlib.decompressobj(wbits=31)
            try:
                piece = self._member.decompress(left, PIECE)
            except zlib.error:
                raise ItemRefused(
                    f"{self._uri}: the .gz data is damaged, or not gzip",
                    hint="compress the file again, or deliver it as plain .csv",
                ) from None
            left = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        """Raises ItemRefused if the last member has not ended."""
        if not self._member.eof:
            raise ItemRefused(f"{self._uri}: the .gz data is incomplete", hint="upload the whole file again")


def _members(members: Sequence[zipfile.ZipInfo], wanted: Sequence[zipfile.ZipInfo], member: str | None) -> str:
    """Says that the archive does not hold one file of that name: how many it has, and some names."""
    if not members:
        return "the .zip holds no file"
    if member is not None and wanted:
        return f"source.member fits {len(wanted)} files of the .zip; it must fit exactly one: {_named(wanted)}"
    if member is not None:
        files = "the .zip's only file" if len(members) == 1 else f"none of the .zip's {len(members)} files"
        return f"source.member {'does not fit' if len(members) == 1 else 'fits'} {files}: {_named(members)}"
    return f"the .zip holds {len(members)} files; it must hold exactly one: {_named(members)}"


def _named(members: Sequence[zipfile.ZipInfo]) -> str:
    named = ", ".join(printable(name_in_zip(member)) for member in members[:NAMED])
    more = f" and {len(members) - NAMED} more" if len(members) > NAMED else ""
    return f"{named}{more}"


def fits_member(name: str, member: str) -> bool:
    """Whether a file of an archive is meant. A pattern without folders is for the name in any folder."""
    path = name if "/" in member else name.rpartition("/")[2]
    return fnmatchcase(path.casefold(), unicodedata.normalize("NFC", member).casefold())


class _Archive(FileIO):
    """A zip archive's file. Its list of files is read whole, so a longer one than MAX_DIRECTORY is no archive."""

    def read(self, size: int | None = -1) -> bytes:
        """At most so many bytes."""
        if size is not None and size > MAX_DIRECTORY:
            raise _TooManyMembers
        return super().read(-1 if size is None else size) or b""


class _TooManyMembers(Exception):
    """The archive's list of files is longer than MAX_DIRECTORY."""


def unzip(path: Path, uri: str, member: str | None = None) -> Iterator[bytes]:
    """The one file that is meant in a zip archive, in pieces; its checksum is verified at the end.

    Folders and files that operating systems add are ignored.

    Args:
        member: its name, or a pattern for it; by default the archive holds one file only.

    Raises:
        ItemRefused: not a zip archive, damaged, encrypted, or not exactly one such file.
    """
    again = "compress one CSV file without a password, or deliver it as plain .csv"
    try:
        with _Archive(path) as opened, zipfile.ZipFile(opened) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and not is_litter(info.filename)]
            office = office_file([info.filename for info in members])
            if office and member is None:
                raise ItemRefused(f"{uri}: the .zip is {office}", hint="export it as CSV (UTF-8)")
            wanted = members if member is None else [info for info in members if fits_member(name_in_zip(info), member)]
            if len(wanted) != 1:
                name_it = "say which file is meant, by name or pattern: source: {member: NAME.csv}"
                raise ItemRefused(f"{uri}: {_members(members, wanted, member)}", hint=name_it if members else again)
            if wanted[0].flag_bits & _ENCRYPTED:
                raise ItemRefused(f"{uri}: the .zip is encrypted", hint=again)
            if wanted[0].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise ItemRefused(f"{uri}: the .zip uses a compression other than deflate", hint=again)
            with archive.open(wanted[0]) as opened_member:
                while piece := opened_member.read(PIECE):
                    yield piece
    except _TooManyMembers:
        raise ItemRefused(f"{uri}: the .zip holds many files; it must hold exactly one", hint=again) from None
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            head = file.read(PIECE)
        if head[:2] != b"PK":
            raise ItemRefused(f"{uri}: {_no('zip', '.zip', head)}", hint=_AGAIN.format("zip")) from None
        raise ItemRefused(f"{uri}: the .zip is damaged, or not a zip archive", hint=again) from None
    except (zlib.error, EOFError, NotImplementedError, ValueError, OverflowError):
        raise ItemRefused(f"{uri}: the .zip is damaged, or not a zip archive", hint=again) from None
