"""Every import of a project with its status, its last load, what starts the next run, and its open items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.wording import moment
from ingest_pipelines.model import COUNTS

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project
    from ingest_pipelines.ledger import ImportState, ImportSummary, KeptRows, SourceCheck
    from ingest_pipelines.orchestration.monitoring.open_item import OpenItem

ORDER = (
    "invalid", "removed", "failed", "running", "waiting", "completed_with_rejects", "completed", "scheduled", "paused",
    "draft", "ended",
)  # fmt: skip
"""Statuses, the most urgent first."""

BROKEN = frozenset({"failed", "refused", "dropped", "terminated"})
"""States of open items that make an import `failed`; a test compares them with `monitoring.open_item.BROKEN`."""


def import_lines(
    project: Project,
    states: Mapping[str, ImportState],
    summaries: Mapping[str, ImportSummary],
    now: datetime,
    *,
    open_items: Sequence[OpenItem] = (),
    running: Collection[str] = (),
    ticks: Mapping[str, datetime | None] = MappingProxyType({}),
    checks: Mapping[str, SourceCheck] = MappingProxyType({}),
    kept_rows: Mapping[str, KeptRows] = MappingProxyType({}),
    only: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """The data of `ingest status`: one entry per import, by name, including imports with mistakes.

    Args:
        open_items: of all imports, the oldest first; an import that the project no longer has is shown for them.
        running: imports that have a run in progress.
        ticks: next tick of each schedule.
        checks: the last look at each import's source.
        kept_rows: unmatched rows that wait for their profiles.
        only: leaves out the lines of other imports.
    """
    from ingest_pipelines.orchestration.automation import status_of
    from ingest_pipelines.orchestration.monitoring.source_troubles import waiting_imports

    items: dict[str, list[OpenItem]] = {}
    for item in open_items:
        items.setdefault(item.import_name, []).append(item)
    active = {
        name: bound.connection_name
        for name, bound in project.imports.items()
        if status_of(states.get(name), bound.spec.status) == "active"
    }
    known = {**checks, **waiting_imports(checks, active)}
    lines = []
    for name in sorted({*project.imports, *project.broken, *items}):
        if only is not None and name not in only:
            continue
        summary, found = summaries.get(name), items.get(name, [])
        bound = project.imports.get(name) or project.partial.get(name)
        state = _status_of(project, name, states.get(name), summary, found, now, is_running=name in running)
        committed_at = summary.committed_at if summary else None
        lines.append(
            {
                "import": name,
                "status": state,
                "load": summary.load if summary else None,
                "item": summary.item if summary else None,
                **{count: getattr(summary, count) if summary else 0 for count in COUNTS},
                "cleaned": {name: dict(words) for name, words in summary.cleaned.items()} if summary else {},
                "kept": kept_rows[name].rows if name in kept_rows else 0,
                "kept_until": kept_rows[name].until if name in kept_rows else None,
                "started_at": summary.started_at if summary else None,
                "finished_at": summary.finished_at if summary else None,
                "committed_at": committed_at,
                "age_seconds": round((now - committed_at).total_seconds()) if committed_at else None,
                "next": _next_of(project, name, state, ticks),
                "next_at": ticks.get(name) if state not in _RESTING else None,
                "error": _error_of(project, name, summary),
                "items": _noun(bound),
                "source": source_json(known.get(name), bound.connection_name if bound is not None else None),
                "open_counts": dict(Counter(item.state for item in found)),
                "open": [_item_json(item) for item in found],
            }
        )
    return lines


def _item_json(item: OpenItem) -> dict[str, Any]:
    columns = {field.name: getattr(item, field.name) for field in fields(item)}
    return {"import": columns.pop("import_name"), **columns}


def _noun(bound: BoundImport | None) -> str:
    """What people call an item of the import."""
    if bound is None:
        return "item"
    return "file" if bound.reads_files else "window" if bound.spec.source.window is not None else "item"


_RESTING = {"draft", "paused", "ended", "invalid", "removed"}
"""Statuses of imports that run only by hand or not at all."""


def _status_of(
    project: Project,
    name: str,
    state: ImportState | None,
    summary: ImportSummary | None,
    items: Sequence[OpenItem],
    now: datetime,
    *,
    is_running: bool,
) -> str:
    """The import's status, as docs/loading.md defines it. `invalid`: its YAML has mistakes."""
    from ingest_pipelines.orchestration.automation import status_of

    if name in project.broken:
        return "invalid"
    if name not in project.imports:
        return "removed"
    spec = project.imports[name].spec
    current = status_of(state, spec.status)
    if current == "draft":
        return "running" if is_running else current
    if any(item.state in BROKEN for item in items):
        return "failed"
    if is_running or any(item.state == "running" for item in items):
        return "running"
    ends_on = spec.schedule.ends_on if spec.schedule is not None else None
    if current == "active" and ends_on is not None and now.date() > ends_on:
        return "ended"
    if current != "active":
        return current
    if items:
        return "waiting"
    if summary is None or summary.committed_at is None:
        return "completed" if summary is not None and summary.status == "skipped" else "scheduled"
    return "completed_with_rejects" if summary.status == "committed" and summary.rejected else "completed"


def _next_of(project: Project, name: str, state: str, ticks: Mapping[str, datetime | None]) -> str:
    """What starts the next run: a time, an asset, a file, or a person."""
    from ingest_pipelines.orchestration.automation import watches_files

    if state in _RESTING:
        return "-"
    if ticks.get(name) is not None:
        return moment(ticks[name])
    bound = project.imports[name]
    return bound.spec.after_words or ("a file" if watches_files(bound) else "by hand")


def _error_of(project: Project, name: str, summary: ImportSummary | None) -> str:
    if name in project.broken:
        return "\n".join(project.broken[name].mistakes)
    return summary.error if summary else ""


def source_json(check: SourceCheck | None, connection: str | None) -> dict[str, Any] | None:
    """What is wrong with an import's source; None: nothing is known to be.

    Args:
        connection: that the import reads from now; a look at another one no longer counts.
    """
    if check is None or check.trouble is None or check.connection != connection:
        return None
    return {
        "connection": check.connection, "trouble": check.trouble, "failing_since": check.failing_since,
        "step": check.step, "error": check.error,
    }  # fmt: skip
