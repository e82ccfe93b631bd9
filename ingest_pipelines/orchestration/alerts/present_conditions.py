"""The problems that exist now, from the list of open items, the ledger and the YAML files. Reads only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import printable
from ingest_pipelines.ledger import Load
from ingest_pipelines.model import spelled_line
from ingest_pipelines.orchestration.alerts.alert import Entry
from ingest_pipelines.orchestration.alerts.alert_book import AlertBook
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.config_conditions import broken_yaml
from ingest_pipelines.orchestration.alerts.facts import Facts
from ingest_pipelines.orchestration.automation import watches_files
from ingest_pipelines.orchestration.checks.anomaly_checks import (
    expected_within,
    last_delivery,
    lateness,
    longest_interval,
    new_columns,
    volume,
)
from ingest_pipelines.orchestration.monitoring.open_item import BROKEN, STATES, OpenItem, OpenState
from ingest_pipelines.orchestration.monitoring.source_troubles import (
    DownSource,
    described_trouble,
    down_sources,
    verb_of,
    waiting_imports,
)
from ingest_pipelines.rules.codes import CODES

REJECTS_NAMED = 5
"""Rejects that a message names; `ingest rejects list` has them all."""

ITEMS_NAMED = 5
"""Broken items that a message names; `ingest status` has them all."""

OUT_OF_REACH_AFTER = timedelta(minutes=3)
"""A source that does not answer for so long is told of: a few looks in a row."""

RETRIED_WITHIN = timedelta(minutes=2)
"""A run that died and that Dagster retries has a successor by then."""

STUCK_AFTER = timedelta(hours=1)
"""An item is not stuck before, however short its import's loads usually are."""

STUCK_FACTOR = 5
"""A run is stuck after this many of the longest of the import's last loads."""

DELIVERIES_COMPARED = 20

_SETTLED = {"committed", "skipped"}


def present_conditions(
    connection: psycopg.Connection, facts: Facts, book: AlertBook, now: datetime
) -> Iterator[Condition]:
    """Every problem that exists now, except those that the watcher finds."""
    down = _down_sources(facts)
    yield from _failures(connection, facts, book, now, {name for source in down for name in source.imports})
    yield from _rejected(connection, facts, book)
    yield from _late(facts, now)
    yield from _unusual_volumes(connection, facts)
    yield from _new_columns(facts)
    yield from _sources(down, book, now)
    yield from broken_yaml(facts)
    yield from _stuck(connection, facts, now)


def is_unsure(facts: Facts, entry: Entry) -> bool:
    """Whether it cannot be said now that the alert's problem has ended."""
    name = entry.import_name
    if not name or (name not in facts.project.imports and name not in facts.project.broken):
        return entry.kind == "stuck" and facts.items is None
    if entry.kind == "failed":  # an item that is loaded again may fail again
        open_keys = {item.item for item in facts.items or () if item.import_name == name}
        return facts.items is None or not open_keys.isdisjoint(entry.items)
    if entry.kind == "stuck":
        return facts.items is None
    if entry.kind == "late":
        return name in facts.project.broken or facts.status(name) != "active"
    summary = facts.summaries.get(name)
    if entry.kind == "rejected":
        return name in facts.project.broken or summary is None or summary.status != "committed"
    if entry.kind == "volume":
        return not facts.new.get(name)
    if entry.kind == "columns":  # each new column is told of, however soon another delivery comes
        untold = any(told.at is not None and told.items < len(entry.items) for told in entry.told.values())
        return untold or not facts.new.get(name)
    return False


def _failures(
    connection: psycopg.Connection, facts: Facts, book: AlertBook, now: datetime, waiting: Container[str]
) -> Iterator[Condition]:
    """One for each import with broken items. Those that wait for a source are told with that source, once.

    Args:
        waiting: imports whose source is told of, or will be unless it answers in a moment.
    """
    known = {*facts.project.imports, *facts.project.broken}
    items = sorted(facts.items or (), key=lambda item: item.import_name)
    for name, of_import in groupby(items, key=lambda item: item.import_name):
        open_items = sorted(of_import, key=lambda item: item.since)
        broken = [
            item
            for item in open_items
            if item.state in BROKEN
            and not (item.by_source and name in waiting)
            and not _is_retried(connection, item, now)
        ]
        if broken and name in known and facts.status(name) != "draft":
            yield _failure(connection, facts, book, name, broken, open_items)


def _failure(
    connection: psycopg.Connection,
    facts: Facts,
    book: AlertBook,
    name: str,
    broken: Sequence[OpenItem],
    open_items: Sequence[OpenItem],
) -> Condition:
    keys = tuple(item.item for item in broken)
    if len(broken) == len(open_items) == 1:
        [item] = broken
        if book.describes((name, "failed", ""), item.item):
            return Condition(name, "failed", "", item.item, items=keys, broken=1)
        load = _load_of(connection, item)
        reason = short_reason(item, load)
        words = (item.reason or STATES[item.state]) + (_first_rejects(connection, load) if load else "")
        step = item.next_step or f"ingest report {name}"
        return Condition(name, "failed", words, item.item, step, item.run_id, reason, items=keys, broken=1)
    counts = counted(_noun(facts.project.imports.get(name)), open_items)
    lines = [f"{printable(item.item)}: {short_reason(item)}" for item in broken[:ITEMS_NAMED]]
    more = [f"and {len(broken) - ITEMS_NAMED:,} more: ingest status"] if len(broken) > ITEMS_NAMED else []
    words = "\n".join([counts, *(f"  {line}" for line in (*lines, *more))])
    step = broken[0].next_step or f"ingest report {name}"
    return Condition(name, "failed", words, "", step, broken[0].run_id, counts, items=keys, broken=len(broken))


_WORDS: Mapping[OpenState, str] = {
    "failed": "failed",
    "refused": "refused",
    "dropped": "dropped from the queue",
    "terminated": "terminated",
    "due": "due",
    "settling": "still changing",
    "queued": "queued",
    "paused": "paused",
    "held": "held",
    "running": "running",
}


def counted(noun: str, items: Iterable[OpenItem]) -> str:
    """`12 windows failed, 1 window due`: the broken ones by state, the others together as those that wait."""
    states = Counter(item.state if item.state in BROKEN or item.state == "running" else "due" for item in items)
    words = {**_WORDS, "due": "waits"}
    parts = []
    for state in [state for state in STATES if states[state]]:
        count = states[state]
        word = "wait" if state == "due" and count > 1 else words[state]
        parts.append(f"{count:,} {noun if count == 1 else noun + 's'} {word}")
    return ", ".join(parts)


def short_reason(item: OpenItem, load: Load | None = None) -> str:
    """Why the item is broken, in few words."""
    if load is not None and load.rejected and load.status in {"failed", "refused"}:
        return f"{load.rejected:,} of {load.read:,} rows rejected"
    line = next((line.strip() for line in item.reason.splitlines() if line.strip()), "")
    line = re.sub(rf"^(?:import )?{re.escape(item.import_name)}(?:, item [^:]*)?: ", "", line)
    line = re.sub(r"^(?:refused|failed): ", "", line)
    return printable(line or item.state, limit=100)


def _noun(bound: BoundImport | None) -> str:
    if bound is None:
        return "item"
    return "window" if bound.spec.source.window is not None else "file" if bound.reads_files else "query"


def _is_retried(connection: psycopg.Connection, item: OpenItem, now: datetime) -> bool:
    """Whether the item's run left no load, and another run is requested in a moment."""
    return item.asked_again and now - item.since < RETRIED_WITHIN and _load_of(connection, item) is None


def _load_of(connection: psycopg.Connection, item: OpenItem) -> Load | None:
    """The load of the item that did not commit."""
    loads = ledger.loads_of_run(connection, item.run_id) if item.run_id else []
    own = [load for load in loads if load.import_name == item.import_name and load.item == item.item]
    return own[-1] if own else None


def _rejected(connection: psycopg.Connection, facts: Facts, book: AlertBook) -> Iterator[Condition]:
    """Imports with committed items that have rejects, until an item without any. A failed load does not change that."""
    for name, _ in facts.served:
        summary = facts.summaries.get(name)
        new = [delivery for delivery in facts.new.get(name, ()) if delivery.rejected]
        if new:
            last = new[-1]
            reason = f"{last.rejected:,} of {last.read:,} rows rejected"
            words = f"{last.rejected:,} of {last.read:,} rows were rejected; the others are in the table"
            if not book.is_open((name, "rejected", "")):
                words += _first_rejects(connection, ledger.get_load(connection, last.load))
            if len(new) > 1:
                words += f"\nso were rows of {len(new) - 1:,} items before it: ingest report {name}"
            yield Condition(name, "rejected", words, last.item, f"ingest rejects list {name}", last.run_id, reason)
        elif summary is not None and summary.status == "committed" and summary.rejected:
            yield from [Condition(name, "rejected", "")] if book.is_open((name, "rejected", "")) else []


def _first_rejects(connection: psycopg.Connection, load: Load | None) -> str:
    """Lines and broken rules of the load's first rejects, for the end of a message; never a value.

    A reject's reason may name a profile or a value, so the rule's meaning stands in its place.
    """
    if load is None or not load.rejected:
        return ""
    rejects = ledger.list_rejects(connection, load.import_name, load=load.id, limit=REJECTS_NAMED + 1)
    lines = [
        f"{spelled_line(reject.line)}, {printable(reject.field)}: {reject.code}, {CODES[reject.code][1]}"
        for reject in rejects[:REJECTS_NAMED]
        if reject.code in CODES
    ]
    more = [f"and more: ingest rejects list {load.import_name}"] if len(rejects) > REJECTS_NAMED else []
    return "".join(f"\n  {line}" for line in (*lines, *more))


def _late(facts: Facts, now: datetime) -> Iterator[Condition]:
    """Active imports whose next delivery is overdue."""
    for name, bound in facts.served:
        due, plan, summary = expected_within(bound), bound.spec.schedule, facts.summaries.get(name)
        if due is None or summary is None or facts.status(name) != "active":
            continue
        if plan is not None and plan.ends_on is not None and now.date() > plan.ends_on:
            continue
        settled = summary.finished_at if summary.status in _SETTLED else summary.committed_at
        finding = lateness(last_delivery(bound, settled, facts.checks.get(name)), due, now)
        if not finding.passed:
            last, _, expected = finding.words.partition("; ")
            reason = expected.replace("the next was ", "") or last
            yield Condition(
                name, "late", finding.words, next_step=f"ingest check {name} --connect", reason=reason
            )  # fmt: skip


def _unusual_volumes(connection: psycopg.Connection, facts: Facts) -> Iterator[Condition]:
    """Imports whose new deliveries have far more or fewer rows than those before."""
    for name, bound in facts.served:
        new = facts.new.get(name)
        if not new or bound.spec.source.cursor is not None:
            continue
        runs = {(delivery.item, delivery.run_id): delivery for delivery in new}
        past = ledger.deliveries(connection, name, last=DELIVERIES_COMPARED + len(new))
        for position, delivery in enumerate(past):
            if (delivery.item, delivery.run_id) not in runs:
                continue
            earlier = [one for one in past[position + 1 :] if one.item != delivery.item]
            finding = volume(delivery.read, earlier[: DELIVERIES_COMPARED - 1], bound.spec.volume)
            if not finding.passed:
                yield Condition(
                    name, "volume", f"{finding.words}; they are in the table", str(delivery.item),
                    f"ingest report {name}", delivery.run_id, finding.words,
                )  # fmt: skip
                break


def _new_columns(facts: Facts) -> Iterator[Condition]:
    """Imports whose new deliveries have columns that no earlier one had. `items` has the columns' names."""
    for name, _ in facts.served:
        new = [delivery for delivery in facts.new.get(name, ()) if delivery.new_columns]
        if new:
            columns = list(dict.fromkeys(column for delivery in new for column in delivery.new_columns))
            words = new_columns(columns).words
            yield Condition(
                name, "columns", f"{words}\nall other columns are loaded as before; a new import can load these",
                new[-1].item, f"ingest report {name}", new[-1].run_id, words, items=tuple(columns),
            )  # fmt: skip


def _down_sources(facts: Facts) -> list[DownSource]:
    active = {name: bound.connection_name for name, bound in facts.served if facts.status(name) == "active"}
    return down_sources(waiting_imports(facts.checks, active))


def _sources(down: Sequence[DownSource], book: AlertBook, now: datetime) -> Iterator[Condition]:
    """Connections that have not answered for some minutes, with the imports that wait for them."""
    by_connection: dict[str, list[DownSource]] = {}
    for source in down:
        by_connection.setdefault(source.connection, []).append(source)
    for connection_name, parts in by_connection.items():
        cause, first = f"connection {connection_name}", parts[0]
        if now - first.since < OUT_OF_REACH_AFTER and not book.is_open(("", "source", cause)):
            continue
        what = verb_of(first.trouble, first.step)
        words = described_trouble(connection_name, first.trouble, first.step, first.since)
        words += f"\n{first.error}" if first.error else ""
        yield Condition(
            "", "source", words, next_step=f"ingest check {first.imports[0]} --connect", reason=what,
            cause=cause, imports=tuple(sorted({name for part in parts for name in part.imports})), since=first.since,
        )  # fmt: skip


def _stuck(connection: psycopg.Connection, facts: Facts, now: datetime) -> Iterator[Condition]:
    """Items that run, are queued or are due for far longer than is usual."""
    old = [item for item in facts.items or () if now - item.since >= STUCK_AFTER]
    moving = any(item.state == "running" for item in facts.items or ())
    by_import: dict[str, list[tuple[OpenItem, str]]] = {}
    for item in old:
        bound = facts.project.imports.get(item.import_name)
        if bound is None or facts.status(item.import_name) != "active":
            continue
        limit = _patience(connection, bound, item, moving, facts)
        if limit is not None and now - item.since >= limit:
            hours = round((now - item.since) / timedelta(hours=1), 1)
            by_import.setdefault(item.import_name, []).append((item, f"{_WORDS[item.state]} for {hours:g} hours"))
    for name, found in by_import.items():
        first, what = found[0]
        noun = _noun(facts.project.imports.get(name))
        reason = what if len(found) == 1 else f"{len(found):,} {noun}s, the oldest is {what}"
        waits = f"\nit {first.waits_for}" if first.waits_for else ""
        yield Condition(
            name, "stuck", f"{printable(first.item)} is {what}{waits}", first.item, first.next_step or "ingest status",
            first.run_id, reason, group=f"stuck: {first.state}", items=tuple(item.item for item, _ in found),
        )  # fmt: skip


def _patience(
    connection: psycopg.Connection, bound: BoundImport, item: OpenItem, moving: bool, facts: Facts
) -> timedelta | None:
    """How long the item may stay in its state; None: for ever."""
    if item.state == "running":
        loads = [load for load in ledger.recent_loads(connection, bound.name, last=20) if load.finished_at is not None]
        usual = max((load.finished_at - load.started_at for load in loads if load.finished_at), default=timedelta(0))
        return max(STUCK_AFTER, usual * STUCK_FACTOR)
    if item.state == "queued":
        return None if moving else STUCK_AFTER
    if item.state == "due" and facts.automation:
        check, plan = facts.checks.get(bound.name), bound.spec.schedule
        if check is not None and check.trouble is not None:
            return None  # its source is told of
        interval = longest_interval(plan) if plan is not None else None
        if interval is not None:
            return STUCK_AFTER + interval
        return STUCK_AFTER if watches_files(bound) else None
    return None
