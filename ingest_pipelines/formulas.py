"""Cells of CSV files that people open in a spreadsheet: one that it would run as a formula gets an apostrophe."""

from __future__ import annotations

import re

FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
"""A cell that a spreadsheet would run as a formula, or that already looks like an escaped one."""

_ODD_NAME = re.compile(rf"{FORMULA.pattern}|'*(?:ingest\.|\ufeff|$)")
"""The same for a column's name; also names that look like ours, like a byte order mark, or like a spreadsheet's empty
column."""


def escape_formula(cell: str) -> str:
    """The cell, with a leading apostrophe if a spreadsheet would run it; `unescape_formula` removes it."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def escape_name(name: str) -> str:
    """The column's name, with a leading apostrophe if it is odd; `unescape_name` removes it."""
    return f"'{name}" if _ODD_NAME.match(name) else name


def unescape_formula(cell: str) -> str:
    """Reverses `escape_formula`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def unescape_name(name: str) -> str:
    """Reverses `escape_name`."""
    return name[1:] if name.startswith("'") and _ODD_NAME.match(name) else name
