"""How the values of field types are written, and what a `pattern` may be made of. Pure, and quick to import.

Rules test rows by the same expressions that test the bounds and lists in YAML before anything runs.
"""

from __future__ import annotations

import re

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

FLOAT_PATTERN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"


def decimal_pattern(precision: int, scale: int) -> str:
    """A regular expression for the numbers that decimal(precision, scale) holds exactly.

    Zeros in front of the number and behind its last digit carry nothing, so any number of them fits.
    """
    before, after = precision - scale, rf"(?:\.[0-9]{{0,{scale}}}0*)?"
    whole = rf"0*[0-9]{{1,{before}}}{after}" if before else rf"0+{after}"
    part = rf"0*\.[0-9]{{1,{scale}}}0*" if scale else r"0*\.0+"
    return rf"^[+-]?(?:{whole}|{part})$"


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


LARGEST_PATTERN = 5_000
"""Characters that a pattern may describe, its counted repetitions written out: `(?:ab{3}){2}` describes eight.

The engine's time per character of a cell grows with them: a cell of 8,000 characters takes at most half a second.
"""


class _Size:
    """Counts the characters that a pattern describes, part by part."""

    def __init__(self) -> None:
        self._groups = [0]
        self._last = 0

    @property
    def total(self) -> int:
        return sum(self._groups)

    def add(self, part: str) -> None:
        """Takes the next part outside of sets; a set is one character."""
        if part == "(" or (part.startswith("(?") and not part.endswith(")")):
            self._groups.append(0)
        elif part == ")" and len(self._groups) > 1:
            self._last = self._groups.pop()
            self._groups[-1] += self._last
        elif part[0] == "{":
            times = max(int(number.lstrip("0")[:10] or 0) for number in part[1:-1].split(","))
            self._groups[-1] += self._last * (times - 1)
            self._last *= times
        elif part not in ("*", "+", "?", "|"):
            self._last = 1
            self._groups[-1] += 1


def pattern_mistake(pattern: str) -> str:
    """Why the pattern can't be used, or "". The rules' engine matches in linear time, and knows less than Python's."""
    place, in_set, size = 0, False, _Size()
    while place < len(pattern):
        part = (_IN_SET if in_set else _PARTS).match(pattern, place)
        assert part is not None
        if not in_set and part["around"]:
            return "uses back-references or look-around; write it without, or use one_of"
        if part["unknown"]:
            return f"'{part['unknown']}' at position {place} is not known; for the character itself write \\ before it"
        if not in_set:
            size.add(part[0])
            if size.total > LARGEST_PATTERN:
                return f"describes more than {LARGEST_PATTERN:,} characters; write it more simply, or use one_of"
        opened = not in_set and pattern[place] == "["
        in_set = opened or (in_set and not part["end"])
        place = part.end()
    try:
        re.compile(python_pattern(pattern))
    except re.error as error:
        return f"not a regular expression: {error}"
    except RecursionError:
        return "not a regular expression: groups are nested too deeply"
    return ""


def python_pattern(pattern: str) -> str:
    """A pattern of the same groups for Python, which names no classes of characters, and ends a text otherwise."""
    return _NOT_IN_PYTHON.sub(lambda part: r"\Z" if part[0] == r"\z" else r"\w", pattern)
