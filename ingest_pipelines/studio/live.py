"""The state of all imports for Home: looked at again while a page listens, and pushed as it changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from starlette.concurrency import run_in_threadpool

from ingest_pipelines import ledger
from ingest_pipelines.actions.status import import_lines
from ingest_pipelines.actions.target import now, target_of
from ingest_pipelines.config import Project, Settings
from ingest_pipelines.config.current_project import read_current_project
from ingest_pipelines.errors import IngestError
from ingest_pipelines.ledger import LoadBar

if TYPE_CHECKING:
    from ingest_pipelines.orchestration.monitoring.overview import Overview

Mark = tuple[int | None, int | None]
"""The newest load and the newest action of a person in the ledger."""

LOOK_SECONDS = 2.0
"""Between two looks at everything, queue and runs included, while a page listens; longer if a look takes long."""

LOOK_SHARE = 0.1
"""Of its time that the studio looks, at most, while nothing is known to have changed."""

PULSE_SECONDS = 0.1
"""Between two looks at whether the ledger has changed: a commit is on the page within a third of a second."""

BARS = 20
"""Loads of an import that Home draws."""


@dataclass(frozen=True)
class Seen:
    """The project's imports at one moment.

    Attributes:
        lines: as `ingest status --json` prints them, without ages: two looks are equal if nothing happened.
        bars: the last loads of each import, the oldest first.
        troubles: why a part of the state is not known.
    """

    at: datetime
    project: Project
    lines: Sequence[Mapping[str, Any]]
    bars: Mapping[str, Sequence[LoadBar]]
    troubles: Sequence[str]


class Lookout:
    """Looks at all imports for as many pages as ask, one look at a time. Without a page it does nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._look: Any = None
        self._pulse: psycopg.Connection | None = None
        self._warnings: list[str] = []
        self._seen: Seen | None = None
        self._overview: Overview | None = None
        self._looked_at = float("-inf")
        self._look_again_after = LOOK_SECONDS
        self._mark: Mark | None = None
        self._felt_at = float("-inf")
        self._bars: dict[str, Sequence[LoadBar]] = {}
        self._last_loads: dict[str, int | None] = {}

    def seen(self, at_most_seconds: float = LOOK_SECONDS) -> Seen:
        """The state, at most that old.

        Raises:
            IngestError: the project's folder or the target cannot be read.
        """
        with self._lock:
            if self._seen is None or time.monotonic() - self._looked_at > at_most_seconds:
                begun = time.monotonic()
                self._seen = self._look_now()
                self._looked_at = time.monotonic()
                self._look_again_after = max(LOOK_SECONDS, (self._looked_at - begun) / LOOK_SHARE)
            return self._seen

    def look_again(self) -> None:
        """The next page looks at everything again: a person has changed something."""
        with self._lock:
            self._looked_at = float("-inf")

    async def changes(self) -> AsyncIterator[Seen]:
        """The state whenever it may have changed, for as long as the page listens.

        The state of an import changes without the ledger, too: a run begins, a tick passes.
        """
        while True:
            try:
                yield await run_in_threadpool(self._seen_if_changed)
            except IngestError:
                pass  # the target does not answer now; the page keeps what it has
            await asyncio.sleep(PULSE_SECONDS)

    def _seen_if_changed(self) -> Seen:
        with self._lock:
            age = self._look_again_after
            if time.monotonic() - self._felt_at > PULSE_SECONDS / 2:  # else another page has just asked
                before, mark, self._felt_at = self._mark, self._ledgers_mark(), time.monotonic()
                self._mark = mark
                if mark != before:
                    self._looked_at = float("-inf")  # the next pulse looks at everything
                    if before is not None and mark is not None and self._seen is not None:
                        self._seen = self._with_changes(self._seen, before)
                        return self._seen
        return self.seen(age)

    def _with_changes(self, seen: Seen, before: Mark) -> Seen:
        """The state with what the ledger got since then, of the imports that it concerns: soon, and without Dagster."""
        assert self._overview is not None
        at, survey = now(), self._overview.survey
        with target_of(self._settings).ledger() as connection:
            names = ledger.imports_since(connection, *before)
            states = ledger.list_imports(connection)
            summaries = {**survey.summaries, **ledger.summaries(connection, sorted(names))}
            own = [(item.import_name, item.item) for item in survey.open_items if item.import_name in names]
            settled = ledger.settled_among(connection, own) if own else set()
        open_items = [item for item in survey.open_items if (item.import_name, item.item) not in settled]
        survey = replace(survey, states=states, summaries=summaries, open_items=open_items)
        self._overview = replace(self._overview, survey=survey)
        changed = {line["import"]: line for line in self._lines(seen.project, self._overview, at, names)}
        lines = [changed.get(line["import"], line) for line in seen.lines]
        self._read_bars({line["import"]: line["load"] for line in lines})
        return replace(seen, at=at, lines=lines, bars=dict(self._bars))

    def _ledgers_mark(self) -> Mark | None:
        """Changes with every load and every action of a person; two looks into an index."""
        try:
            if self._pulse is None or self._pulse.closed:
                self._pulse = target_of(self._settings, writes=True).connect()
                self._pulse.autocommit = True
            return ledger.newest_entries(self._pulse)
        except psycopg.Error:
            if self._pulse is not None:
                self._pulse.close()
            self._pulse = None
            return None

    def _look_now(self) -> Seen:
        if self._look is None:
            from ingest_pipelines.orchestration.monitoring.overview import looking

            self._look = self._stack.enter_context(looking(self._settings, self._warnings.append))
        self._warnings.clear()
        at, project = now(), read_current_project(self._settings.home)
        self._overview = overview = self._look(project, at)
        lines = self._lines(project, overview, at)
        self._read_bars({line["import"]: line["load"] for line in lines})
        return Seen(at, project, lines, dict(self._bars), tuple(self._warnings))

    @staticmethod
    def _lines(
        project: Project, overview: Overview, at: datetime, only: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        seen = overview.survey
        lines = import_lines(
            project, seen.states, seen.summaries, at, open_items=seen.open_items, running=seen.running,
            ticks=overview.ticks, checks=seen.source_checks, kept_rows=seen.kept_rows, only=only,
        )  # fmt: skip
        for line in lines:
            del line["age_seconds"]  # no page shows it, and each look would differ from the one before
        return lines

    def _read_bars(self, last_loads: dict[str, int | None]) -> None:
        """Reads the loads of imports that have a new one."""
        changed = [name for name, load in last_loads.items() if self._last_loads.get(name) != load]
        if changed:
            with target_of(self._settings).ledger() as connection:
                self._bars.update(ledger.recent_bars(connection, changed, BARS))
        self._last_loads = last_loads

    def close(self) -> None:
        """Closes connections to the target and to Dagster's storage."""
        if self._pulse is not None:
            self._pulse.close()
        self._stack.close()
