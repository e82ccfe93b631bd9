"""A person at a terminal: a pseudo-terminal of a real size, keys typed into it, and its screen as it is seen."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pyte

from ingest_pipelines_tests.cli.terminal import Terminal

PATIENCE = 60.0
"""Seconds until a command that says nothing new has failed its test."""


@dataclass
class Person:
    """Types, and reads the screen.

    Attributes:
        raw: every byte that the command wrote.
    """

    process: subprocess.Popen[bytes]
    keyboard: int
    screen: Any
    stream: Any
    raw: bytearray = field(default_factory=bytearray)

    def sees(self, text: str) -> None:
        """Waits until the text is on the screen; where its lines are broken does not matter."""
        deadline = time.monotonic() + PATIENCE
        while "".join(text.split()) not in "".join("".join(self.lines()).split()):
            assert self._read(deadline), f"{text!r} never came:\n" + "\n".join(self.lines())

    def types(self, *answers: str) -> None:
        """Each answer, and Enter."""
        for answer in answers:
            os.write(self.keyboard, f"{answer}\n".encode())

    def presses(self, key: bytes) -> None:
        """A key without Enter."""
        os.write(self.keyboard, key)

    def waits(self) -> int:
        """Until the command ends; its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(10)

    def lines(self) -> list[str]:
        """All lines that the command left, above the screen's edge too, without blanks at their ends."""
        above = ["".join(row[at].data for at in range(self.screen.columns)).rstrip() for row in self.screen.history.top]
        return [*above, *(line.rstrip() for line in self.screen.display)]

    def _read(self, deadline: float) -> bool:
        """Takes what the command wrote; False: it has ended."""
        if not select.select([self.keyboard], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError("the command says nothing:\n" + "\n".join(self.lines()))
        try:
            data = os.read(self.keyboard, 65_536)
        except OSError:  # Linux: the other side is closed
            return False
        self.raw += data
        self.stream.feed(data)
        return bool(data)


def _take_terminal() -> None:
    """Ctrl-C reaches the command, also where tests run behind a shell's `&`, which has its children ignore SIGINT."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def at_a_terminal(
    terminal: Terminal,
    *words: object,
    columns: int = 80,
    rows: int = 200,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Person]:
    """A person before `ingest ...` on a terminal of that size."""
    keyboard, line = os.openpty()
    fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    inherited = {name: value for name, value in terminal.environment.items() if name != "COLUMNS"}
    plain = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from ingest_pipelines.cli import main; main()", *map(str, words)],
        cwd=terminal.folder, env={**plain, "TERM": "xterm-256color", **inherited, **variables},
        stdin=line, stdout=line, stderr=line, start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509
    )  # fmt: skip
    os.close(line)
    screen = pyte.HistoryScreen(columns, rows, history=10_000)
    try:
        yield Person(process, keyboard, screen, pyte.ByteStream(screen))
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
