"""What a strptime pattern is made of, and why one can't be used. Pure, and quick to import.

A directive means what Python's `datetime.strptime` means by it, in English whatever the machine's locale is. A pattern
that Python reads by the locale, by a guess, or not at all is refused, with what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

MONTHS = {name: number for number, month in enumerate(_MONTHS, start=1) for name in (month, month[:3])}
"""English name or its first three letters, in small letters -> 1 to 12."""
WEEKDAYS = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
"""English name or its first three letters, in small letters -> 0 (Monday) to 6."""
ZONES = ("utc", "gmt", "z")
"""Zone names that certainly mean an offset of zero. Others mean several zones, or one with summer time."""


def _one_of(names: list[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


_TWO_DIGITS_TO_53 = "5[0-3]|[0-4][0-9]|[0-9]"
READS = {
    "d": "3[01]|[12][0-9]|0[1-9]|[1-9]| [1-9]",
    "m": "1[0-2]|0[1-9]|[1-9]",
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "j": "36[0-6]|3[0-5][0-9]|[12][0-9][0-9]|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0[1-9]|[1-9]",
    "H": "2[0-3]|[01][0-9]|[0-9]",
    "I": "1[0-2]|0[1-9]|[1-9]",
    "M": "[0-5][0-9]|[0-9]",
    "S": "6[01]|[0-5][0-9]|[0-9]",
    "f": "[0-9]{1,6}",
    "p": "am|pm",
    "z": r"[+-][0-9]{2}:?[0-5][0-9](?::?[0-5][0-9](?:\.[0-9]{1,6})?)?|(?-i:Z)",
    "Z": _one_of(list(ZONES)),
    "a": _one_of([day[:3] for day in _DAYS]),
    "A": _one_of(list(_DAYS)),
    "b": _one_of([month[:3] for month in _MONTHS]),
    "B": _one_of(list(_MONTHS)),
    "w": "[0-6]",
    "u": "[1-7]",
    "U": _TWO_DIGITS_TO_53,
    "W": _TWO_DIGITS_TO_53,
    "G": "[0-9]{4}",
    "V": "5[0-3]|0[1-9]|[1-4][0-9]|[0-9]",
}
"""Directive -> what it takes, as a regular expression: Python's own, with the digits 0 to 9 and English names."""

_INSTEAD = {
    "c": "%a %b %d %H:%M:%S %Y", "x": "%m/%d/%y", "X": "%H:%M:%S", "D": "%m/%d/%y", "F": "%Y-%m-%d", "T": "%H:%M:%S",
    "R": "%H:%M", "r": "%I:%M:%S %p", "v": "%d-%b-%Y", "h": "%b", "e": "%d", "k": "%H", "l": "%I", "P": "%p",
    "n": "a blank", "t": "a blank", "g": "%G", "C": "%Y", "+": "nothing: RFC 3339 needs no format", "N": "%f",
    "L": "%f", "q": "the month",
}  # fmt: skip
_BY_LOCALE = frozenset("cxX")
_DIRECTIVE = re.compile(r"%(?P<flag>[-_0^#:.EO]*[0-9]*)(?P<letter>.?)", re.DOTALL)
_PARTS = {
    "the year": "YyG", "the month": "mbB", "the day": "dj", "the weekday": "aAwu", "the week": "UWV",
    "the hour": "HI", "the offset": "zZ",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A piece of a pattern: a directive, or the text between two.

    Attributes:
        directive: its letter; "" for text.
        text: of the pattern; a run of blanks is " ", which any blanks match.
    """

    directive: str
    text: str


def tokens(form: str) -> tuple[Token, ...]:
    """The pieces of a pattern that has no mistake."""
    found: list[Token] = []
    for piece in re.findall(r"%.|\s+|[^%\s]+", form, re.DOTALL):
        if piece.startswith("%") and piece != "%%":
            found.append(Token(piece[1], piece))
        else:
            found.append(Token("", " " if piece.isspace() else piece.replace("%%", "%")))
    return tuple(found)


def directives(form: str) -> frozenset[str]:
    """The letters of the pattern's directives."""
    return frozenset(token.directive for token in tokens(form)) - {""}


def expression(form: str) -> str:
    """A regular expression with a group per directive. As in Python, text may be in either case.

    What the pattern leaves over is in the group `rest`: of several ways to read a text only the first one counts.
    """
    pieces = [
        f"(?P<{token.directive}>{READS[token.directive]})"
        if token.directive
        else r"\s+"
        if token.text == " "
        else re.escape(token.text)
        for token in tokens(form)
    ]
    return f"(?is)^{''.join(pieces)}(?P<rest>.*)$"


def contradicts_iso(form: str) -> bool:
    """Whether the pattern reads an ISO spelling as another moment: `%Y-%d-%m` does."""
    meant = {"Y": "2001", "m": "02", "d": "03", "H": "04", "M": "05", "S": "06"}
    for text in ("2001-02-03", "2001-02-03T04:05:06", "2001-02-03 04:05:06"):
        match = re.match(expression(form), text)
        if (
            match
            and match["rest"] == ""
            and any(meant.get(name, part) != part for name, part in match.groupdict().items())
        ):
            return True
    return False


def format_mistake(form: str) -> str:
    """Why the strptime pattern can't be used, or ""."""
    unknown = [said for found in _DIRECTIVE.finditer(form) if (said := _unknown(found["flag"], found["letter"]))]
    if unknown:
        return "; ".join(dict.fromkeys(unknown))
    if form != form.strip():
        return f"'{form}' begins or ends with a blank, and a cell's own blanks there are no part of it; leave it out"
    named = [token.directive for token in tokens(form) if token.directive]
    wrong = [*_twice(named), *_clock_mistakes(set(named)), *_day_mistakes(set(named))]
    return f"'{form}' {'; '.join(wrong)}" if wrong else ""


def _unknown(flag: str, letter: str) -> str:
    """Why one directive can't be used, or ""."""
    written = f"%{flag}{letter}"
    if letter == "" or letter.isspace():
        return "a % alone is no directive; for the sign itself write %%"
    if not flag and (letter == "%" or letter in READS):
        return ""
    if not flag and letter in _BY_LOCALE:
        return f"{written} depends on the machine's locale; write it out: {_INSTEAD[letter]}"
    if not flag and letter == "s":
        return "%s, seconds since 1970, is no directive of strptime; deliver the date as text"
    known = letter if letter in READS else ""
    instead = ".%f" if flag.startswith(".") and letter == "f" else f"%{known}" if known else _INSTEAD.get(letter, "")
    return f"{written} is no directive of Python's strptime" + (f"; write {instead}" if instead else "")


def _twice(named: list[str]) -> list[str]:
    return [
        f"names {part} twice, with {' and '.join('%' + letter for letter in named if letter in letters)}"
        for part, letters in (*_PARTS.items(), *((f"%{letter}", letter) for letter in "MSfp"))
        if sum(letter in letters for letter in named) > 1
    ]


def _clock_mistakes(named: set[str]) -> list[str]:
    wrong = []
    if "p" in named and "I" not in named:
        wrong.append("has %p without %I: AM and PM belong to hours from 1 to 12, %H has them from 0 to 23")
    if "I" in named and "p" not in named:
        wrong.append("has %I without %p: it does not say which half of the day; write %H for hours from 0 to 23")
    return wrong


def _day_mistakes(named: set[str]) -> list[str]:
    """How the pattern fails to name a day, or names it twice: by month, by the day of the year, by a week."""
    example = "write for example %d/%m/%Y or %Y-%m-%d %H:%M:%S"
    weekday, month, week = named & set("aAwu"), named & set("mbB"), named & set("UW")
    if named & set("GV"):
        if named & set("YyUWdjmbB") or not {"G", "V"} <= named or not weekday:
            return ["is no ISO week: %G, %V and a weekday go together, and with no other day; write %G-W%V-%u"]
        return []
    if week:
        if not named & set("Yy") or not weekday or month or named & set("dj"):
            return [f"has %{min(week)}, which goes with a year and a weekday, and with no other day; {example}"]
        return []
    if "j" in named and month:
        return ["names the day twice, with %j and with a month"]
    if not named & set("Yy") or not ("j" in named or (month and "d" in named)):
        return [f"does not name a day; {example}"]
    return []
