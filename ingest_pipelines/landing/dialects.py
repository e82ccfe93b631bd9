"""What a text's dialect may be: which characters separate its cells, which lines are comments. Pure."""

from __future__ import annotations

import io
import unicodedata
from itertools import islice

from ingest_pipelines.config.blanks import BLANKS

TYPES = {"an Excel workbook (.xlsx)": "xlsx", "a Parquet file": "parquet", "JSON": "jsonl"}
"""What the first bytes say -> the format's type."""

USUAL = ",;\t|"

DELIMITERS = f"{USUAL}^~¦§:\x1f\x14\x01"
"""What separates cells, the usual ones first."""

COMMENTS = ("#", "//", "--", "%")

MOST_LINES = 30
"""The header is looked for in so many first lines."""

_RARE = frozenset({"Cc", "Po", "Sm", "So"})
"""Categories of signs beyond ASCII, and of controls, that separate cells and are seldom inside of them."""


def delimiters(text: str, *, any_sign: bool = False) -> list[str]:
    """Characters that may separate the text's cells: the usual ones, then others that its first lines have.

    Args:
        any_sign: also those that text and numbers have, such as a space or a dot: the columns' names tell.
    """
    others = dict.fromkeys("".join(islice(lines_of(text), MOST_LINES)))
    rare = [sign for sign in others if _is_rare(sign)]
    common = [sign for sign in others if any_sign and sign.isascii() and not sign.isalnum() and sign not in "\"'\r\n\0"]
    return list(dict.fromkeys([*DELIMITERS, *rare, *common]))


def _is_rare(sign: str) -> bool:
    control = sign < " "
    return (control or not sign.isascii()) and sign not in "\0\ufffd" + BLANKS and unicodedata.category(sign) in _RARE


def lines_of(text: str) -> io.StringIO:
    """The text's lines with their ends, which are CR, LF or both, and no other sign."""
    return io.StringIO(text, newline="")
