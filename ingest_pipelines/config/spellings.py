"""What spells a value of a field's type, and what a pattern or a format may be made of. Pure, and quick to import.

Rules judge rows by the same expressions; here they judge the bounds and lists that YAML gives, before anything runs.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from ipaddress import ip_address
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.config.databases import FieldRules

_DAY = r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
DATE_PATTERN = f"^{_DAY}(?:{_CLOCK}{_OFFSET})?$"
DATETIME_PATTERN = f"^{_DAY}{_CLOCK}{_OFFSET}$"

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TOP = r"(?:[A-Za-z]{2,63}|[Xx][Nn]--[A-Za-z0-9-]{1,57}[A-Za-z0-9])"
EMAIL_PATTERN = rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_TOP}$"
"""RFC 5321's dot-string at a domain of at least two labels. Quoted local parts, comments, address literals
and display names are refused: no customer is reached by them."""
LONGEST_EMAIL = 254
LONGEST_LOCAL_PART = 64

YES, NO = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def decimal_pattern(precision: int, scale: int) -> str:
    """A regular expression for the numbers that decimal(precision, scale) holds exactly.

    Zeros in front of the number and behind its last digit carry nothing, so any number of them fits.
    """
    before, after = precision - scale, rf"(?:\.[0-9]{{0,{scale}}}0*)?"
    whole = rf"0*[0-9]{{1,{before}}}{after}" if before else rf"0+{after}"
    part = rf"0*\.[0-9]{{1,{scale}}}0*" if scale else r"0*\.0+"
    return rf"^[+-]?(?:{whole}|{part})$"


def spells(field: FieldRules, text: str) -> bool:
    """Whether the text is a value of the field's type; True where only the rules themselves can tell.

    They alone know: what a `format` reads, phone numbers, documents, and local times of an import's time zone.
    """
    match field.type:
        case "int":
            return re.fullmatch(r"[+-]?[0-9]+", text) is not None and -(2**63) <= int(text) < 2**63
        case "decimal":
            assert field.precision is not None
            assert field.scale is not None
            return re.fullmatch(decimal_pattern(field.precision, field.scale), text) is not None
        case "float":
            return _FLOAT.fullmatch(text) is not None and isfinite(float(text)) and not _vanishes(text)
        case "bool":
            return text.lower() in {*YES, *NO}
        case "date":
            return bool(field.format) or (re.fullmatch(DATE_PATTERN, text) is not None and _is_day(text[:10]))
        case "datetime":
            return bool(field.format) or (re.fullmatch(DATETIME_PATTERN, text) is not None and _is_moment(text))
        case "enum":
            return _is_option(field.options or (), text)
        case "email":
            local = text.partition("@")[0]
            fits = len(text) <= LONGEST_EMAIL and len(local) <= LONGEST_LOCAL_PART
            return fits and re.fullmatch(EMAIL_PATTERN, text) is not None
        case "ip":
            return "%" not in text and _is_address(text)
    return True


def _vanishes(text: str) -> bool:
    """Whether the number is so small that a float would make it 0."""
    return float(text) == 0 and re.match("[^eE]*[1-9]", text) is not None


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_moment(text: str) -> bool:
    """Whether there is such a day, and the moment lies in the years 1 to 9999 of UTC as well."""
    if not _is_day(text[:10]):
        return False
    offset = re.search(r"[+-][0-9]{2}:[0-9]{2}$", text)
    try:
        datetime.fromisoformat(f"{text[:10]}T{text[11:19]}{offset[0] if offset else '+00:00'}").astimezone(UTC)
    except OverflowError:
        return False
    return True


def _is_option(options: tuple[str, ...], text: str) -> bool:
    if text.isascii() and text.isdigit():
        return 1 <= int(text) <= len(options)
    return text in options


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_PARTS = re.compile(
    r"""
    (?P<around> \\[1-9] | \(\?(?:<?[=!]|P=|\(|>) )
    | (?P<known>
        \\(?:[pP](?:\{\^?[A-Za-z_=]+\}|[A-Za-z]) | x[0-9A-Fa-f]{2} | u[0-9A-Fa-f]{4} | U[0-9A-Fa-f]{8}
             | [dDwWsSbBAztnrfva] | [\ -/:-@\[-`{-~])
        | \(\?(?:P?<[A-Za-z_]\w*> | [imsxu]*(?:-[imsx]+)?[:)])
        | \{\d+(?:,\d*)?\}
        | \[\^?\]?
    )
    | (?P<unknown> \\.? | \(\?. | \{ )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_NOT_IN_PYTHON = re.compile(r"\\[pP](?:\{\^?[A-Za-z_=]+\}|[A-Za-z])|\\z|\[:\^?[a-z]+:\]")
_IN_SET = re.compile(
    r"(?P<known> \\. | \[:\^?[a-z]+:\] ) | (?P<unknown> \[ ) | (?P<end> \] ) | .", re.VERBOSE | re.DOTALL
)


def pattern_mistake(pattern: str) -> str:
    """Why the pattern can't be used, or "". What judges rows reads them in linear time, and knows less than Python."""
    place, in_set = 0, False
    while place < len(pattern):
        found = (_IN_SET if in_set else _PARTS).match(pattern, place)
        assert found is not None
        if not in_set and found["around"]:
            return "uses back-references or look-around; write it without, or use one_of"
        if found["unknown"]:
            return f"'{found['unknown']}' at position {place} is not known; for the character itself write \\ before it"
        opened = not in_set and pattern[place] == "["
        in_set = opened or (in_set and not found["end"])
        place = found.end()
    try:
        # Python has no names for classes of characters, and another one for the end of the text.
        re.compile(_NOT_IN_PYTHON.sub(lambda found: r"\Z" if found[0] == r"\z" else r"\w", pattern))
    except re.error as error:
        return f"not a regular expression: {error}"
    return ""
