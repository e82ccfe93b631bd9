"""Several files that are one item: which files of a listing belong together, and whether all of them are there. Pure.

A delivery is known by a digest of the state of all its parts. Between the listing and the load nothing of it may
change: the load lists the folder again, and takes the delivery only if the digest is the same.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.config.file_pattern import CLOCK, DAY, OF, PART, SERIAL
from ingest_pipelines.errors import ItemGone, ItemRefused, SourceUnavailable, UsageError, printable
from ingest_pipelines.model import Item, ItemKind, SourceFile
from ingest_pipelines.sources.base import FileSource, Listing
from ingest_pipelines.sources.files import (
    Picked,
    Serial,
    fingerprint_of,
    grouped_serial,
    is_settled,
    matched_groups,
    new_item,
)

MAX_MANIFEST = 1 << 20
"""A longer file is no manifest."""


@dataclass(frozen=True)
class Promise:
    """What a manifest says of a part: its rows, its SHA-256, or both."""

    rows: int | None = None
    sha256: str | None = None


Manifest = Mapping[str, Promise]
"""Name of a part -> what is promised of it, in the manifest's order."""


class NoManifest(ValueError):
    """The text is no manifest: the message says why."""


@dataclass(frozen=True)
class FileSet:
    """Files that are one item, as far as they are there.

    Attributes:
        parts: in order.
        numbers: of the parts, in messages and lines of rejects.
        done, manifest: the marker and the manifest, where they are there.
        waits: why the listing alone shows that it is not complete; "": it may be.
        manifest_name: how its manifest is called; None: it needs none.
    """

    parts: tuple[SourceFile, ...]
    numbers: tuple[int, ...]
    serial: int | None
    done: SourceFile | None
    manifest: SourceFile | None
    waits: str
    manifest_name: str | None = None

    @property
    def beside(self) -> tuple[SourceFile, ...]:
        """Its files that hold no rows."""
        return tuple(file for file in (self.done, self.manifest) if file is not None)

    @cached_property
    def as_file(self) -> SourceFile:
        """The delivery as if it were one file, at the path of its first part; its version is the digest."""
        files = (*self.parts, *((self.manifest,) if self.manifest is not None else ()))  # a marker says nothing more
        digest = hashlib.sha256("".join(map(fingerprint_of, files)).encode())
        return SourceFile(
            self.parts[0].path,
            sum(part.size for part in self.parts),
            max(file.modified_at for file in files),
            digest.hexdigest(),
        )

    def unproven(self, manifest: Manifest) -> str:
        """Why the delivery is not what its manifest says; "": it is."""
        there = {_name(part.path) for part in self.parts}
        missing = [name for name in manifest if name not in there]
        if missing:
            have = len(manifest) - len(missing)
            return (
                f"waits for {printable(missing[0])}: {have} of {len(manifest)} files of {self.manifest_name} are there"
            )
        extra = next((name for name in sorted(there) if name not in manifest), None)
        return f"{self.manifest_name} does not list {printable(extra)}" if extra is not None else ""

    def item(self, import_name: str, uri: str, kind: ItemKind = "file") -> Item:
        """The delivery as an item.

        Args:
            uri: of its first part.
        """
        file = self.as_file
        name = PurePosixPath(file.path).name + (f"_and_{len(self.parts) - 1}_more" if len(self.parts) > 1 else "")
        return new_item(import_name, file, uri, name=name, serial=self.serial, kind=kind)


def file_sets(listing: Listing, folder: str, parts: Parts) -> list[FileSet]:
    """The deliveries in a folder, the oldest first."""
    folder = unicodedata.normalize("NFC", folder.strip("/"))
    there = {_name(file.path): file for file in listing.files if _folder(file.path) == folder}
    groups: dict[tuple[str | None, ...], list[tuple[SourceFile, Mapping[str, str | None], Serial]]] = {}
    for name, matched in matched_groups(list(there), parts.pattern).items():
        serial = grouped_serial(matched)
        if serial is not False:
            key = tuple(matched.get(group) for group in (SERIAL, *DAY, *CLOCK))
            groups.setdefault(key, []).append((there[name], matched, serial))
    made = [_delivery(members, there, parts) for members in groups.values()]
    return sorted(made, key=lambda each: (each.as_file.modified_at, each.serial or -1, each.parts[0].path))


def _delivery(
    members: Sequence[tuple[SourceFile, Mapping[str, str | None], Serial]],
    there: Mapping[str, SourceFile],
    parts: Parts,
) -> FileSet:
    ordered = sorted(members, key=lambda member: (_order(member[1][PART]), member[0].path))
    files = tuple(file for file, _, _ in ordered)
    texts = [matched[PART] or "" for _, matched, _ in ordered]
    groups, serial = ordered[0][1], ordered[0][2]
    numbers = [int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0 for text in texts]
    own_numbers = min(numbers) >= 1 and len(set(numbers)) == len(numbers)
    done_name, manifest_name = parts.done_name(groups), parts.manifest_name(groups)
    done, manifest = there.get(_nfc(done_name or "")), there.get(_nfc(manifest_name or ""))
    waits = _repeated(texts, files) or _counted(texts, {matched.get(OF) for _, matched, _ in ordered}, parts)
    if not waits:
        for name, file in ((done_name, done), (manifest_name, manifest)):
            if name is not None and file is None:
                waits = f"waits for {printable(name)}; {_parts(len(files))} there"
    return FileSet(
        files,
        tuple(numbers) if own_numbers else tuple(range(1, len(files) + 1)),
        serial or None,
        done,
        manifest,
        waits,
        manifest_name,
    )


def _parts(count: int) -> str:
    return "1 part is" if count == 1 else f"{count} parts are"


def _order(text: str | None) -> tuple[int, str]:
    text = text or ""
    return (int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 10**18, text)


def _repeated(texts: Sequence[str], files: Sequence[SourceFile]) -> str:
    first: dict[tuple[int, str], SourceFile] = {}
    for text, file in zip(texts, files, strict=True):
        order = _order(text)
        key = order if order[0] == 10**18 else (order[0], "")
        if key in first:
            return f"part {printable(text)} is there twice: {_shown(first[key])} and {_shown(file)}"
        first[key] = file
    return ""


def _counted(texts: Sequence[str], of: set[str | None], parts: Parts) -> str:
    """What is missing of the number of parts that is declared, or that the names say."""
    said = {text or "" for text in of} if of != {None} else set()
    if said and (len(said) > 1 or not re.fullmatch(r"[0-9]{1,6}", min(said))):
        return "its files do not agree on how many parts there are"
    wanted = int(min(said)) if said else parts.count
    if wanted is None:
        return ""
    numbers = {int(text) for text in texts if re.fullmatch(r"[0-9]{1,6}", text)}
    if len(numbers) == len(texts):
        first = 0 if 0 in numbers else 1
        missing = next((number for number in range(first, first + wanted) if number not in numbers), None)
        if missing is not None:
            return f"waits for part {missing} of {wanted}"
        if (beyond := max(numbers)) >= first + wanted:
            return f"has part {beyond}, and there are {wanted} parts"
    elif len(texts) < wanted:
        return f"waits for more parts: {len(texts)} of {wanted} are there"
    return f"has {len(texts)} parts, and {wanted} are declared" if len(texts) > wanted else ""


def pick_file_sets(
    found: Sequence[FileSet],
    texts: Mapping[str, str],
    known: Collection[str],
    pick: Literal["last", "all"],
    now: datetime,
    settle: timedelta,
    still_since: Mapping[str, datetime] | None = None,
) -> tuple[list[FileSet], Picked]:
    """The import's deliveries that are whole, and all of them as if they were files; the others say what they wait for.

    Under `last` no older delivery is taken while a newer one waits.

    Args:
        texts: per path the text of a manifest.
        known: digests of deliveries that were whole before.
        still_since: see `pick_files`.
    """
    whole: list[FileSet] = []
    unsettled: list[SourceFile] = []
    waits: dict[str, str] = {}
    for delivery in found[-1:] if pick == "last" else found:
        file, why = delivery.as_file, delivery.waits
        if not why and file.version not in known:
            why = _unproven(delivery, texts)
        parts = (*delivery.parts, *delivery.beside)
        if why:
            waits[file.path] = why
        if why or not all(is_settled(part, now, settle, still_since or {}, file) for part in parts):
            unsettled.append(file)
        else:
            whole.append(delivery)
    picked = Picked(tuple(each.as_file for each in whole), tuple(unsettled), len(found), waits)
    return whole, picked


def _unproven(delivery: FileSet, texts: Mapping[str, str]) -> str:
    if delivery.manifest is None:
        return ""
    text = texts.get(delivery.manifest.path)
    if text is None:
        return f"{delivery.manifest_name} was not read yet"
    try:
        return delivery.unproven(parse_manifest(text))
    except NoManifest as mistake:
        return f"{delivery.manifest_name} is no manifest: {mistake}"


def read_manifest(source: FileSource, file: SourceFile) -> str:
    """The manifest's text; "" if it is too large or not UTF-8."""
    content = b""
    for chunk in source.read(file.path, 0, file.version):
        content += chunk
        if len(content) > MAX_MANIFEST:
            return ""
    if len(content) != file.size:
        raise SourceUnavailable(f"{source.uri(file.path)}: the source sent {len(content)} of {file.size} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""


_HASH = re.compile(r"[0-9A-Fa-f]{64}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{16,}")
_OTHER_DIGESTS = frozenset({32, 40})
"""Digits of MD5 and SHA-1, which are not checked."""
_SUM = re.compile(r"\\?(?P<hash>[0-9A-Fa-f]{64})[ \t][ *]?(?P<name>.+)")


def parse_manifest(text: str) -> Manifest:
    """What the manifest promises of each part.

    A line is what `sha256sum` prints; or a name with a number of rows, a SHA-256 or both, separated by commas,
    semicolons, tabs or blanks. A first line with neither is a header; empty lines and those with # are left out.

    Raises:
        NoManifest: a line is neither, has a SHA-256 that is not whole, or repeats a name.
    """
    manifest: dict[str, Promise] = {}
    begun = False
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, promise = _promise(line)
        if any(_is_broken(cell) for cell in _cells(line)[1:]) and not _SUM.fullmatch(line):
            raise NoManifest(f"line {number} has a SHA-256 that does not have 64 hexadecimal digits")
        if promise is None:
            if begun:
                raise NoManifest(f"line {number} has neither a number of rows nor a SHA-256")
            begun = True
            continue
        begun = True
        if name in manifest:
            raise NoManifest(f"line {number} names a file again")
        manifest[name] = promise
    if not manifest:
        raise NoManifest("it names no file, or is not UTF-8, or is too large")
    return manifest


def _promise(line: str) -> tuple[str, Promise | None]:
    if summed := _SUM.fullmatch(line):
        return _nfc(summed["name"].removeprefix("./")), Promise(sha256=summed["hash"].lower())
    cells = _cells(line)
    rows = next((int(cell) for cell in cells[1:] if re.fullmatch(r"[0-9]{1,15}", cell)), None)
    sha256 = next((cell.lower() for cell in cells[1:] if _HASH.fullmatch(cell)), None)
    promised = rows is not None or sha256 is not None
    return _nfc(cells[0].removeprefix("./")), Promise(rows, sha256) if promised else None


def _cells(line: str) -> list[str]:
    delimiter = next((sign for sign in "\t;," if sign in line), None)
    return [cell.strip().strip('"') for cell in (line.split(delimiter) if delimiter else line.split())]


def _is_broken(cell: str) -> bool:
    """Whether the cell can only be a SHA-256 that was cut off or is too long."""
    return bool(_DIGEST.fullmatch(cell)) and not _HASH.fullmatch(cell) and len(cell) not in _OTHER_DIGESTS


def file_set_of(item: Item, source: FileSource, folder: str, parts: Parts) -> tuple[FileSet, Manifest]:
    """The item's delivery as it is at its source now, with its manifest; it is whole and the one that was listed.

    Raises:
        ItemGone: parts are missing by now, or have been replaced.
        ItemRefused: its manifest is none.
    """
    found = [each for each in file_sets(source.listing(folder, nested=False), folder, parts) if _has(each, item.path)]
    if not found:
        raise ItemGone(f"{item.uri}: the first part of {item.key} is no longer there")
    (delivery,) = found
    if delivery.waits or delivery.as_file.version != item.version:
        why = delivery.waits or "parts were replaced, added or removed"
        raise ItemGone(
            f"{item.uri}: the parts are no longer those that were listed as {item.key}: {why}",
            hint=f"once all parts are there they are a separate item: ingest run {item.import_name}",
        )
    if delivery.manifest is None:
        return delivery, {}
    try:
        manifest = parse_manifest(read_manifest(source, delivery.manifest))
    except NoManifest as mistake:
        raise ItemRefused(
            f"{source.uri(delivery.manifest.path)}: {mistake}",
            hint="a line is a file's name and its number of rows or its SHA-256: Customers_1_part1.csv,1000",
        ) from None
    if why := delivery.unproven(manifest):
        raise ItemRefused(f"{item.uri}: {why}", hint="upload all parts and their manifest again")
    return delivery, manifest


def require_whole(delivery: FileSet, source: FileSource, import_name: str) -> None:
    """The delivery is complete.

    Raises:
        UsageError: it is not; the message says what it waits for.
    """
    texts = {file.path: read_manifest(source, file) for file in [delivery.manifest] if file is not None}
    if why := delivery.waits or _unproven(delivery, texts):
        raise UsageError(
            f"import {import_name}: {source.uri(delivery.parts[0].path)} {why}",
            hint="nothing was loaded; a delivery is loaded once all its parts are there",
        )


def file_set_with(path: str, found: Sequence[FileSet]) -> FileSet | None:
    """The delivery that the file belongs to: a part, the marker or the manifest."""
    return next((each for each in found if _has(each, path)), None)


def _has(delivery: FileSet, path: str) -> bool:
    return any(file.path == path for file in (*delivery.parts, *delivery.beside))


def _name(path: str) -> str:
    return _nfc(path).rpartition("/")[2]


def _folder(path: str) -> str:
    return _nfc(path).rpartition("/")[0].strip("/")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _shown(file: SourceFile) -> str:
    return printable(_name(file.path))
