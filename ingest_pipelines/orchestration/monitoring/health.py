"""What is wrong with the processes that load items, judged from what was read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ingest_pipelines.errors import printable
from ingest_pipelines.orchestration.monitoring.source_troubles import DownSource

HEARTBEAT_PATIENCE = timedelta(seconds=90)
"""Dagster's daemon writes a heartbeat every 30 seconds."""

TICK_PATIENCE = timedelta(seconds=60)
"""How long one tick may take; Dagster ends it then."""

PERIODS_MISSED = 3
SHORTEST_PERIOD = timedelta(seconds=30)
"""Dagster looks at its sensors every few seconds, and at many of them one after the other."""

TICKS_FAILED = 3
"""So many failed ticks in a row are no accident."""

UNREACHABLE_FOR = timedelta(seconds=60)
"""A tick that did not reach the code server counts for so long: the next one may already have another code server."""

QUEUE_PATIENCE = timedelta(minutes=2)
RESTART_SHOWN_FOR = timedelta(seconds=60)
"""A process that was started again is a finding for so long."""

NAMED = 3
"""Sensors, runs or imports that a sentence names."""


@dataclass(frozen=True)
class HealthFinding:
    """The state of one part.

    Attributes:
        name: of the part: `daemon`, `queue` ...
        since: when the trouble began, as far as is known; None while all is well.
        words: what is so; never a row's value, a secret or a server's own words.
        next_step: the command to type; "" where nothing is to be done.
    """

    name: str
    ok: bool
    words: str
    since: datetime | None = None
    next_step: str = ""


def judge_daemon(beats: Mapping[str, datetime | None], now: datetime) -> HealthFinding:
    """Whether each part of Dagster's daemon gives a sign of life.

    Args:
        beats: the last heartbeat of each part that this installation needs.
    """
    silent = {name: at for name, at in beats.items() if at is None or abs(now - at) > HEARTBEAT_PATIENCE}
    if not silent:
        return HealthFinding("daemon", True, f"{len(beats)} parts give signs of life")
    ahead = max((at for at in silent.values() if at is not None), default=now) - now
    if ahead > HEARTBEAT_PATIENCE:
        words = f"the clock was set back by {_span(ahead)}, and Dagster's daemon waits that long: nothing is launched"
        return HealthFinding("daemon", False, words, None, "restart the daemon")
    known = [at for at in silent.values() if at is not None]
    what = "Dagster's daemon" if len(silent) == len(beats) else f"{_names(silent)} of Dagster's daemon"
    words = (
        f"{what} has given no sign of life for {_span(now - min(known))}: nothing is launched, sensors do not look"
        if known
        else f"{what} has not run yet: nothing is launched, sensors do not look"
    )
    return HealthFinding("daemon", False, words, min(known, default=None), "restart the daemon; see its log")


@dataclass(frozen=True)
class Ticking:
    """A sensor or schedule that should tick.

    Attributes:
        ticked_at: its last tick.
        overdue_at: when it should have ticked again at the latest.
        failed: failed ticks in a row, in the last minutes.
        failing_since: the first of them.
    """

    name: str
    ticked_at: datetime | None
    overdue_at: datetime | None
    failed: int = 0
    failing_since: datetime | None = None


def sensor_overdue(ticked_at: datetime, period: timedelta) -> datetime:
    """When a sensor with that period has missed three ticks."""
    return ticked_at + PERIODS_MISSED * max(period, SHORTEST_PERIOD) + TICK_PATIENCE


def judge_ticks(ticking: Collection[Ticking], now: datetime) -> HealthFinding:
    """Whether sensors and schedules tick, and their ticks succeed."""
    failing = sorted((one for one in ticking if one.failed >= TICKS_FAILED), key=lambda one: -one.failed)
    late = [one for one in ticking if one.overdue_at is not None and one.overdue_at < now and one not in failing]
    parts, starts = [], []
    if failing:
        parts.append(f"the last {failing[0].failed} ticks of {_names(one.name for one in failing)} failed")
        starts += [one.failing_since for one in failing if one.failing_since is not None]
    if late:
        parts.append(f"{_names(one.name for one in late)} missed {PERIODS_MISSED} ticks")
        starts += [one.ticked_at for one in late if one.ticked_at is not None]
    if not parts:
        return HealthFinding("ticks", True, f"{len(ticking)} sensors and schedules tick")
    return HealthFinding(
        "ticks", False, f"{'; '.join(parts)}: what they look for is not loaded", min(starts, default=None),
        "open Automation in the Dagster UI; its ticks have the error",
    )  # fmt: skip


def judge_code_server(unreached: Sequence[datetime], load_error: bool, now: datetime) -> HealthFinding:
    """Whether the code server answers.

    Args:
        unreached: when ticks did not reach it, and no later tick of that sensor or schedule did.
        load_error: the webserver has no definitions.
    """
    recent = [at for at in unreached if now - at <= UNREACHABLE_FOR + TICK_PATIENCE]
    if recent:
        words = f"the code server did not answer {_count(len(recent), 'sensor or schedule', 'sensors and schedules')}"
        return HealthFinding("code server", False, words, min(recent), "the daemon's log has the reason")
    if load_error:
        words = "the webserver has no definitions: its code server does not run"
        return HealthFinding(
            "code server", False, words, None, "run: ingest check; then press Reload definitions in the Dagster UI"
        )
    return HealthFinding("code server", True, "it answers")


@dataclass(frozen=True)
class StuckRun:
    """A run that does not go on.

    Attributes:
        why: what it does not do, after "run 12345678 ".
    """

    run_id: str
    import_name: str
    since: datetime
    why: str


def judge_queue(stuck: Sequence[StuckRun], queued: int, running: int) -> HealthFinding:
    """Whether runs go on."""
    if not stuck:
        return HealthFinding("queue", True, f"{running} running, {queued} queued")
    first = min(stuck, key=lambda run: run.since)
    of_import = f" of import {first.import_name}" if first.import_name else ""
    more = f"; and {_count(len(stuck) - 1, 'other run', 'other runs')}" if len(stuck) > 1 else ""
    return HealthFinding(
        "queue", False, f"run {first.run_id[:8]}{of_import} {first.why}{more}", first.since,
        "ingest status; a run that does not end: Terminate on its page",
    )  # fmt: skip


def judge_sources(down: Sequence[DownSource], known: int) -> HealthFinding:
    """Whether every live import's source answered when it was last looked at."""
    if not down:
        return HealthFinding("sources", True, f"{_count(known, 'import has', 'imports have')} a source that answers")
    first = min(down, key=lambda source: source.since)
    others = len({source.connection for source in down} - {first.connection})
    rest = f"; and {_count(others, 'other connection', 'other connections')}" if others else ""
    words = (
        f"connection {first.connection} is {first.trouble}"
        f"{f' at {first.step}' if first.step else ''}: {_names(first.imports)} {_wait(first.imports)}{rest}"
    )
    return HealthFinding(
        "sources", False, words, first.since, f"ingest check {first.imports[0]} --connect" if first.imports else ""
    )


def judge_project(mistakes: Mapping[str, str], since: datetime | None) -> HealthFinding:
    """Whether every live import's YAML can be read.

    Args:
        mistakes: of each live import without a usable YAML, the first mistake.
        since: when this was first seen.
    """
    if not mistakes:
        return HealthFinding("project", True, "the YAML of every live import is right")
    name, mistake = next(iter(sorted(mistakes.items())))
    rest = f"; and {_count(len(mistakes) - 1, 'other import', 'other imports')}" if len(mistakes) > 1 else ""
    words = f"import {name} cannot run: {printable(mistake, limit=400)}{rest}"
    return HealthFinding("project", False, words, since, f"fix it, then run: ingest check {name}")


@dataclass(frozen=True)
class Death:
    """A process that ended or hung, and was started again.

    Attributes:
        how: "ended by itself with signal 9", "did not answer" ...
    """

    name: str
    at: datetime
    how: str


def judge_processes(deaths: Iterable[Death], now: datetime) -> HealthFinding:
    """Whether no process had to be started again in the last minute."""
    recent = [death for death in deaths if now - death.at <= RESTART_SHOWN_FOR]
    if not recent:
        return HealthFinding("processes", True, "none had to be started again in the last minute")
    last = recent[-1]
    words = f"the {last.name} {last.how} and was started again"
    if len(recent) > 1:
        words += f"; {len(recent)} processes were, in the last minute"
    return HealthFinding("processes", False, words, recent[0].at, "its log has the reason")


def _names(names: Iterable[str]) -> str:
    listed = sorted(names)
    shown = ", ".join(printable(name) for name in listed[:NAMED])
    return shown if len(listed) <= NAMED else f"{shown} and {len(listed) - NAMED} more"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _wait(imports: Sequence[str]) -> str:
    return "waits" if len(imports) == 1 else "wait"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
