"""Files that are called almost as an import's are: named in messages, with the pattern that reads them. Pure."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Sequence

from ingest_pipelines.errors import printable
from ingest_pipelines.sources.base import Listing
from ingest_pipelines.sources.files import CSV, ENCRYPTED, Serial, ending_of, serial_in, serials_of, stem_of

_CLOSE = 0.8
"""From which likeness on a name may be a slip of the keyboard."""
_NAMED = 5
"""How many files a message names."""


def near_misses(listing: Listing, file: str, pattern: str | None = None, endings: tuple[str, ...] = CSV) -> str:
    """What to add to "there is no such file": files that are called almost that, and links, which are not followed."""
    folder, _, wanted = unicodedata.normalize("NFC", file.strip("/")).rpartition("/")
    name = stem_of(wanted, endings)
    others = [path for path, serial in _serials(listing, file, pattern, endings) if serial is False]
    alike = [path for path in others if _alike(path, name)]
    links = [path for path in listing.links if folder.startswith(path) or _alike(path, name)]
    said = ""
    if pattern is not None and (here := sum(path.rpartition("/")[0] == folder for path in others)):
        said += f"; source.pattern fits none of the folder's {'file' if here == 1 else f'{here:,} files'}"
    if alike:
        are = "one is" if len(alike) == 1 else f"{len(alike):,} are"
        said += f"; {are} called almost that: {_some(alike)}"
    if pattern is None and any(_begins(path, folder, f"{name}_") for path in alike):
        said += "; after the name and _ comes a number or a date such as 2026-11-29, else write source.pattern"
    elif pattern is None and (fitting := _fitting_pattern(alike, folder, name, endings)):
        said += f"; to read them write source.pattern: '{fitting}'"
    if any(path.casefold().endswith(ENCRYPTED) for path in alike):
        said += "; encrypted files need source.decrypt"
    if links:
        said += f"; symbolic links are not followed: {_some(links)}"
    return said


def files_like(listing: Listing, path: str) -> str:
    """The files that may be meant by a path that is none, such as a name without its ending; "": there are none."""
    _, _, wanted = unicodedata.normalize("NFC", path.strip("/")).rpartition("/")
    name = wanted.partition(".")[0]
    return _some([other.path for other in listing.files if _alike(other.path, name)])


def _serials(
    listing: Listing, file: str, pattern: str | None, endings: tuple[str, ...]
) -> Iterator[tuple[str, Serial]]:
    paths = [other.path for other in listing.files]
    return zip(paths, serials_of(paths, file, pattern, endings), strict=True)


def _fitting_pattern(paths: Sequence[str], folder: str, name: str, endings: tuple[str, ...]) -> str:
    """A pattern for files that have another sign than _ between the name and a serial; "": there are none."""
    for path in paths:
        other_folder, _, other = unicodedata.normalize("NFC", path).rpartition("/")
        parsed = ending_of(endings).fullmatch(other)
        stem = parsed["stem"] if parsed is not None and other_folder == folder else ""
        behind = re.fullmatch(r"([-_. ]?)([0-9].*)", stem[len(name) :])
        if behind is None or stem[: len(name)].casefold() != name.casefold() or serial_in(behind[2]) is False:
            continue
        case = "" if stem.startswith(name) else "(?i)"
        ending = f"(?:{'|'.join(endings)})" if len(endings) > 1 else endings[0]
        sign = re.escape(behind[1]) if behind[1] == "." else behind[1]
        return rf"{case}{re.escape(name)}{sign}(?P<serial>\d.*)\.{ending}(?:\.gz|\.zip)?"
    return ""


def _begins(path: str, folder: str, name: str) -> bool:
    other_folder, _, other = unicodedata.normalize("NFC", path).rpartition("/")
    return other_folder == folder and other.startswith(name)


def _alike(path: str, name: str) -> bool:
    """Whether a file's name begins with the other but for case and signs, or is a slip of the keyboard away."""
    folded, other = (_folded(text) for text in (path.rpartition("/")[2], name))
    stem = _folded(path.rpartition("/")[2].partition(".")[0])
    return bool(other) and (folded.startswith(other) or difflib.SequenceMatcher(None, stem, other).ratio() >= _CLOSE)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(printable(path) for path in paths[:_NAMED]) + more
