"""Runs `ingest` commands in one process and measures each. A program: commands as JSON lines on stdin."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest_pipelines_tests.cli.terminal import Answer, Terminal


@dataclass(frozen=True)
class Measured:
    """A command's answer, and what it took.

    Attributes:
        peak: the largest resident memory of its process, in bytes.
        cpu: seconds of processor time.
    """

    answer: Answer
    peak: int
    cpu: float


@dataclass(frozen=True)
class MeasuredTerminal:
    """`ingest`, typed in a process of its own."""

    process: subprocess.Popen[str]

    def ingest(self, *words: object) -> Measured:
        """The command's answer, and what it took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        assert told, "the process died: a command took all memory, or the interpreter with it"
        code, out, err, peak, cpu = json.loads(told)
        return Measured(Answer(code, out, err), peak, cpu)


@contextmanager
def measuring(terminal: Terminal) -> Iterator[MeasuredTerminal]:
    """The same terminal in a process of its own."""
    command = [sys.executable, "-m", "ingest_pipelines_tests.guarantees.measured", str(terminal.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(dict(terminal.environment)) + "\n")
        yield MeasuredTerminal(process)
        process.stdin.close()


def _peak() -> int:
    """The largest resident memory since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def _serve(folder: Path) -> None:
    terminal = Terminal(folder, json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")  # from here on the kernel measures the peak anew
        began = time.process_time()
        answer = terminal.ingest(*json.loads(line))
        taken = [answer.code, answer.out, answer.err, _peak(), time.process_time() - began]
        sys.__stdout__.write(json.dumps(taken) + "\n")  # type: ignore[union-attr]  # there is one
        sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
