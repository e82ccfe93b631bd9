"""The command line's output: aligned text at 80 columns, colour only on a terminal, JSON on request."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from click import unstyle

from ingest_pipelines.actions import wording
from ingest_pipelines.errors import IngestError

if TYPE_CHECKING:
    from rich.status import Status

Style = Literal["good", "warn", "bad", "dim", "strong"]

_STYLES: Mapping[Style, Mapping[str, Any]] = {
    "good": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "bad": {"fg": "red"},
    "dim": {"dim": True},
    "strong": {"bold": True},
}
STATUS_STYLES: Mapping[str, Style] = {
    "committed": "good", "completed": "good", "skipped": "dim", "failed": "bad", "refused": "bad", "running": "strong",
    "waiting": "warn", "completed_with_rejects": "warn", "scheduled": "good", "draft": "dim", "paused": "dim",
    "ended": "dim", "invalid": "bad", "removed": "bad",
}  # fmt: skip

number, plural, moment, ago, why = wording.number, wording.plural, wording.moment, wording.ago, wording.why


def width() -> int:
    """Columns of the terminal; 80 without a terminal."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


_spinner: list[Status] = []
"""The spinner on stderr, if one is running: it pauses for each line that is written."""


def say(text: str = "") -> None:
    """Writes a line of the answer to stdout. Colours are removed if stdout is not a terminal."""
    _write(text, err=False)


def note(text: str) -> None:
    """Writes a remark to stderr, so that `ingest ... | jq` reads only the answer."""
    _write(text, err=True)


def _write(text: str, *, err: bool, fit: bool = True) -> None:
    for status in _spinner:
        status.stop()
    if fit and (sys.stderr if err else sys.stdout).isatty():
        text = "\n".join(map(_fitted, text.split("\n")))
    typer.echo(text, err=err)
    for status in _spinner:
        status.start()


_COMMAND = re.compile(r"^(?:ingest |cd |export )|;$")
_ENDS_IN_A_COMMAND = re.compile(r"(?<=: )ingest (?=[a-z])")


def _fitted(line: str) -> str:
    """The line, wrapped at the terminal's edge. Words and commands stay whole: people copy commands."""
    shown = unstyle(line)
    if len(shown) <= width() or _COMMAND.search(shown.strip()):
        return line
    command = _ENDS_IN_A_COMMAND.search(line)
    prose = line[: command.start()].rstrip() if command else line
    indent = " " * (len(shown) - len(shown.lstrip()))
    lines, start = [prose[: len(prose) - len(prose.lstrip())]], True
    for word in (*prose.split(), *((line[command.start() :],) if command else ())):
        longer = f"{lines[-1]}{'' if start else ' '}{word}"
        if start or len(unstyle(longer)) <= width():
            lines[-1] = longer
        else:
            lines.append(f"{indent}  {word}")
        start = False
    return "\n".join(lines)


def is_terminal() -> bool:
    """Whether the answer goes to a terminal."""
    return sys.stdout.isatty()


def redraw(lines: Sequence[str]) -> None:
    """Clears the terminal and shows these lines; those that do not fit are counted."""
    rows = "\n".join(lines).split("\n")
    room = shutil.get_terminal_size((80, 24)).lines - 1
    if len(rows) > room:
        rows = [*rows[: room - 1], painted(f"and {len(rows) - room + 1} more lines: ingest status", "dim")]
    typer.echo("\x1b[H\x1b[2J" + "\n".join(rows))


def complain(error: IngestError) -> None:
    """Writes an error and its hint to stderr."""
    note(painted("error: ", "bad") + error.message)
    for line in error.hint.splitlines():
        note(f"  {line}")


@cache
def moves() -> bool:
    """Whether the terminal shows colours and spinners: not with NO_COLOR or TERM=dumb. Read once per process."""
    from ingest_pipelines.config.settings import colours_wanted

    return colours_wanted()


def painted(text: str, style: Style | None) -> str:
    """The text in a style, unless NO_COLOR or a dumb terminal asks for none."""
    return typer.style(text, **_STYLES[style]) if style and moves() else text


def quoted(path: Path) -> str:
    r"""The path, quoted for a shell; bytes that a terminal would obey are written as `$'\xe2'`."""
    if str(path).isprintable():
        return shlex.quote(str(path))
    spelled = (
        chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in "\\'" else f"\\x{byte:02x}" for byte in os.fsencode(path)
    )
    return f"$'{''.join(spelled)}'"


def wrapped(text: str, indent: int) -> str:
    """The text in lines that fit to the right of `indent` columns; the first line is not indented. Words stay whole."""
    room = max(_NARROWEST, width() - indent)
    lines = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]
    return ("\n" + " " * indent).join(lines)


def columns(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), styles: Mapping[int, str] = {}
) -> Iterator[str]:
    """Lines of a table as wide as its cells; the last column wraps at the terminal's edge.

    Args:
        right: positions of columns of numbers.
        styles: positions of columns whose cells hold a status, which is coloured.
    """
    table = [list(row) for row in rows]
    numeric = set(right)
    widths = [max([len(name), *(len(row[at]) for row in table)]) for at, name in enumerate(header)]
    indent = sum(widths[:-1]) + 2 * len(widths)

    def line(cells: Sequence[str]) -> Iterator[str]:
        for at, cell in enumerate(cells[:-1]):
            padded = cell.rjust(widths[at]) if at in numeric else cell.ljust(widths[at])
            yield painted(padded, STATUS_STYLES.get(cell) if at in styles else None)
        last = cells[-1]
        yield last.rjust(widths[-1]) if len(cells) - 1 in numeric else wrapped(last, indent)

    if indent + min(_NARROWEST, widths[-1]) > width():
        yield from stacked(header, table)
        return
    yield painted("  " + "  ".join(line(list(header))).rstrip(), "dim")
    for row in table:
        yield "  " + "  ".join(line(row)).rstrip()


_NARROWEST = 20
"""Width that a table's last cell needs; if the terminal has less, each cell gets a line of its own."""


def stacked(header: Sequence[str], table: Iterable[Sequence[str]]) -> Iterator[str]:
    """Each cell on a line after its column's name, or below it if the terminal is very narrow."""
    names = max(map(len, header))
    beside = names + 4 + _NARROWEST <= width()
    for row in table:
        for at, (name, cell) in enumerate(zip(header, row, strict=True)):
            mark = "- " if at == 0 else "  "
            if beside:
                yield f"{mark}{painted(name.ljust(names), 'dim')}  {wrapped(cell, names + 4)}".rstrip()
            else:
                yield f"{mark}{painted(name, 'dim')}"
                yield f"    {wrapped(cell, 4)}".rstrip()


def as_json(value: object) -> None:
    """Writes the answer to stdout as JSON: snake_case keys, ISO times, exact decimals as text.

    Letters of all scripts stay as they are. What a terminal would obey (control characters, marks of direction) is
    escaped: it only occurs within texts.
    """
    text = json.dumps(value, default=_plain, ensure_ascii=False, indent=2)
    _write(_NOT_ASCII.sub(_escaped, text), err=False, fit=False)


_NOT_ASCII = re.compile(r"[^\n\x20-\x7e]+")


def _escaped(letters: re.Match[str]) -> str:
    return letters[0] if letters[0].isprintable() else json.dumps(letters[0])[1:-1]


def _plain(value: object) -> object:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (Path, Decimal)):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


Show = Callable[[str], None]
"""Is called with the name of the stage that begins."""


@contextmanager
def progress(what: str) -> Iterator[Show]:
    """A spinner on a terminal's stderr: call the block's value with the name of each stage.

    Does nothing if stderr is not a terminal, or with NO_COLOR or TERM=dumb.
    """
    if not sys.stderr.isatty() or not moves():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(what), spinner="dots") as status:
        _spinner.append(status)
        try:
            yield lambda stage: status.update(escape(f"{what}: {stage}"))
        finally:
            _spinner.remove(status)
