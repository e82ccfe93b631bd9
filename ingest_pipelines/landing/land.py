"""Copies an item's bytes to local disk, hashes them, and proves that they did not change meanwhile."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

import numpy as np

from ingest_pipelines.config.decryption import ENDINGS, Keys
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemChanged, ItemGone, ItemRefused, SourceUnavailable, Unavailable, printable
from ingest_pipelines.landing.openpgp import Decryption
from ingest_pipelines.landing.unpack import Gunzip, unzip
from ingest_pipelines.model import Item, Landing, SourceFile
from ingest_pipelines.owner_only import private_folder

RESUMES = 5
"""How often a broken read is resumed. It ends earlier after two attempts in a row without new bytes."""

PART = ".landing-"
"""Prefix of the names of incomplete spool files."""

AHEAD = 8
"""How many chunks may wait to be hashed and counted."""

FREE_EXPANSION = 1 << 20
"""Compressed data may always expand to this many bytes; above it, `max_expansion` applies."""


class Readable(Protocol):
    """The part of a file source that landing needs."""

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now, or as it was in `version` if the source still has it."""
        ...

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`."""
        ...


def land_file(
    item: Item, source: Readable, spool: Path, limits: Limits, member: str | None = None, keys: Keys | None = None
) -> Landing:
    """The item's bytes in `spool`, under the name of their hash.

    `content_sha256` is the hash of the bytes as delivered, so `sha256sum` of the vendor's file finds the load; the
    spool file holds them decrypted and decompressed. A byte order mark stays in the file; the reader skips it.

    Args:
        member: which file of a zip archive to read; by default its only one.
        keys: the file is an OpenPGP message, and must be one.

    Raises:
        ItemChanged (retryable): size, time or version differ after the read.
        ItemGone: the file is missing, or has been replaced since the item was listed.
        ItemRefused: above `max_bytes` or `max_expansion`, or data that is damaged, or encrypted otherwise.
        SourceUnavailable (retryable): the connection broke, and resuming did not help.
    """
    before = source.stat(item.path, item.version)
    _same_as_listed(item, before)
    if before.size > limits.max_bytes:
        raise _too_large(item, limits)
    private_folder(spool)
    temporary: list[Path] = []
    try:
        return _land(item, before, source, spool, limits, temporary, member, keys)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise Unavailable(f"{item.uri}: no space left in {spool}", hint="free disk space and run again") from None
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def _land(
    item: Item,
    before: SourceFile,
    source: Readable,
    spool: Path,
    limits: Limits,
    temporary: list[Path],
    member: str | None,
    keys: Keys | None,
) -> Landing:
    ending = _ending(item, encrypted=keys is not None)
    gunzip = Gunzip(item.uri) if ending == ".gz" else None
    zipped = ending == ".zip"
    received = 0
    with ExitStack() as stack:
        counted = stack.enter_context(_Aside())
        spooled = stack.enter_context(_Spooled(item, spool, limits, temporary))
        decryption = stack.enter_context(Decryption(item.uri, keys)) if keys else None
        digest = counted.digest

        def spool_pieces(delivered: Iterable[bytes]) -> None:
            for packed in delivered:
                for piece in gunzip.feed(packed) if gunzip else (packed,):
                    spooled.write(piece, received if gunzip or decryption else 0)
                    if not zipped:
                        counted.count(piece)

        for chunk in _resumed(item, before, source):
            counted.hash(chunk)
            received += len(chunk)
            spool_pieces(decryption.feed(chunk) if decryption else (chunk,))
        if decryption:
            spool_pieces(decryption.finish())
        if gunzip:
            gunzip.finish()
    if _state(source.stat(item.path, before.version)) != _state(before):
        raise _changed(item)
    if zipped:
        archive = spooled
        with _Aside() as counted, _Spooled(item, spool, limits, temporary) as spooled:
            for piece in unzip(archive.path, item.uri, member):
                spooled.write(piece, received)
                counted.count(piece)
    path = spool / f"{digest.hexdigest()}.csv"
    spooled.path.replace(path)
    return Landing(
        item=item,
        path=path,
        format="csv",
        content_sha256=digest.hexdigest(),
        bytes=spooled.bytes,
        newlines=counted.newlines,
        quotes=counted.quotes,
    )


def _ending(item: Item, *, encrypted: bool) -> str:
    """How the name of the decrypted file ends: `.gz`, `.zip` or another ending.

    Raises:
        ItemRefused: it is a name of an encrypted file, and there are no keys.
    """
    name = PurePosixPath(item.path.lower())
    if name.suffix.removeprefix(".") in ENDINGS and item.kind != "replay":
        if encrypted:
            return name.with_suffix("").suffix
        raise ItemRefused(
            f"{item.uri}: its name says that the file is encrypted, and the import has no key",
            hint="write in the import's source: decrypt: {private_key: {file: /path/key.asc}}",
        )
    return name.suffix


class _Aside:
    """Hashes and counts in a thread of its own, while the next bytes are read and written.

    Attributes:
        digest, newlines, quotes: of all bytes, complete when the block has ended.
    """

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.newlines = self.quotes = 0
        self._waiting: queue.Queue[tuple[Callable[[bytes], None], bytes] | None] = queue.Queue(AHEAD)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="landing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def hash(self, chunk: bytes) -> None:
        """Adds the chunk to the hash."""
        self._waiting.put((self.digest.update, chunk))

    def count(self, piece: bytes) -> None:
        """Counts the piece's line feeds and quotes."""
        self._waiting.put((self._count, piece))

    def _count(self, piece: bytes) -> None:
        data = np.frombuffer(piece, np.uint8)
        self.newlines += int(np.count_nonzero(data == ord("\n")))
        self.quotes += int(np.count_nonzero(data == ord('"')))

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            work, data = task
            try:
                work(data)
            except Exception as error:  # raised at the end: until then the queue must be emptied, or the reader blocks
                self._failure = error


class _Spooled:
    """A temporary file in the spool that enforces the size limits."""

    def __init__(self, item: Item, spool: Path, limits: Limits, temporary: list[Path]) -> None:
        handle, name = tempfile.mkstemp(prefix=PART, dir=spool)
        self.path = Path(name)
        temporary.append(self.path)
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._item = item
        self._limits = limits
        self.bytes = 0

    def __enter__(self) -> _Spooled:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, piece: bytes, compressed: int) -> None:
        """Appends the piece; `compressed`: bytes of compressed input so far, 0 for uncompressed files."""
        self.bytes += len(piece)
        if self.bytes > self._limits.max_bytes:
            raise _too_large(self._item, self._limits)
        if compressed and self.bytes > max(FREE_EXPANSION, compressed * self._limits.max_expansion):
            raise ItemRefused(
                f"{self._item.uri}: it expands to more than {self._limits.max_expansion} times its compressed size",
                hint="if the file is valid, raise source.limits.max_expansion",
            )
        view = memoryview(piece)
        while view:
            view = view[self._file.write(view) :]


def _resumed(item: Item, before: SourceFile, source: Readable) -> Iterator[bytes]:
    """The file's bytes, each once; resumes broken reads."""
    received, resumes, idle = 0, 0, 0
    while True:
        start = received
        try:
            for chunk in source.read(item.path, received, before.version):
                received += len(chunk)
                if received > before.size:
                    raise _changed(item)
                yield chunk
            if received == before.size:
                return
            raise SourceUnavailable(f"{item.uri}: the source sent {received} of {before.size} bytes")
        except SourceUnavailable:
            resumes += 1
            idle = idle + 1 if received == start else 0
            if idle > 1 or resumes > RESUMES:
                raise
        with contextlib.suppress(SourceUnavailable):
            if _state(source.stat(item.path, before.version)) != _state(before):
                raise _changed(item)


def _state(file: SourceFile) -> tuple[int, str | datetime, str]:
    """Size, version (preferred) or modified time, and identity: equal for the same content."""
    return file.size, file.version or file.modified_at, file.identity


def _same_as_listed(item: Item, now: SourceFile) -> None:
    size, state, _ = _state(now)
    listed_state = item.version or item.modified_at
    if item.size not in {None, size} or listed_state not in {None, state}:
        raise ItemGone(
            f"{item.uri}: the file was replaced since it was listed as {item.key}",
            hint=f"the new version is a separate item: ingest run {item.import_name}",
        )


def _changed(item: Item) -> ItemChanged:
    return ItemChanged(
        f"{item.uri}: the file changed while it was read; nothing was loaded",
        hint=f"when the upload is complete, run: ingest run {printable(item.import_name)}; or raise source.settle",
    )


def _too_large(item: Item, limits: Limits) -> ItemRefused:
    return ItemRefused(
        f"{item.uri}: the file is larger than {limits.max_bytes:,} bytes",
        hint="split the file, or raise source.limits.max_bytes",
    )
