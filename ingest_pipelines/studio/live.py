"""The state of all imports for Home: looked at again while a page listens, and pushed as it changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
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
    from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
    from ingest_pipelines.orchestration.monitoring.overview import Overview

Mark = tuple[int | None, int | None]
"""The newest load and the newest action of a person in the ledger."""

LOOK_SECONDS = 2.0
"""Between two looks at everything, queue and runs included, while a page listens; longer if a look takes long."""

LOOK_SHARE = 0.1
"""Of its time that the studio looks, at most, while nothing is known to have changed."""

KEPT_SECONDS = 600.0
"""How old a look may be that a page begins with; the page listens, and gets the next look within a second."""

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
    """Looks at all imports for as many pages as ask, one look at a time. Without a page it does nothing.

    A look takes most of a second with a thousand imports. Pages do not wait for it: what the ledger got meanwhile is
    added to the last one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._look_lock = threading.Lock()
        """Held during a look; taken before `_lock`."""
        self._stack = ExitStack()
        self._look: Any = None
        self._closed = False
        self._lock = threading.Lock()
        """Held while what is known is read or changed."""
        self._pulse: psycopg.Connection | None = None
        self._warnings: list[str] = []
        self._seen: Seen | None = None
        self._overview: Overview | None = None
        self._began_at = self._ended_at = float("-inf")
        self._stale_at = float("-inf")
        self._look_seconds = 0.0
        self._background: threading.Thread | None = None
        self._mark: Mark | None = None
        self._felt_at = float("-inf")
        self._bars: dict[str, Sequence[LoadBar]] = {}
        self._last_loads: dict[str, int | None] = {}

    def seen(self, at_most_seconds: float = LOOK_SECONDS) -> Seen:
        """The state, at most that old.

        Raises:
            IngestError: the project's folder or the target cannot be read.
        """
        with self._look_lock:
            age = time.monotonic() - self._ended_at
            if self._seen is not None and age <= at_most_seconds and self._began_at >= self._stale_at:
                return self._seen
            return self._look_at_all()

    def latest(self) -> Seen:
        """The last look with what the ledger got since, for a page that listens; a look now, if that one is too old.

        Raises:
            IngestError: as `seen`.
        """
        project = read_current_project(self._settings.home)
        with self._lock:
            is_kept = time.monotonic() - self._ended_at < KEPT_SECONDS
            if is_kept and self._seen is not None and self._seen.project is project:
                self._feel()
                return self._seen
        return self.seen()

    def open_items(self, name: str) -> list[OpenItem]:
        """The items of the import that are not in the table yet, as a look finds them now.

        Raises:
            IngestError: as `seen`.
        """
        self.seen(at_most_seconds=0)
        with self._lock:
            assert self._overview is not None
            return [item for item in self._overview.survey.open_items if item.import_name == name]

    def look_again(self) -> None:
        """The next look is soon: a person has changed something."""
        with self._lock:
            self._stale_at = time.monotonic()

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
            self._feel()
            seen, age = self._seen, time.monotonic() - self._ended_at
            is_stale = self._began_at < self._stale_at and age > self._look_seconds
            is_due = is_stale or age > max(LOOK_SECONDS, self._look_seconds / LOOK_SHARE)
        if seen is None:
            return self.seen()
        if is_due:
            self._look_in_background()
        return seen

    def _look_in_background(self) -> None:
        if self._background is None or not self._background.is_alive():
            self._background = threading.Thread(target=self._try_to_look, daemon=True)
            self._background.start()

    def _try_to_look(self) -> None:
        with suppress(IngestError), self._look_lock:  # else the target does not answer now; pages keep what they have
            if not self._closed:
                self._look_at_all()

    def _feel(self) -> None:
        """Adds what the ledger got since the last time, if it got anything. The caller holds `_lock`."""
        if time.monotonic() - self._felt_at <= PULSE_SECONDS / 2:  # another page has just asked
            return
        before, mark, self._felt_at = self._mark, self._newest_entries(), time.monotonic()
        self._mark = mark
        if mark != before:
            self._stale_at = time.monotonic()
            if before is not None and mark is not None and self._seen is not None:
                self._seen = self._with_changes(self._seen, before)

    def _with_changes(self, seen: Seen, before: Mark) -> Seen:
        """The state with what the ledger got since then, of the imports that it concerns: soon, and without Dagster."""
        assert self._overview is not None
        assert self._pulse is not None
        at, survey = now(), self._overview.survey
        try:
            with self._pulse.transaction():
                names = ledger.imports_since(self._pulse, *before)
                states = {**survey.states, **ledger.list_imports(self._pulse, names)}
                summaries = {**survey.summaries, **ledger.summaries(self._pulse, sorted(names))}
                own = [(item.import_name, item.item) for item in survey.open_items if item.import_name in names]
                settled = ledger.settled_among(self._pulse, own) if own else set()
                open_items = [item for item in survey.open_items if (item.import_name, item.item) not in settled]
                survey = replace(survey, states=states, summaries=summaries, open_items=open_items)
                overview = replace(self._overview, survey=survey)
                changed = {line["import"]: line for line in self._lines(seen.project, overview, at, names)}
                lines = [changed.get(line["import"], line) for line in seen.lines]
                self._read_bars(self._pulse, lines)
        except psycopg.Error:
            self._close_pulse()
            return seen  # the next look has it
        self._overview = overview
        return replace(seen, at=at, lines=lines, bars=dict(self._bars))

    def _newest_entries(self) -> Mark | None:
        """Changes with every load and every action of a person; two looks into an index."""
        try:
            if self._pulse is None or self._pulse.closed:
                self._pulse = target_of(self._settings, writes=True).connect()
                self._pulse.autocommit = True
            return ledger.newest_entries(self._pulse)
        except psycopg.Error:
            self._close_pulse()
            return None

    def _close_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.close()
        self._pulse = None

    def _look_at_all(self) -> Seen:
        """Looks at everything; what the ledger gets meanwhile is added at its end. The caller holds `_look_lock`."""
        assert not self._closed
        began = time.monotonic()
        with self._lock:
            if began - self._felt_at > LOOK_SECONDS:  # no page listens
                self._mark, self._felt_at = self._newest_entries(), time.monotonic()
            before = self._mark
        at, project, overview = self._look_now()
        lines = self._lines(project, overview, at)
        with self._lock:
            self._overview = overview
            with target_of(self._settings).ledger() as connection:
                self._read_bars(connection, lines)
            seen = Seen(at, project, lines, dict(self._bars), tuple(self._warnings))
            if before is not None and self._mark is not None and self._mark != before:
                seen = self._with_changes(seen, before)
            self._seen, self._began_at, self._ended_at = seen, began, time.monotonic()
            self._look_seconds = self._ended_at - began
            return seen

    def _look_now(self) -> tuple[datetime, Project, Overview]:
        if self._look is None:
            from ingest_pipelines.orchestration.monitoring.overview import looking

            self._look = self._stack.enter_context(looking(self._settings, self._warnings.append))
        self._warnings.clear()
        at, project = now(), read_current_project(self._settings.home)
        return at, project, self._look(project, at)

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

    def _read_bars(self, connection: psycopg.Connection, lines: Sequence[Mapping[str, Any]]) -> None:
        """Reads the loads of imports that have a new one."""
        last_loads = {line["import"]: line["load"] for line in lines}
        changed = [name for name, load in last_loads.items() if self._last_loads.get(name) != load]
        if changed:
            self._bars.update(ledger.recent_bars(connection, changed, BARS))
        self._last_loads = last_loads

    def close(self) -> None:
        """Closes connections to the target and to Dagster's storage, once no look is under way."""
        with self._look_lock, self._lock:
            self._closed = True
            self._close_pulse()
            self._stack.close()
