"""`ingest` as a person uses it: words in, text and an exit code out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer import testing
from typer.main import get_command

HEARS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""Tests that run behind a shell's `&` hand down that SIGINT is ignored; a terminal does not."""

_COMMAND = cache(get_command)
"""Each command would read the signatures of all commands, as each process does: a third of the time of a short one."""


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Terminal:
    """A working directory and an environment to type `ingest` in."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def ingest(self, *words: object, typed: Sequence[str] = (), **environment: str) -> Answer:
        """The command's answer, from this process: fast, also where a step is tried again.

        Args:
            typed: what is answered to its questions.
        """
        from ingest_pipelines.cli.app import app
        from ingest_pipelines.orchestration.assets import step_errors

        wanted = self._environment(environment)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(step_errors, "FIRST_PAUSE_SECONDS", 0.05)
            patch.setattr(testing, "_get_command", _COMMAND)
            for name in os.environ.keys() - wanted:
                patch.delenv(name)
            for name, value in wanted.items():
                patch.setenv(name, value)
            answers = "".join(f"{answer}\n" for answer in typed)
            result = testing.CliRunner().invoke(app, [str(word) for word in words], input=answers, prog_name="ingest")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def process(self, *words: object, **environment: str) -> subprocess.Popen[str]:
        """The command as a process of its own, with pipes."""
        return subprocess.Popen(
            [sys.executable, "-c", f"{HEARS_CTRL_C}; from ingest_pipelines.cli import main; main()", *map(str, words)],
            cwd=self.folder, env=self._environment(environment), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """The environment without anything that would lead a command elsewhere."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "DAGSTER_", "PG"))}
        return {**kept, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", **self.environment, **more}
