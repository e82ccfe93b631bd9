"""Which of the files that a source lists an import takes, in which order, and under which key. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import quote

from ingest_pipelines.errors import ItemGone, shown
from ingest_pipelines.model import Item, ItemKey, ItemKind, SourceFile
from ingest_pipelines.sources.base import Listing

MAX_FOLDERS = 2
"""How deep files are seen: `Folder/Subfolder/file`."""

SETTLE: Mapping[str, timedelta] = {"csv": timedelta(seconds=30), "sftp": timedelta(seconds=30)}
"""How long a file must hold still, by connection type. Object stores show an object only when it is whole: none."""

_PARTIAL = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".incomplete", "~")
_ENDING = re.compile(r"(?P<stem>.+?)\.csv(?:\.gz|\.zip)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Picked:
    """Which files of a listing are an import's items now, and why others are not.

    Attributes:
        files: in the order of their loads: modified time, then serial, then name.
        unsettled: files of the import that still may be growing.
        matching: how many files have the import's name, picked or not.
    """

    files: tuple[SourceFile, ...]
    unsettled: tuple[SourceFile, ...] = ()
    matching: int = 0


def visible(name: str) -> bool:
    """Whether a name may be picked: not hidden, not a partial upload, a single path segment of valid Unicode."""
    if not name or name.startswith(".") or "/" in name or "\0" in name or name.casefold().endswith(_PARTIAL):
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def listing_of(files: Iterable[SourceFile]) -> Listing:
    """The listing of a flat store: visible files sorted by path, deeper ones counted, other keys left out.

    Keys with empty, `.` or `..` segments are no paths of files.
    """
    kept: list[SourceFile] = []
    too_deep = 0
    for file in files:
        parts = file.path.split("/")
        if not all(visible(part) for part in parts):
            continue
        if len(parts) - 1 > MAX_FOLDERS:
            too_deep += 1
        else:
            kept.append(file)
    return Listing(tuple(sorted(kept, key=lambda file: file.path)), too_deep)


def segments(path: str) -> tuple[str, ...]:
    """The path's folders and name, proven to stay below the connection's root.

    Raises:
        ItemGone: it is absolute, empty or climbs with `..`: no listing shows such a file.
    """
    parts = tuple(path.split("/"))
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ItemGone(f"there is no file '{shown(path)}'", hint="paths are relative to the connection, without '..'")
    return parts


def object_key(prefix: str, path: str) -> str:
    """The key of an object in a flat store: the connection's prefix, then the file's path."""
    return "/".join(part for part in (prefix.strip("/"), *segments(path)) if part)


def folder_prefix(prefix: str, folder: str) -> str:
    """How the keys of all objects in a folder of a flat store begin."""
    below = segments(folder.strip("/")) if folder.strip("/") else ()
    return "".join(f"{part}/" for part in (prefix.strip("/"), *below) if part)


def archive_names(file: SourceFile) -> tuple[str, str]:
    """The file's name in an archive, and the one it gets when that is taken."""
    name = file.path.rpartition("/")[2]
    return name, f"{file.modified_at.astimezone(UTC):%Y-%m-%dT%H-%M-%S-%f}Z_{name}"


def address(scheme: str, place: str, path: str) -> str:
    """`scheme://place/path`, everything that is not plain ASCII percent-encoded. No credentials."""
    readable = quote(path.lstrip("/"), safe="/!$'()*+,;=:@~ ", errors="surrogatepass")
    return f"{scheme}://{place}/{readable}"


def serial_of(path: str, file: str) -> int | Literal[False] | None:
    """The serial in `Name_<serial>.csv`, None for `Name.csv`, False for a file of another name or folder."""
    folder, _, name = unicodedata.normalize("NFC", path).rpartition("/")
    wanted_folder, _, wanted = unicodedata.normalize("NFC", file.strip("/")).rpartition("/")
    parsed, given = _ENDING.fullmatch(name), _ENDING.fullmatch(wanted)
    stem = given["stem"] if given else wanted
    if parsed is None or folder != wanted_folder:
        return False
    if parsed["stem"] == stem:
        return None
    serial = parsed["stem"].removeprefix(f"{stem}_")
    return int(serial) if serial != parsed["stem"] and re.fullmatch(r"[0-9]{1,18}", serial) else False


def pick_files(
    listing: Listing,
    file: str,
    pick: Literal["last", "all"],
    now: datetime,
    settle: timedelta,
    still_since: Mapping[str, datetime] | None = None,
) -> Picked:
    """The import's files: the last modified one (`last`), or all of them (`all`), each only when it holds still.

    A file that may still be growing is waited for; under `last` no older file is taken in its place.

    Args:
        file: the import's `Folder/Name`: `Name.csv`, `Name_<serial>.csv`, also `.csv.gz` and `.csv.zip`.
        settle: how long size and modified time must have been the same.
        still_since: when each file (by `fingerprint_of`) was first seen as it is; helps where the server's clock
            is ahead of ours.
    """
    seen = still_since or {}
    serials = {each: serial_of(each.path, file) for each in listing.files}
    own = [each for each, serial in serials.items() if serial is not False]
    own.sort(key=lambda each: (each.modified_at, serials[each] or -1, each.path))
    candidates = own[-1:] if pick == "last" else own

    def settled(each: SourceFile) -> bool:
        first_seen = min(each.modified_at, seen.get(fingerprint_of(each), each.modified_at))
        return settle <= timedelta(0) or now - first_seen >= settle

    return Picked(
        tuple(each for each in candidates if settled(each)),
        tuple(each for each in candidates if not settled(each)),
        len(own),
    )


def fingerprint_of(file: SourceFile, uri: str = "") -> str:
    """sha256 of what a listing knows about a file: address, size, and version or modified time."""
    state = file.version or file.modified_at.astimezone(UTC).isoformat(timespec="microseconds")
    known = "\0".join((uri or file.path, str(file.size), state))
    return hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()


def item_of(import_name: str, file: SourceFile, uri: str, *, source: str = "", kind: ItemKind = "file") -> Item:
    """The file as an item. Its key is `2026-11-22T09-15-00Z_Customers_1767225600.csv_3f9a1c2b`.

    Args:
        source: the import's `file: Folder/Name`, for the serial.
    """
    fingerprint = fingerprint_of(file, uri)
    when = file.modified_at.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    serial = serial_of(file.path, source) if source else _trailing_number(file.path)
    return Item(
        import_name=import_name,
        key=ItemKey(f"{when}_{safe_name(PurePosixPath(file.path).name)}_{fingerprint[:8]}"),
        kind=kind,
        uri=uri,
        path=file.path,
        fingerprint=fingerprint,
        size=file.size,
        modified_at=file.modified_at,
        serial=None if serial is False else serial,
        version=file.version,
    )


def safe_name(name: str) -> str:
    """The name in `[A-Za-z0-9._-]`, at most 160 characters, so that an item's key stays below 200."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip(".") or "file"
    return cleaned if len(cleaned) <= 160 else f"{cleaned[:100]}_{cleaned[-59:]}"


def _trailing_number(path: str) -> int | None:
    found = re.search(r"_([0-9]{1,18})\.csv(?:\.gz|\.zip)?$", path, re.IGNORECASE)
    return int(found[1]) if found else None
