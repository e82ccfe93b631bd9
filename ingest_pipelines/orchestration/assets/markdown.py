"""Escapes text for Markdown: what a person or a file wrote is shown as it is, and has no effect.

Dagster renders descriptions, and metadata of its Markdown type, as Markdown. An image in a column's name would be
fetched by every browser that opens the page. So all text that is not our own is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(
    r"[\\`*\[\]<>|~&#$^{}]|!(?=\[)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.", re.I
)
"""Characters with a meaning in Markdown, with GitHub's tables and bare addresses; not a `_` within a name."""

_LINE_START = re.compile(r"^(?:[-+=](?=\s|[-+=]|$)|\d{1,9}(?=[.)](?:\s|$)))")
"""Characters with a meaning at the start of a line."""


def plain(text: str) -> str:
    """The text for a line of Markdown, shown as it is; line ends and repeated blanks become one blank."""
    text = _MARKS.sub(lambda mark: f"\\{mark[0]}", " ".join(text.split()))
    start = _LINE_START.match(text)
    if start is None:
        return text
    return f"{start[0]}\\{text[start.end() :]}" if start[0].isdigit() else f"\\{text}"


def code(text: str) -> str:
    """The text as code for a line of Markdown, also in a table."""
    text = " ".join(text.split())
    if "|" in text:  # it ends a table's cell even in code, and outside a table its escape would be visible
        return plain(text)
    fence = "`" * (_longest_run(text) + 1)
    edge = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{edge}{text}{edge}{fence}" if text else ""


def block(text: str, language: str = "") -> str:
    """Lines of text as a block of code."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bullets(lines: Iterable[str]) -> str:
    """Lines of plain text as a list."""
    return "\n".join(f"- {plain(line)}" for line in lines)


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)
