"""The shape of a value: what a person needs to see which mistake it has, without the value itself.

Dagster's storage is read by everybody who sees its UI, is backed up and never erased with a customer. So it holds no
value of a row, except of fields that are declared free of personal data (`pii: false`).
"""

from __future__ import annotations

import re
import unicodedata

_OF_KIND = {"L": "a", "M": "a", "N": "9"}
_ORDERED = re.compile(r"[-+0-9.:TZ ]*")
"""Spellings of numbers, dates and times."""


def shape(value: str) -> str:
    """The value with each letter as `a`, each digit as `9`, and each character beyond ASCII's signs as `?`.

    `O'Neil-42 £` becomes `a'aaaa-99 ?`.
    """
    return "".join(map(_shape_of, value))


def printable_cursor(value: str) -> str:
    """A cursor's value where it is a number, a date or a time, which count rows or days; else its shape."""
    return value if _ORDERED.fullmatch(value) else shape(value)


def _shape_of(letter: str) -> str:
    kind = _OF_KIND.get(unicodedata.category(letter)[0])
    return kind or (letter if letter.isascii() and letter.isprintable() else "?")
