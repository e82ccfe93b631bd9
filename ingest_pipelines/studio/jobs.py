"""Runs that pages start: each is a process of its own, whose stages Home and the import's page show."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from typing import Literal

from ingest_pipelines.actions import apart
from ingest_pipelines.actions.run_apart import WantedRun
from ingest_pipelines.actions.target import now
from ingest_pipelines.actions.wording import counts_words, plural
from ingest_pipelines.errors import UsageError

MOST_AT_ONCE = 4
"""Each run is a process with a few hundred megabytes; runs of one table wait for each other anyway."""

KEPT = 50
"""Ended jobs that pages still show."""

STOP_SECONDS = 15.0
"""How long a run that is merging gets to roll back when the studio ends."""

STAGES = {"land": "reading", "validate": "validating", "merge": "merging"}


@dataclass
class Job:
    """A run that a page started.

    Attributes:
        stage: what it does now, in words.
        rows, expected_rows: that have been validated so far, of about how many; 0: that is not known.
        error: why it ended without a commit; "" if it did not.
    """

    id: int
    request: WantedRun
    started_at: datetime
    process: subprocess.Popen[bytes] = field(repr=False)
    stage: str = "starting"
    rows: int = 0
    expected_rows: int = 0
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    loads: Sequence[int] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    resolved: int = 0
    error: str = ""
    hint: str = ""
    cancelled: bool = False

    @property
    def said(self) -> str:
        """How it ended, in a sentence."""
        name = self.request.import_name
        if self.state == "done" and self.request.load is not None:
            return f"{name}: {plural(self.resolved, 'reject')} of load {self.request.load} resolved"
        if self.state == "done":
            return f"{name}: {counts_words(self.counts)}" if self.loads else f"{name}: nothing to load"
        return f"{name}: {self.error}"


class Jobs:
    """The jobs of this studio, the newest first."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._awaited: set[str] = set()

    @contextmanager
    def place(self, name: str) -> Iterator[Callable[[WantedRun], Job]]:
        """The place of the import's next run while its file comes: meanwhile nobody else starts one, or uploads.

        Yields:
            what starts the run.

        Raises:
            UsageError: the import runs already from here or a file for it comes, or too many runs are under way.
        """
        with self._lock:
            self._refuse_second(name)
            self._awaited.add(name)
        try:
            yield partial(self.start, has_place=True)
        finally:
            self._awaited.discard(name)

    def _refuse_second(self, name: str) -> None:
        running = [job for job in self._jobs if job.state == "running"]
        if any(job.request.import_name == name for job in running):
            raise UsageError(f"import {name} is running already", hint="wait until it ends, or cancel it")
        if name in self._awaited:
            raise UsageError(f"a file for import {name} is being uploaded", hint="wait until it is loaded")
        if len(running) + len(self._awaited) >= MOST_AT_ONCE:
            raise UsageError(f"{MOST_AT_ONCE} runs are under way from here", hint="wait until one of them ends")

    def start(self, request: WantedRun, *, has_place: bool = False) -> Job:
        """Starts the run.

        Raises:
            UsageError: the import runs already from here, or too many do.
        """
        with self._lock:
            if not has_place:
                self._refuse_second(request.import_name)
            job = Job(next(self._numbers), request, now(), apart.start("ingest_pipelines.actions.run_apart"))
            self._jobs.appendleft(job)
            while len(self._jobs) > KEPT and self._jobs[-1].state != "running":
                self._jobs.pop()
        apart.ask(job.process, asdict(request))
        threading.Thread(target=self._follow, args=(job,), daemon=True).start()
        return job

    def cancel(self, name: str, number: int) -> None:
        """Interrupts the import's run, as Ctrl-C does.

        Raises:
            UsageError: there is no such run.
        """
        job = next((job for job in self.of_import(name) if job.id == number and job.state == "running"), None)
        if job is None:
            raise UsageError("this run has ended already", hint="its load is on the import's page")
        job.cancelled = True
        job.process.send_signal(signal.SIGINT)

    def of_import(self, name: str) -> list[Job]:
        """The import's jobs, the newest first."""
        return [job for job in list(self._jobs) if job.request.import_name == name]

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        return list(self._jobs)

    def _follow(self, job: Job) -> None:
        """Takes in what the process reports, until it ends."""
        outcome: dict[str, object] | None = None
        for said in apart.reports(job.process):
            if "stage" in said:
                job.stage, job.rows = STAGES.get(said["stage"], said["stage"]), 0
            elif "rows" in said:
                job.rows, job.expected_rows = said["rows"], said["of"]
            else:
                outcome = said
        if outcome is None and job.cancelled:
            job.error, job.hint = "cancelled", "what was not committed changed nothing"
        elif outcome is None:
            job.error, job.hint = "its process ended without a report", "what was not committed changed nothing"
        else:
            loads = outcome.get("loads")
            job.loads = loads if isinstance(loads, list) else ()
            counts = outcome.get("counts")
            job.counts = counts if isinstance(counts, dict) else {}
            resolved = outcome.get("resolved")
            job.resolved = resolved if isinstance(resolved, int) else 0
            job.error, job.hint = str(outcome.get("error") or ""), str(outcome.get("hint") or "")
        job.state = "cancelled" if job.cancelled and job.error else "failed" if job.error else "done"

    def close(self) -> None:
        """Interrupts every run and waits until it has rolled back."""
        running = [job for job in self._jobs if job.process.poll() is None]
        for job in running:
            job.process.send_signal(signal.SIGINT)
        for job in running:
            try:
                job.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                job.process.kill()
                job.process.wait()
