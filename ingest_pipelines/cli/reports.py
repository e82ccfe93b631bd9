"""`ingest status` and `ingest report`: the state of every import, and the loads of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.model import item_name

if TYPE_CHECKING:
    from ingest_pipelines.config import Project, Settings
    from ingest_pipelines.ledger import ImportState, ImportSummary, Load

COUNTS = ("read", "inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")


def status(json: Json = False) -> None:
    """Show every import: status, last load, counts, next run, and what needs your attention."""
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.target import ledger_of, now
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    with ledger_of(settings) as connection:
        states, summaries = ledger.list_imports(connection), ledger.summaries(connection)
    running, ticks = _live(settings, project, now())
    lines = import_lines(project, states, summaries, now(), running=running, ticks=ticks)
    if json:
        screen.as_json(lines)
        return
    screen.say(f"{screen.plural(len(lines), 'import')} in {project.home}")
    for line in status_text(lines, now()):
        screen.say(line)


def _live(settings: Settings, project: Project, now: datetime) -> tuple[set[str], dict[str, datetime | None]]:
    """Imports that are running now, and each schedule's next tick. Asks Dagster, which is slower than the ledger."""
    from ingest_pipelines.orchestration.instance import open_instance
    from ingest_pipelines.orchestration.runs.live_status import next_tick, running_imports

    schedules = {name: bound.spec.schedule for name, bound in project.imports.items() if bound.spec.schedule}
    ticks = {name: next_tick(plan, now) for name, plan in schedules.items()}
    try:
        instance = open_instance(settings)
    except TargetUnavailable as error:
        screen.note(f"{screen.painted('warning', 'warn')}: {error.message}; imports that are running now are not shown")
        return set(), ticks
    try:
        return running_imports(instance), ticks
    finally:
        instance.dispose()


def report(
    name: ImportName,
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="At most this many loads.")] = 10,
    json: Json = False,
) -> None:
    """List an import's loads, newest first."""
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.target import ledger_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    bound = read_project(settings.home).require(name)
    with ledger_of(settings) as connection:
        loads = ledger.recent_loads(connection, bound.name, last)
    if json:
        screen.as_json([load_json(load) for load in loads])
        return
    if not loads:
        screen.say(f"{name}: no load yet\n  ingest run {name}")
        return
    screen.say(f"{screen.painted(name, 'strong')}: {screen.plural(len(loads), 'load')}, newest first")
    screen.say()
    for row in count_table(loads):
        screen.say(row)


def load_json(load: Load) -> dict[str, Any]:
    """A load as JSON, under the ledger's column names."""
    columns = asdict(load)
    started, finished = load.started_at, load.finished_at
    first = {"load": columns.pop("id"), "import": columns.pop("import_name"), "item": columns.pop("item")}
    return {
        **first,
        "status": columns.pop("status"),
        **{name: columns.pop(name) for name in COUNTS},
        **columns,
        "duration_seconds": round((finished - started).total_seconds(), 3) if finished else None,
    }


def count_table(loads: Iterable[Load]) -> list[str]:
    """Lines per load: its counts; its item, time and duration; what `--item` takes, where that is another name."""
    shown = list(loads)
    widths = {name: max(len(name), *(len(screen.number(getattr(load, name))) for load in shown)) for name in COUNTS}
    head = max(4, *(len(str(load.id)) for load in shown))
    fits = 2 + head + sum(2 + size for size in widths.values()) <= screen.width()
    if not fits:
        head = 0
    header = f"  {'load':>{head}}  " + "  ".join(name.rjust(size) for name, size in widths.items())
    lines = [screen.painted(header, "dim")] if fits else []
    for load in shown:
        counts = [screen.number(getattr(load, name)) for name in COUNTS]
        if fits:
            aligned = "  ".join(count.rjust(size) for count, size in zip(counts, widths.values(), strict=True))
            lines.append(f"  {load.id:>{head}}  {aligned}")
        else:
            lines += screen.stacked(("load", *COUNTS), [(str(load.id), *counts)])
        facts = (screen.painted(load.status, screen.STATUS_STYLES.get(load.status)), *load_facts(load))
        lines.append(f"  {'':{head}}  {' · '.join(facts)}")
        if item_name(load.item) != load.item:
            lines.append(f"  {'':{head}}  {screen.wrapped(f'--item {load.item}', head + 4)}")
        lines += [f"  {'':{head}}  {line}" for line in (*load.error.splitlines(), *load.warnings)]
    return lines


def load_facts(load: Load) -> tuple[str, ...]:
    """The item's file, start time, duration, and whether a person forced the load."""
    seconds = f"{(load.finished_at - load.started_at).total_seconds():.1f} s" if load.finished_at else "still running"
    return (item_name(load.item), screen.moment(load.started_at), seconds, *(("forced",) if load.forced else ()))


def import_lines(
    project: Project,
    states: Mapping[str, ImportState],
    summaries: Mapping[str, ImportSummary],
    now: datetime,
    *,
    running: Collection[str] = (),
    ticks: Mapping[str, datetime | None] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """The data of `ingest status`: one entry per import, by name, including imports with mistakes.

    Args:
        running: imports that have a run in progress.
        ticks: next tick of each schedule.
    """
    lines = []
    for name in sorted({*project.imports, *project.broken}):
        summary = summaries.get(name)
        state = _status_of(project, name, states.get(name), summary, now)
        if name in running and state != "invalid":  # a run of a broken import ends, its mistakes stay
            state = "running"
        committed_at = summary.committed_at if summary else None
        lines.append(
            {
                "import": name,
                "status": state,
                "load": summary.load if summary else None,
                "item": summary.item if summary else None,
                **{count: getattr(summary, count) if summary else 0 for count in COUNTS},
                "started_at": summary.started_at if summary else None,
                "finished_at": summary.finished_at if summary else None,
                "committed_at": committed_at,
                "age_seconds": round((now - committed_at).total_seconds()) if committed_at else None,
                "next": _next_of(project, name, state, ticks),
                "next_at": ticks.get(name) if state not in _RESTING else None,
                "error": _error_of(project, name, summary),
            }
        )
    return lines


_RESTING = {"draft", "paused", "ended", "invalid"}
"""Statuses of imports that run only by hand or not at all."""


def _status_of(
    project: Project, name: str, state: ImportState | None, summary: ImportSummary | None, now: datetime
) -> str:
    """The import's status, as docs/loading.md defines it. `invalid`: its YAML has mistakes."""
    if name in project.broken:
        return "invalid"
    spec = project.imports[name].spec
    current = state.status if state and state.status else spec.status
    if current != "active":
        return current
    ends_on = spec.schedule.ends_on if spec.schedule is not None else None
    if ends_on is not None and now.date() > ends_on:
        return "ended"
    if summary is None:
        return "scheduled"
    if summary.status in {"committed", "skipped"}:
        return "completed_with_rejects" if summary.rejected else "completed"
    return "running" if summary.status == "running" else "failed"


def _next_of(project: Project, name: str, state: str, ticks: Mapping[str, datetime | None]) -> str:
    """What starts the next run: a time, a file, or a person."""
    if state in _RESTING:
        return "-"
    if ticks.get(name) is not None:
        return screen.moment(ticks[name])
    bound = project.imports[name]
    watched = bound.reads_files and not bound.one_time
    return "a file" if watched and (bound.spec.sensor is None or bound.spec.sensor.enabled) else "by hand"


def _error_of(project: Project, name: str, summary: ImportSummary | None) -> str:
    if name in project.broken:
        return "\n".join(project.broken[name].mistakes)
    return summary.error if summary else ""


ORDER = (
    "invalid", "failed", "running", "completed_with_rejects", "completed", "scheduled", "paused", "draft", "ended",
)  # fmt: skip
"""Statuses, the most urgent first."""

_NEXT_COMMAND: Mapping[str, str] = {
    "invalid": "ingest check {}",
    "failed": "ingest report {}",
    "completed_with_rejects": "ingest rejects list {}",
    "scheduled": "ingest run {}",
    "draft": "ingest activate {}",
    "paused": "ingest resume {}",
}


def status_text(lines: Sequence[dict[str, Any]], now: datetime) -> Iterator[str]:
    """Imports grouped by status, the most urgent first, each status with the command to type next."""
    for state in ORDER:
        members = [line for line in lines if line["status"] == state]
        if not members:
            continue
        yield ""
        command = _NEXT_COMMAND.get(state, "").format(members[0]["import"] if len(members) == 1 else "NAME")
        title = screen.painted(state.replace("_", " "), screen.STATUS_STYLES.get(state))
        yield f"{title}{f'    {command}' if command else ''}"
        if state == "invalid":
            yield from _mistakes(members)
            continue
        yield from screen.columns(_HEADER, [_cells(line, now) for line in members], right=range(2, 5))
        if state == "failed":
            yield from _failures(members, now)


_HEADER = ("import", "last load", "read", "changed", "rejected", "next")


def _cells(line: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    if line["load"] is None:
        return (line["import"], "never", "-", "-", "-", line["next"])
    changed = line["inserted"] + line["updated"]
    counts = (screen.number(rows) for rows in (line["read"], changed, line["rejected"]))
    return (line["import"], screen.ago(line["started_at"], now), *counts, line["next"])


def _failures(members: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Why each import failed, and how old the data in the table are."""
    for line in members:
        yield ""
        first, *rest = str(line["error"]).splitlines() or [f"import {line['import']}"]
        named = first.strip() if line["import"] in first else f"{line['import']}: {first.strip()}"
        yield f"  {screen.wrapped(named, 4)}"
        for text in rest:
            yield f"    {screen.wrapped(text.strip(), 4)}"
        committed = line["committed_at"]
        yield (
            f"    nothing of it is in the table; the last committed load was {screen.ago(committed, now)}"
            if committed
            else "    nothing of this import is in the table yet"
        )


def _mistakes(members: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for line in members:
        for mistake in str(line["error"]).splitlines():
            yield f"  {screen.wrapped(mistake, 4)}"
