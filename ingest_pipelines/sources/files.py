"""Which of the files that a source lists an import takes, in which order, and under which key. Pure."""

from __future__ import annotations

import contextlib
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import quote

from ingest_pipelines.config.decryption import ENDINGS as ENCRYPTED_ENDINGS
from ingest_pipelines.config.file_pattern import CLOCK, DAY, SERIAL, WHOLE, whole_name
from ingest_pipelines.errors import ItemGone, SourceDenied, printable
from ingest_pipelines.model import Item, ItemKey, ItemKind, SourceFile
from ingest_pipelines.sources.base import Listing

MAX_FOLDERS = 2
"""How deep files are seen: `Folder/Subfolder/file`."""

_PARTIAL = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".incomplete", "~")
ENCRYPTED = tuple(f".{ending}" for ending in ENCRYPTED_ENDINGS)
CSV = ("csv",)
"""How the names of files end, besides `.gz` and `.zip`, unless a format says more."""

_MOMENT = re.compile(
    r"(?P<year>19[7-9][0-9]|2[01][0-9]{2})(?P<dash>[-_.]?)(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})"
    r"(?:[T_ -]?(?P<hour>[0-9]{2})(?P<colon>[-_.:h]?)(?P<minute>[0-9]{2})"
    r"(?:(?P=colon)(?P<second>[0-9]{2})(?:[.,_]?[0-9]{1,9})?)?(?:Z|UTC|\+00:?00)?|T(?P<full_hour>[0-9]{2})Z?)?",
    re.IGNORECASE | re.ASCII,
)
"""A day or a moment as file names have it: 2026-11-29, 20261129, 20261129T060000Z, 2026-11-29T06 ..."""
_COARSE = timedelta(seconds=2)
"""The coarsest modified times that a source has. A file that is rewritten at the same size before its time can change
looks the same: so it is not read before that. A clock of the source that is behind ours defeats this."""


@dataclass(frozen=True)
class Picked:
    """Which files of a listing are an import's items now, and why others are not.

    Attributes:
        files: in the order of their loads: modified time, then serial, then name.
        unsettled: files of the import that still may be growing.
        matching: how many files have the import's name, picked or not.
        waits: path -> what is missing, of items of several files.
    """

    files: tuple[SourceFile, ...]
    unsettled: tuple[SourceFile, ...] = ()
    matching: int = 0
    waits: Mapping[str, str] = field(default_factory=dict)


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
        raise ItemGone(
            f"there is no file '{printable(path)}'", hint="paths are relative to the connection, without '..'"
        )
    return parts


def linked_folder(uri: str) -> SourceDenied:
    """The error of a folder that is a symbolic link: below its root no source follows one."""
    return SourceDenied(
        f"the folder {uri} is a symbolic link, and links are not followed",
        hint="name the folder that it leads to in source.file, or make it the connection's root",
    )


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


Serial = int | Literal[False] | None
"""A file's place among those of its import: None without a serial, False for a file of another import."""


@cache
def ending_of(endings: tuple[str, ...]) -> re.Pattern[str]:
    """What matches whole names that end so; its group `stem` is what is before the ending."""
    return re.compile(rf"(?P<stem>.+?)\.(?:{'|'.join(endings)})(?:\.gz|\.zip)?", re.IGNORECASE | re.DOTALL)


def stem_of(name: str, endings: tuple[str, ...]) -> str:
    """The name without its ending, if it has one of these."""
    parsed = ending_of(endings).fullmatch(name)
    return parsed["stem"] if parsed else name


def serial_of(path: str, file: str, pattern: str | None = None, endings: tuple[str, ...] = CSV) -> Serial:
    """The serial in `Name_<serial>.csv`, None for `Name.csv`, False for a file of another name or folder.

    A serial is a number, or a date or timestamp in UTC, which counts as its seconds since 1970: so the usual shapes
    are in order among themselves and with such seconds.

    Args:
        pattern: the import's `pattern`, which says instead of Name how its files are called.
        endings: of the import's format.
    """
    return serials_of([path], file, pattern, endings)[0]


def serials_of(
    paths: Sequence[str], file: str, pattern: str | None = None, endings: tuple[str, ...] = CSV
) -> list[Serial]:
    """`serial_of` each path. One call for many paths is quicker."""
    wanted_folder, _, wanted = unicodedata.normalize("NFC", file.strip("/")).rpartition("/")
    split = [unicodedata.normalize("NFC", path).rpartition("/")[::2] for path in paths]
    if pattern is not None:
        serials = _matched(list(dict.fromkeys(name for folder, name in split if folder == wanted_folder)), pattern)
        return [serials[name] if folder == wanted_folder else False for folder, name in split]
    stem = stem_of(wanted, endings)
    return [_named(name, stem, endings) if folder == wanted_folder else False for folder, name in split]


def _named(name: str, stem: str, endings: tuple[str, ...]) -> Serial:
    parsed = ending_of(endings).fullmatch(name)
    if parsed is None:
        return False
    if parsed["stem"] == stem:
        return None
    serial = parsed["stem"].removeprefix(f"{stem}_")
    return serial_in(serial) if serial != parsed["stem"] else False


def _matched(names: Sequence[str], pattern: str) -> dict[str, Serial]:
    """The serials that the pattern finds in whole names."""
    groups = matched_groups(names, pattern)
    return {name: grouped_serial(groups[name]) if name in groups else False for name in names}


def matched_groups(names: Sequence[str], pattern: str) -> dict[str, Mapping[str, str | None]]:
    """The groups of each name that the pattern matches as a whole, by the engine that takes linear time."""
    if not names:
        return {}
    import polars as pl  # slow to import, and few imports have a pattern

    found = pl.Series(names, dtype=pl.String).str.extract_groups(whole_name(pattern))
    return {name: groups for name, groups in zip(names, found.to_list(), strict=True) if groups[WHOLE] is not None}


def grouped_serial(groups: Mapping[str, str | None]) -> Serial:
    """The serial of a name's groups; None if those that hold it took part in no match, False if they hold none."""
    if SERIAL in groups:
        text = groups[SERIAL]
        return None if text is None else serial_in(text)
    texts = [groups.get(part) for part in DAY]
    if all(text is None for text in texts):
        return None
    texts += [groups.get(part) or "0" for part in CLOCK]
    if not all(text is not None and re.fullmatch(r"[0-9]{1,4}", text) for text in texts):
        return False
    year, *others = (int(text or 0) for text in texts)
    # Two digits of a year are those of 1969 to 2068, as in `format`.
    century = 0 if len(str(texts[0])) > 2 else 1900 if year >= 69 else 2000
    try:
        return int(datetime(year + century, *others, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]  # six numbers
    except ValueError:
        return False


def serial_in(text: str) -> int | Literal[False]:
    """The number, or the seconds since 1970 of the day or moment; False if the text is none."""
    moment = _MOMENT.fullmatch(text)
    if moment is not None:
        hour = moment["hour"] or moment["full_hour"]
        day, clock = (moment[part] for part in ("year", "month", "day")), (hour, moment["minute"], moment["second"])
        parts = (int(part or 0) for part in (*day, *clock))
        with contextlib.suppress(ValueError):  # no such day: digits may be a number still
            return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]  # six numbers
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else False


def pick_files(
    listing: Listing,
    file: str,
    pick: Literal["last", "all"],
    now: datetime,
    settle: timedelta,
    still_since: Mapping[str, datetime] | None = None,
    *,
    pattern: str | None = None,
    endings: tuple[str, ...] = CSV,
) -> Picked:
    """The import's files: the last modified one (`last`), or all of them (`all`), once they are stable.

    A file that may still be growing has to wait; under `last` no older file is taken instead.

    Args:
        file: the import's `Folder/Name`: `Name.csv`, `Name_<serial>.csv`, also `.csv.gz` and `.csv.zip`.
        settle: how long its size and modified time must not have changed.
        still_since: when each file (by `fingerprint_of`) was first seen as it is; helps where the server's clock
            is ahead of ours.
        pattern: how the files are called, where the import says it itself.
        endings: of the import's format.
    """
    first_seen_at = still_since or {}
    found = serials_of([candidate.path for candidate in listing.files], file, pattern, endings)
    serials = dict(zip(listing.files, found, strict=True))
    own = [candidate for candidate, serial in serials.items() if serial is not False]
    own.sort(key=lambda candidate: (candidate.modified_at, serials[candidate] or -1, candidate.path))
    candidates = own[-1:] if pick == "last" else own

    settled = [candidate for candidate in candidates if is_settled(candidate, now, settle, first_seen_at)]
    return Picked(tuple(settled), tuple(each for each in candidates if each not in settled), len(own))


def is_settled(
    file: SourceFile, now: datetime, settle: timedelta, first_seen_at: Mapping[str, datetime],
    seen_as: SourceFile | None = None,
) -> bool:  # fmt: skip
    """Whether the file has been as it is for long enough.

    Args:
        seen_as: the file in `first_seen_at` whose state is this one's too; by default the file itself.
    """
    first_seen = min(file.modified_at, first_seen_at.get(fingerprint_of(seen_as or file), file.modified_at))
    still = max(settle, _COARSE) if _may_be_rewritten_unseen(file) else settle
    return settle <= timedelta(0) or now - first_seen >= still


def _may_be_rewritten_unseen(file: SourceFile) -> bool:
    """Whether the source may know the file's time in whole seconds only: SFTP, some file systems."""
    return not file.version and file.modified_at.microsecond == 0


def fingerprint_of(file: SourceFile, uri: str = "") -> str:
    """sha256 of what a listing knows about a file: address, size, and version or modified time."""
    state = file.version or file.modified_at.astimezone(UTC).isoformat(timespec="microseconds")
    known = "\0".join((uri or file.path, str(file.size), state))
    return hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()


def item_of(
    import_name: str, file: SourceFile, uri: str, *, source: str = "", pattern: str | None = None,
    endings: tuple[str, ...] = CSV, kind: ItemKind = "file",
) -> Item:  # fmt: skip
    """The file as an item. Its key is `2026-11-22T09-15-00Z_Customers_1767225600.csv_3f9a1c2b`.

    Args:
        source: the import's `file: Folder/Name`, for the serial.
        pattern: the import's `pattern`.
        endings: of the import's format.
    """
    serial = serial_of(file.path, source, pattern, endings) if source else _trailing_serial(file.path)
    name = PurePosixPath(file.path).name
    return new_item(import_name, file, uri, name=name, serial=None if serial is False else serial, kind=kind)


def new_item(
    import_name: str, file: SourceFile, uri: str, *, name: str, serial: int | None, kind: ItemKind = "file"
) -> Item:
    """The file as an item that is called after its time, the name and its fingerprint."""
    fingerprint = fingerprint_of(file, uri)
    when = file.modified_at.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return Item(
        import_name=import_name,
        key=ItemKey(f"{when}_{safe_name(name)}_{fingerprint[:8]}"),
        kind=kind,
        uri=uri,
        path=file.path,
        fingerprint=fingerprint,
        size=file.size,
        modified_at=file.modified_at,
        serial=serial,
        version=file.version,
    )


def safe_name(name: str) -> str:
    """The name in `[A-Za-z0-9._-]`, at most 160 characters, so that an item's key stays below 200."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip(".") or "file"
    return cleaned if len(cleaned) <= 160 else f"{cleaned[:100]}_{cleaned[-59:]}"


def _trailing_serial(path: str) -> int | None:
    parsed = ending_of(CSV).fullmatch(path.rpartition("/")[2])
    parts = parsed["stem"].split("_") if parsed else []
    serials = (serial_in("_".join(parts[start:])) for start in range(1, len(parts)))
    return next((serial for serial in serials if serial is not False), None)
