"""The state of an item, decided from plain facts: whether it is open, why, and what to type next. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ingest_pipelines.model import ItemKind, ItemStatus
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem, OpenState

Serving = Literal["active", "paused", "draft", "broken", "removed"]
"""How an import is served: its status, or why it cannot run. `broken`: its YAML has mistakes. `removed`: the project
has no such import."""

RunEnd = Literal["succeeded", "failed", "canceled"]


@dataclass(frozen=True)
class ImportFacts:
    """What decides whether an item of the import is expected.

    Attributes:
        by_itself: whether a sensor or a schedule runs it.
        mistakes: of a broken import: the first mistake of its YAML.
    """

    name: str
    serving: Serving = "active"
    by_itself: bool = True
    mistakes: str = ""


@dataclass(frozen=True)
class LoadFacts:
    """The item's last load, which did not commit.

    Attributes:
        retryable: it failed for a reason that may go away by itself.
    """

    status: Literal["failed", "refused"]
    ended_at: datetime
    error: str
    run_id: str
    retryable: bool = False


@dataclass(frozen=True)
class SourceFacts:
    """What is wrong with the import's source, as its own last look shows.

    Attributes:
        words: `connection shop hangs at login, since 2026-11-29 12:01 UTC`.
        since: the first failed look since it last answered.
        error: the message of the last look.
    """

    words: str
    since: datetime
    error: str


@dataclass(frozen=True)
class RunFacts:
    """The item's run in progress, else its last one. Dry runs do not count.

    Attributes:
        state: `queued` and `running` have not ended.
        since: when it came into this state.
        began: whether its process ever started.
        reason: why it failed, from Dagster's events.
        waits_for: what a queued or running run waits for.
        step: of a running run, the step that it is at: `step land since 12:01:30 UTC`; "": not known.
        is_retried: whether Dagster retries it.
    """

    run_id: str
    state: Literal["queued", "running"] | RunEnd
    created_at: datetime
    since: datetime
    began: bool = True
    reason: str = ""
    waits_for: str = ""
    step: str = ""
    is_retried: bool = False


@dataclass(frozen=True)
class ItemFacts:
    """Everything that decides an item's state.

    Attributes:
        status: the ledger's; None: the ledger does not have the item.
        since: when it was registered; of an item that the ledger does not have: when it was first seen, or was due.
        replaced: a newer version of the file is at its path.
        settling: the file may still be changing.
        missing: what is missing of an item of several files.
        expected: why it is expected now although the ledger does not have it.
        asked_again: whether a sensor, a schedule or housekeeping requests its next run.
        source: what is wrong with its source; None: nothing is known to be.
    """

    owner: ImportFacts
    item: str
    kind: ItemKind
    status: ItemStatus | None
    since: datetime
    load: LoadFacts | None = None
    run: RunFacts | None = None
    replaced: bool = False
    settling: bool = False
    missing: str = ""
    expected: str = ""
    asked_again: bool = False
    source: SourceFacts | None = None


def open_item(facts: ItemFacts) -> OpenItem | None:
    """The item with its state; None if it is in the table, or is not expected there.

    A run in progress decides first. Then an import that cannot run at all; then how the last attempt ended; then what
    an item waits for that had no attempt.
    """
    if facts.status in {"committed", "skipped"} or facts.replaced or facts.kind == "replay":
        return None
    run = facts.run
    if run is not None and run.state == "running":
        return _item(facts, "running", run.since, run.waits_for or _progress(facts, run))
    if facts.owner.serving == "removed":
        return _removed(facts)
    if run is not None and run.state == "queued":
        return _queued(facts, run)
    return _ended(facts) or _waiting(facts)


def _progress(facts: ItemFacts, run: RunFacts) -> str:
    parts = ["its run is in progress", run.step, facts.source.words if facts.source is not None else ""]
    return "; ".join(part for part in parts if part)


def _queued(facts: ItemFacts, run: RunFacts) -> OpenItem:
    if facts.owner.serving == "broken":
        return _held(facts, run.created_at)
    return _item(facts, "queued", run.since, run.waits_for or "its run waits in the queue")


def _ended(facts: ItemFacts) -> OpenItem | None:
    """How the item's last attempt ended; None if there was none."""
    run, load = facts.run, facts.load
    if run is not None and (load is None or (run.run_id != load.run_id and run.created_at > load.ended_at)):
        return _ended_run(facts, run)
    if load is None and facts.status in {"failed", "refused"}:
        state: OpenState = "refused" if facts.status == "refused" else "failed"
        return _item(facts, state, facts.since, "its last load did not commit; the ledger no longer has that load")
    if load is None:
        return None
    ended = _item(facts, load.status, load.ended_at, load.error, run_id=load.run_id)
    return replace(ended, by_source=load.status == "failed" and _is_by_source(load, facts.source))


def _is_by_source(load: LoadFacts, source: SourceFacts | None) -> bool:
    if source is None or load.ended_at < source.since:
        return False
    return load.retryable or bool(source.error and source.error in load.error)


def _ended_run(facts: ItemFacts, run: RunFacts) -> OpenItem:
    """The item's last run ended, and the ledger has no load of it."""
    if run.state == "canceled":
        return _item(facts, "terminated", run.since, f"a person ended run {run.run_id[:8]}")
    if run.state == "succeeded":
        reason = f"run {run.run_id[:8]} succeeded, and the ledger has no committed load of this item"
        return _item(facts, "failed", run.since, reason)
    if not run.began:
        return _item(facts, "dropped", run.since, run.reason or f"run {run.run_id[:8]} never began")
    return _item(facts, "failed", run.since, run.reason or f"run {run.run_id[:8]} died")


def _waiting(facts: ItemFacts) -> OpenItem | None:
    """What an item without an attempt waits for; None if only a person runs it."""
    owner = facts.owner
    if owner.serving == "draft" or not owner.by_itself or facts.kind == "upload":
        return None
    if owner.serving == "broken":
        return _held(facts, facts.since)
    if owner.serving == "paused":
        return _item(facts, "paused", facts.since, "the import is paused")
    if facts.settling:
        return _item(facts, "settling", facts.since, facts.missing or "the file may still be changing")
    return _item(facts, "due", facts.since, facts.expected or "it has no run yet")


def _held(facts: ItemFacts, since: datetime) -> OpenItem:
    return _item(facts, "held", since, facts.owner.mistakes or "the import's YAML has mistakes")


def _removed(facts: ItemFacts) -> OpenItem | None:
    ended = _ended(facts)
    if ended is None and (not facts.owner.by_itself or facts.kind == "upload"):
        return None
    since = ended.since if ended is not None else facts.since
    reason = f"the project has no import {facts.owner.name}"
    return _item(facts, "held", since, f"{reason}: {ended.reason}" if ended and ended.reason else reason)


def _item(facts: ItemFacts, state: OpenState, since: datetime, reason: str, *, run_id: str | None = None) -> OpenItem:
    run = facts.run
    in_progress = state in {"queued", "running"}
    return OpenItem(
        import_name=facts.owner.name,
        item=facts.item,
        state=state,
        since=since,
        reason=reason,
        next_step=_next_step(facts, state),
        run_id=run_id if run_id is not None else run.run_id if run is not None else "",
        waits_for=run.waits_for if run is not None and in_progress else "",
        asked_again=not in_progress and (facts.asked_again or (run is not None and run.is_retried)),
    )


def _next_step(facts: ItemFacts, state: OpenState) -> str:
    name, item = facts.owner.name, facts.item
    if facts.owner.serving == "removed" and state != "running":
        return f"`renamed_from: {name}` in the YAML of its new name, or: ingest skip {name} --item {item}"
    if facts.owner.serving == "broken" and state != "running":
        return f"ingest check {name}"
    if state in {"failed", "dropped", "terminated"}:
        return f"ingest run {name} --item {item}"
    if state == "refused":
        return f"ingest report {name}"
    if state == "paused":
        return f"ingest resume {name}"
    return ""
