"""Whether a file is a part of a larger delivery, by the names of the files beside it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_NUMBER_OF = re.compile(r"(?P<part>[0-9]+)(?P<between>[-_ .]?of[-_ .]?)(?P<of>[0-9]+)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![A-Za-z])(?:part|teil|chunk|split|p)[-_. ]?(?P<part>[0-9]+)", re.IGNORECASE)
_SERIAL = re.compile(r"(?:19|20)[0-9]{2}(?P<sign>[-_.])[0-9]{2}(?P=sign)[0-9]{2}|[0-9]+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_MARKERS = (".done", ".ok", ".ready", ".complete", ".finished", ".fin", ".trg", ".eof", ".flag")
"""How the names of files end that a sender writes last."""


@dataclass(frozen=True)
class PartsProposal:
    """Files that may be one item.

    Attributes:
        keys: of `source.parts`, with what proves that all of them are there.
        file: what the name says besides parts and serials.
        count: how many parts are there now; nothing else says how many there should be. None: a proof was found.
    """

    keys: dict[str, str]
    file: str
    count: int | None


def detect_parts(name: str, beside: Collection[str]) -> PartsProposal | None:
    """The delivery that the file is a part of; None: it is a file by itself.

    Args:
        beside: the names of all files in its folder.
    """
    found = _NUMBER_OF.search(name) or _NUMBER.search(name)
    if found is None:
        return None
    start, end = found.start("part"), found.end("of" if "of" in found.groupdict() else "part")
    number = "(?P<part>[0-9]+)"
    if "of" in found.groupdict():
        number += f"{_literal(found['between'])}(?P<of>[0-9]+)"
    before, after, serial = _with_serial(name[:start], name[end:])
    pattern = before + number + after
    members = [other for other in beside if (match := re.fullmatch(pattern, other)) and _serial(match) == serial]
    if len(members) < 2:
        return None
    keys = {"pattern": pattern, **dict(_proofs(set(beside) - set(members), serial))}
    stem = _SERIAL.sub("", name[: found.start()])
    proven = len(keys) > 1 or "of" in found.groupdict()
    return PartsProposal(keys, stem.strip(" -_.") or "parts", None if proven else len(members))


def _with_serial(before: str, after: str) -> tuple[str, str, str]:
    """The texts as patterns, the first number in them as the serial, and that number; "": there is none."""
    serial = ""
    patterns = []
    for text in (before, after):
        pattern, place = "", 0
        for match in re.finditer(rf"{_UUID.pattern}|{_SERIAL.pattern}", text):
            pattern += _literal(text[place : match.start()])
            place = match.end()
            if _UUID.fullmatch(match[0]):
                pattern += "[0-9a-f-]{36}"
            elif serial or re.search("[A-Za-z]$", text[: match.start()]):
                pattern += "[0-9]+"
            else:
                serial = match[0]
                shape = "[0-9]+" if serial.isdecimal() else re.sub("[0-9]+", "[0-9]+", _literal(serial))
                pattern += f"(?P<serial>{shape})"
        patterns.append(pattern + _literal(text[place:]))
    return patterns[0], patterns[1], serial


def _serial(match: re.Match[str]) -> str:
    return match.groupdict().get("serial") or ""


def _proofs(others: Collection[str], serial: str) -> Iterator[tuple[str, str]]:
    """`manifest` and `done`, where a file beside the parts may be one of the same serial."""
    for key, names in (
        ("manifest", [name for name in others if re.search("manifest|sha256", name, re.IGNORECASE)]),
        ("done", [name for name in others if name.lower().endswith(_MARKERS) or name in {"_SUCCESS", "SUCCESS"}]),
    ):
        own = sorted(name for name in names if (serial in name if serial else not _SERIAL.search(name)))
        if own:
            yield key, own[0].replace(serial, "{serial}", 1) if serial else own[0]


def _literal(text: str) -> str:
    return re.sub(r"[\\.+*?()\[\]{}|^$]", r"\\\g<0>", text)
