"""`ingest status` and `ingest report`: what is true now, and how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json

if TYPE_CHECKING:
    from ingest_pipelines.config import Project
    from ingest_pipelines.ledger import ImportState, ImportSummary, Load

COUNTS = ("read", "inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")


def status(json: Json = False) -> None:
    """Every import: its status, its last load, its counts."""
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.target import ledger_of, now
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    with ledger_of(settings) as connection:
        lines = import_lines(project, ledger.list_imports(connection), ledger.summaries(connection), now())
    if json:
        screen.as_json(lines)
        return
    screen.say(f"{screen.plural(len(lines), 'import')} in {project.home}")
    screen.say()
    for line in lines:
        _print_import(line, now())
    _print_next(lines)


def report(
    name: ImportName,
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="How many loads.")] = 10,
    json: Json = False,
) -> None:
    """An import's loads, newest first."""
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
    screen.say(f"{screen.painted(name, 'strong')}: the last {screen.plural(len(loads), 'load')}")
    screen.say()
    for row in count_table(loads):
        screen.say(row)


def load_json(load: Load) -> dict[str, Any]:
    """A load in the ledger's own column names."""
    given = asdict(load)
    started, finished = load.started_at, load.finished_at
    first = {"load": given.pop("id"), "import": given.pop("import_name"), "item": given.pop("item")}
    return {
        **first,
        "status": given.pop("status"),
        **{name: given.pop(name) for name in COUNTS},
        **given,
        "duration_seconds": round((finished - started).total_seconds(), 3) if finished else None,
    }


def count_table(loads: Iterable[Load]) -> list[str]:
    """Two lines per load: its counts, and below them which item it was."""
    shown = list(loads)
    widths = {name: max(len(name), *(len(screen.number(getattr(load, name))) for load in shown)) for name in COUNTS}
    head = max(4, *(len(str(load.id)) for load in shown))
    lines = [
        screen.painted(f"  {'load':>{head}}  " + "  ".join(name.rjust(size) for name, size in widths.items()), "dim")
    ]
    for load in shown:
        counts = "  ".join(screen.number(getattr(load, name)).rjust(size) for name, size in widths.items())
        lines.append(f"  {load.id:>{head}}  {counts}")
        facts = (screen.painted(load.status, screen.STATUS_STYLES.get(load.status)), *load_facts(load))
        lines.append(f"  {'':{head}}  {' · '.join(facts)}")
        lines += [f"  {'':{head}}  {line}" for line in (*load.error.splitlines(), *load.warnings)]
    return lines


def load_facts(load: Load) -> tuple[str, ...]:
    """The item's file, when, how long, and whether a person forced it."""
    seconds = f"{(load.finished_at - load.started_at).total_seconds():.1f} s" if load.finished_at else "still running"
    return (item_name(load.item), screen.moment(load.started_at), seconds, *(("forced",) if load.forced else ()))


def item_name(key: str) -> str:
    """`Customers_1740981600.csv` of `2025-03-03T06-00-00Z_Customers_1740981600.csv_3f9a1c2b`; else the key."""
    moment, _, rest = key.partition("_")
    name, _, tail = rest.rpartition("_")
    return name if name and moment.endswith("Z") and len(tail) == 8 else key


def import_lines(
    project: Project,
    states: Mapping[str, ImportState],
    summaries: Mapping[str, ImportSummary],
    now: datetime,
) -> list[dict[str, Any]]:
    """What `status` says of every import, broken ones included, by name."""
    lines = []
    for name in sorted({*project.imports, *project.broken}):
        summary = summaries.get(name)
        lines.append(
            {
                "import": name,
                "status": _status_of(project, name, states.get(name), summary, now),
                "load": summary.load if summary else None,
                "item": summary.item if summary else None,
                **{count: getattr(summary, count) if summary else 0 for count in COUNTS},
                "started_at": summary.started_at if summary else None,
                "finished_at": summary.finished_at if summary else None,
                "committed_at": summary.committed_at if summary else None,
                "error": _error_of(project, name, summary),
            }
        )
    return lines


def _status_of(
    project: Project, name: str, state: ImportState | None, summary: ImportSummary | None, now: datetime
) -> str:
    """Design 7's statuses. `invalid`: its YAML has mistakes."""
    if name in project.broken:
        return "invalid"
    spec = project.imports[name].spec
    wanted = state.status if state and state.status else spec.status
    if wanted != "active":
        return wanted
    if spec.schedule is not None and spec.schedule.until is not None and now.date() > spec.schedule.until:
        return "ended"
    if summary is None:
        return "scheduled"
    if summary.status in {"committed", "skipped"}:
        return "completed_with_rejects" if summary.rejected else "completed"
    return "running" if summary.status == "running" else "failed"


def _error_of(project: Project, name: str, summary: ImportSummary | None) -> str:
    if name in project.broken:
        return "\n".join(project.broken[name].mistakes)
    return summary.error if summary else ""


def _print_import(line: dict[str, Any], now: datetime) -> None:
    state = str(line["status"])
    shown = screen.painted(state.replace("_", " "), screen.STATUS_STYLES.get(state))
    screen.say(f"{screen.painted(line['import'].ljust(20), 'strong')}  {shown}")
    if line["load"] is not None:
        counts = ", ".join(f"{screen.number(line[name])} {name}" for name in COUNTS[1:] if line[name]) or "no rows"
        screen.say(
            f"  {item_name(line['item'])}, {screen.ago(line['started_at'], now)}: read {screen.number(line['read'])}"
        )
        screen.say(f"  {counts}")
    for text in str(line["error"]).splitlines():
        screen.say(f"  {text}")
    screen.say()


def _print_next(lines: list[dict[str, Any]]) -> None:
    """What a person would type now."""
    for line in lines:
        name, state = line["import"], line["status"]
        if state == "invalid":
            screen.say(f"  ingest check {name}")
        elif state == "failed":
            screen.say(f"  ingest report {name}")
        elif state == "completed_with_rejects":
            screen.say(f"  ingest rejects list {name}")
        elif state == "scheduled" and line["load"] is None:
            screen.say(f"  ingest run {name}")
