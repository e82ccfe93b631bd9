"""The list: every item that should be in the table and is not, with its state, the reason and the next step.

It reads the ledger, Dagster's storage and the project, never a source or the code server. The number of queries does
not grow with the number of items. `item_state` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime

from dagster import DagsterInstance, RunRecord

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.ledger import (
    Activity,
    ImportState,
    ImportSummary,
    ItemState,
    KeptRows,
    SourceCheck,
    UnsettledItem,
)
from ingest_pipelines.ledger.source_checks import UNCHANGED
from ingest_pipelines.model import ItemKey, ItemKind
from ingest_pipelines.orchestration.automation import status_of, watches_files
from ingest_pipelines.orchestration.monitoring.due import tick_due, tick_name, windows_due
from ingest_pipelines.orchestration.monitoring.item_state import (
    ImportFacts,
    ItemFacts,
    LoadFacts,
    SourceFacts,
    open_item,
)
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
from ingest_pipelines.orchestration.monitoring.run_facts import (
    ItemOfImport,
    broken_runs,
    facts_of,
    failure_reasons,
    is_in_progress,
    items_of_run,
    last_runs,
    reasons_to_wait,
    runs_in_progress,
    runs_of,
    steps_of,
)
from ingest_pipelines.orchestration.monitoring.source_troubles import described_trouble
from ingest_pipelines.orchestration.renames import earlier_names
from ingest_pipelines.orchestration.runs.item_runs import ItemId, ItemRuns, summarize_runs
from ingest_pipelines.orchestration.runs.live_status import running_imports
from ingest_pipelines.orchestration.runs.pools import target_pool
from ingest_pipelines.orchestration.runs.run_requests import next_request
from ingest_pipelines.orchestration.runs.tags import is_run_of
from ingest_pipelines.orchestration.site import Site


@dataclass(frozen=True)
class _LedgerFacts:
    """What the ledger knows at one moment.

    Attributes:
        activities: of imports with a schedule.
        unread_windows: names of imports with windows whose YAML is gone, or cannot be read.
    """

    unsettled: Mapping[ItemOfImport, UnsettledItem]
    states: Mapping[str, ImportState]
    checks: Mapping[str, SourceCheck]
    newest_windows: Mapping[str, datetime]
    activities: Mapping[str, Activity]
    summaries: Mapping[str, ImportSummary]
    kept_rows: Mapping[str, KeptRows]
    unread_windows: Set[str]


def open_items(site: Site, instance: DagsterInstance | None, now: datetime) -> list[OpenItem]:
    """Every open item of every import, the oldest first.

    Open are: windows and query items until a load settles them; files too, until a newer version replaces them at
    their path; uploads once a run of them has ended badly. Never open: replays (their rejects are), dry runs, and items
    that a person skipped.

    Args:
        instance: None: Dagster's storage does not answer; the list is the ledger's alone, without runs.

    Raises:
        TargetUnavailable: the ledger does not answer.
    """
    return survey(site, instance, now).open_items


@dataclass(frozen=True)
class ItemSurvey:
    """The open items, and what was read for them.

    Attributes:
        open_items: the oldest first.
        running: names of imports with a run in progress, also of an item that is in the table.
        states, summaries: of the ledger, by import.
        source_checks: the last look at each import's source.
        kept_rows: unmatched rows that wait for their profiles, by import.
    """

    open_items: list[OpenItem]
    running: set[str]
    states: Mapping[str, ImportState]
    summaries: Mapping[str, ImportSummary]
    source_checks: Mapping[str, SourceCheck]
    kept_rows: Mapping[str, KeptRows]


def survey(site: Site, instance: DagsterInstance | None, now: datetime, *, summaries: bool = False) -> ItemSurvey:
    """`open_items`, with what `ingest status` also needs, in one look at ledger and Dagster.

    Args:
        summaries: read the last load of each import as well, and how many of its rows wait.
    """
    known = _read_ledger(site, now, summaries=summaries)
    in_progress = runs_in_progress(instance) if instance is not None else []
    keys = [key for _, key in known.unsettled]
    imports = _imports(site)
    names = earlier_names(imports)
    windowed = {name for name, bound in imports.items() if bound.spec.source.window is not None}
    windowed |= {old for old, name in names.items() if name in windowed} | known.unread_windows
    records: list[RunRecord] = []
    if instance is not None:
        found_runs = [*in_progress, *runs_of(instance, keys), *broken_runs(instance, sorted(windowed), now)]
        records = [record for record in found_runs if is_run_of(record.dagster_run, site.project.placement)]
    runs = last_runs(records, names, known.unsettled, imports)
    settled: set[ItemOfImport] = set()
    if runs:
        with site.target_as_it_is.ledger() as connection:  # after the runs: a load that a run left is seen
            settled = ledger.settled_among(connection, list(runs))
    runs = {place: record for place, record in runs.items() if place not in settled}
    unsettled = {place: item for place, item in known.unsettled.items() if place not in settled}
    histories: dict[ItemId, ItemRuns] = {}
    if instance is not None and records:
        own = [place for record in runs.values() for place in items_of_run(record.dagster_run, imports)]
        places = [(name, ItemKey(key)) for name, key in {*unsettled, *own}]
        histories = summarize_runs(records, places, instance, now)
    facts = list(_item_facts(site, instance, replace(known, unsettled=unsettled), runs, histories, in_progress, now))
    found = [item for item in map(open_item, facts) if item is not None]
    found += _ticks_due(site, known, {item.import_name for item in found}, now)
    return ItemSurvey(
        sorted(found, key=lambda item: (item.since, item.import_name, item.item)),
        running_imports(run for record in in_progress if is_run_of(run := record.dagster_run, site.project.placement)),
        known.states,
        known.summaries,
        known.checks,
        known.kept_rows,
    )


def _imports(site: Site) -> dict[str, BoundImport]:
    """Every import that could be read, also those with mistakes."""
    return {**site.project.partial, **site.project.imports}


def _read_ledger(site: Site, now: datetime, *, summaries: bool) -> _LedgerFacts:
    imports = _imports(site)
    scheduled = [name for name, bound in imports.items() if bound.spec.schedule is not None]
    windowed = [name for name in scheduled if imports[name].spec.source.window is not None]
    with site.target_as_it_is.ledger() as connection:
        states = ledger.list_imports(connection)
        unread = [name for name in states if name not in imports]
        return _LedgerFacts(
            {(item.import_name, str(item.key)): item for item in ledger.unsettled_items(connection)},
            states,
            ledger.list_source_checks(connection),
            ledger.newest_window_ends(connection, windowed) if windowed else {},
            ledger.activities(connection, scheduled) if scheduled else {},
            ledger.summaries(connection) if summaries else {},
            ledger.kept_rows(connection, now) if summaries else {},
            set(ledger.newest_window_ends(connection, unread)) if unread else set(),
        )


def _item_facts(
    site: Site,
    instance: DagsterInstance | None,
    known: _LedgerFacts,
    runs: Mapping[ItemOfImport, RunRecord],
    histories: Mapping[ItemId, ItemRuns],
    in_progress: list[RunRecord],
    now: datetime,
) -> Iterator[ItemFacts]:
    """The facts of every item that may be open, each once."""
    owners = _Owners(site, known)
    bounds = site.project.imports.items() if in_progress else ()
    pools = {name: target_pool(*bound.database.schema_and_table) for name, bound in bounds}
    loads = {place: _load(item) for place, item in known.unsettled.items()}
    without_load = [
        record
        for place, record in runs.items()
        if (load := loads.get(place)) is None or load.run_id != record.dagster_run.run_id
    ]
    waits = reasons_to_wait(instance, in_progress, pools) if instance is not None and in_progress else {}
    steps = steps_of(instance, in_progress) if instance is not None else {}
    reasons = failure_reasons(instance, without_load) if instance is not None else {}
    last = {
        place: facts_of(record, histories.get(_own_place(place, record)), reasons, waits, steps)
        for place, record in runs.items()
    }
    sources = {
        name: SourceFacts(
            described_trouble(check.connection, check.trouble, check.step, check.since), check.since, check.error
        )
        for name, check in known.checks.items()
        if check.trouble is not None
    }
    for place, item in known.unsettled.items():
        yield ItemFacts(
            owners.of(place[0]), place[1], item.kind, item.status, item.created_at, loads[place], last.get(place),
            asked_again=owners.asks_again(
                ItemState(item.key, item.status, item.created_at, item.retryable), item.kind, place[0],
                histories.get((place[0], item.key)),
            ),
            source=sources.get(place[0]),
        )  # fmt: skip
    imports = _imports(site)
    due = {
        (name, key): ended_at
        for name, newest in known.newest_windows.items()
        if owners.of(name).by_itself
        for key, ended_at in windows_due(imports[name], newest, now)
        if (name, key) not in known.unsettled
    }
    for (name, key), ended_at in due.items():
        run = last.get((name, key))
        yield ItemFacts(
            owners.of(name),
            key,
            "window",
            None,
            ended_at,
            run=run,
            expected="its window has ended, and it has no run yet",
            source=sources.get(name),
        )
    for (name, key), run in last.items():
        if (name, key) not in known.unsettled and (name, key) not in due:
            bound = imports.get(name)
            is_window = bound.spec.source.window is not None if bound is not None else name in known.unread_windows
            if is_window or is_in_progress(run):
                state = ItemState(ItemKey(key), "new", run.created_at)
                yield ItemFacts(
                    owners.of(name), key, "window" if is_window else "file", None, run.created_at, run=run,
                    asked_again=is_window
                    and owners.asks_again(state, "window", name, histories.get((name, ItemKey(key)))),
                    source=sources.get(name),
                )  # fmt: skip
    for name, check in known.checks.items():
        for path, seen in check.settling.items():
            first_seen, _, missing = seen.partition(" ")
            since = datetime.fromisoformat(first_seen)
            yield ItemFacts(owners.of(name), path, "file", None, since, settling=True, missing=missing)


def _own_place(place: ItemOfImport, record: RunRecord) -> ItemId:
    """The item by the name that its import had when the run was created."""
    own = items_of_run(record.dagster_run, {place[0]})
    name, key = place if place in own or not own else own[0]
    return name, ItemKey(key)


def _load(item: UnsettledItem) -> LoadFacts | None:
    if item.load_status not in {"failed", "refused"} or item.load_ended_at is None:
        return None
    return LoadFacts(
        "refused" if item.load_status == "refused" else "failed",
        item.load_ended_at,
        item.load_error or "",
        item.load_run or "",
        item.retryable,
    )


def _ticks_due(site: Site, known: _LedgerFacts, busy: set[str], now: datetime) -> Iterator[OpenItem]:
    """One item per active import whose schedule ticked and started nothing.

    A tick that finds nothing new leaves its trace in the source's check. An import without one is not judged.

    Args:
        busy: imports with open items: their next item waits for these.
    """
    owners = _Owners(site, known)
    for name, check in known.checks.items():
        bound = site.project.imports.get(name)
        if bound is None or bound.spec.schedule is None or name in busy:
            continue
        owner, activity = owners.of(name), known.activities.get(name)
        # a look within a minute after the one that is noted leaves no trace, so the ticks of that minute are not judged
        looked = check.checked_at + UNCHANGED
        last_seen = max(looked, activity.last if activity is not None else looked)
        tick = tick_due(bound, last_seen, now)
        if tick is not None and owner.serving == "active":
            expected = "its schedule ticked, and no run was requested"
            found = open_item(ItemFacts(owner, tick_name(tick), "query", None, tick, expected=expected))
            if found is not None:
                yield found


class _Owners:
    """The facts of each import, computed once."""

    def __init__(self, site: Site, known: _LedgerFacts) -> None:
        self._site = site
        self._known = known
        self._imports = _imports(site)
        self._facts: dict[str, ImportFacts] = {}

    def of(self, name: str) -> ImportFacts:
        """The import's facts, also of one that the project does not have."""
        if name not in self._facts:
            self._facts[name] = self._find(name)
        return self._facts[name]

    def asks_again(self, state: ItemState, kind: ItemKind, name: str, runs: ItemRuns | None) -> bool:
        """Whether a sensor, a schedule or housekeeping will request the item's next run."""
        owner, bound = self.of(name), self._imports.get(name)
        if owner.serving != "active" or not owner.by_itself or bound is None:
            return False
        request = next_request(state, kind, runs)
        return request.at is not None and (not request.on_tick or bound.spec.has_ticks)

    def _find(self, name: str) -> ImportFacts:
        project, state = self._site.project, self._known.states.get(name)
        bound = self._imports.get(name)
        if name in project.broken:
            mistakes = project.broken[name].mistakes
            by_itself = self._runs_by_itself(bound) if bound is not None else state is not None
            return ImportFacts(name, "broken", by_itself, mistakes[0] if mistakes else "")
        if bound is None:
            return ImportFacts(name, "removed", state is not None and state.activated_at is not None)
        return ImportFacts(name, status_of(state, bound.spec.status), self._runs_by_itself(bound))

    def _runs_by_itself(self, bound: BoundImport) -> bool:
        return self._site.settings.automation and (bound.spec.has_ticks or watches_files(bound))
