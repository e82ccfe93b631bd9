"""Processes that a page starts for long work: they survive a reload of the page, and end with the studio."""

from __future__ import annotations

import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingest_pipelines.actions import apart

MOST_KEPT = 50
"""Pieces of work whose answers are kept."""


@dataclass
class Work:
    """A process, how far it is, and its answer.

    Attributes:
        stage: the last one that it reported.
        answer: None as long as it runs.
    """

    process: subprocess.Popen[bytes]
    stage: str = "starting"
    answer: Mapping[str, Any] | None = None
    cancelled: bool = False

    @property
    def running(self) -> bool:
        """Whether it has not answered yet."""
        return self.answer is None


class Workshop:
    """The processes of one studio, by a name that nobody guesses."""

    def __init__(self) -> None:
        self._work: dict[str, Work] = {}
        self._lock = threading.Lock()

    def start(self, module: str, request: Mapping[str, Any]) -> str:
        """Starts `python -m MODULE` and asks it; returns the work's name."""
        process = apart.start(module)
        apart.ask(process, request)
        name, work = secrets.token_hex(12), Work(process)
        with self._lock:
            self._work[name] = work
            for old in [key for key, other in self._work.items() if not other.running][:-MOST_KEPT]:
                del self._work[old]
        threading.Thread(target=self._follow, args=(work,), daemon=True).start()
        return name

    def _follow(self, work: Work) -> None:
        answer: dict[str, Any] | None = None
        for said in apart.reports(work.process):
            if "stage" in said:
                work.stage = str(said["stage"])
            else:
                answer = said
        code = work.process.returncode
        if work.cancelled and (answer is None or "error" in answer):
            answer = {"error": "cancelled", "hint": "nothing was changed"}  # also one that had hardly begun
        work.answer = answer or {"error": f"it ended without an answer (exit code {code})", "hint": "try again"}

    def look(self, name: str) -> Work | None:
        """The work of that name; None: there is none, or the studio was started again since."""
        return self._work.get(name)

    def cancel(self, name: str) -> None:
        """Ends the work as Ctrl-C does."""
        work = self._work.get(name)
        if work is not None and work.process.poll() is None:
            work.cancelled = True
            work.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ends all work."""
        for name in list(self._work):
            self.cancel(name)
