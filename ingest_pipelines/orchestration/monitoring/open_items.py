"""The list: every item that should be in the table and is not, with its state, the reason and the next step.

It reads the ledger, Dagster's storage and the project, never a source or the code server. The number of queries does
not grow with the number of items. `item_state` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from dagster import DagsterInstance, RunRecord

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.ledger import ImportState, SourceCheck, UnsettledItem
from ingest_pipelines.model import ItemKind
from ingest_pipelines.orchestration.assets.partitions import ended_windows, windows_of
from ingest_pipelines.orchestration.monitoring.item_state import (
    ImportFacts,
    ItemFacts,
    LoadFacts,
    open_item,
)
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem
from ingest_pipelines.orchestration.monitoring.run_facts import (
    ItemOfImport,
    broken_runs,
    facts_of,
    last_runs,
    reasons_to_wait,
    runs_in_progress,
    runs_of,
)
from ingest_pipelines.orchestration.sensors.file_sensor import watches_files
from ingest_pipelines.orchestration.site import Site


@dataclass(frozen=True)
class _LedgerFacts:
    """What the ledger knows at one moment."""

    unsettled: list[UnsettledItem]
    states: Mapping[str, ImportState]
    checks: Mapping[str, SourceCheck]
    newest_windows: Mapping[str, datetime]


def open_items(site: Site, instance: DagsterInstance, now: datetime) -> list[OpenItem]:
    """Every open item of every import, the oldest first.

    Open are: windows and query items until a load settles them; files too, until a newer version replaces them at
    their path; uploads once a run of them has ended badly. Never open: replays (their rejects are), dry runs, and items
    that a person skipped.

    Raises:
        TargetUnavailable: the ledger does not answer.
    """
    windowed = {name: bound for name, bound in _imports(site).items() if bound.spec.source.window is not None}
    with site.target_as_it_is.ledger() as connection:
        known = _LedgerFacts(
            ledger.unsettled_items(connection),
            ledger.list_imports(connection),
            ledger.list_source_checks(connection),
            ledger.newest_window_ends(connection, sorted(windowed)) if windowed else {},
        )
    in_progress = runs_in_progress(instance)
    records = [
        *in_progress,
        *runs_of(instance, (str(item.key) for item in known.unsettled)),
        *broken_runs(instance, sorted(windowed), now),
    ]
    facts = _item_facts(site, known, windowed, now, last_runs(records), reasons_to_wait(instance, in_progress))
    candidates = {(found.import_name, found.item): found for found in map(open_item, facts) if found is not None}
    with site.target_as_it_is.ledger() as connection:  # a load may have committed since the first look
        settled = ledger.settled_among(connection, list(candidates)) if candidates else set()
    found = [item for place, item in candidates.items() if place not in settled]
    return sorted(found, key=lambda item: (item.since, item.import_name, item.item))


def _imports(site: Site) -> dict[str, BoundImport]:
    """Every import that could be read, also those with mistakes."""
    return {**site.project.partial, **site.project.imports}


def _item_facts(
    site: Site,
    known: _LedgerFacts,
    windowed: Mapping[str, BoundImport],
    now: datetime,
    runs: Mapping[ItemOfImport, RunRecord],
    waits: Mapping[str, str],
) -> Iterator[ItemFacts]:
    """The facts of every item that may be open, each once."""
    owners = _Owners(site, known.states)
    last = {place: facts_of(record, {}, waits) for place, record in runs.items()}
    seen: set[ItemOfImport] = set()
    for item in known.unsettled:
        place = (item.import_name, str(item.key))
        seen.add(place)
        yield ItemFacts(
            owners.of(item.import_name), place[1], item.kind, item.status, item.created_at, _load(item), last.get(place)
        )
    for name, bound in windowed.items():
        for key, ended_at in _windows_due(bound, known.newest_windows.get(name), now):
            if (name, key) not in seen:
                seen.add((name, key))
                yield ItemFacts(
                    owners.of(name), key, "window", None, ended_at, None, last.get((name, key)),
                    expected="its window has ended",
                )  # fmt: skip
    for (name, key), run in last.items():
        if (name, key) not in seen and (run.state in {"queued", "running"} or name in windowed):
            yield ItemFacts(owners.of(name), key, _kind(windowed, name), None, run.created_at, None, run)
    for name, check in known.checks.items():
        for path, first_seen in check.settling.items():
            since = datetime.fromisoformat(first_seen)
            yield ItemFacts(owners.of(name), path, "file", None, since, settling=True)


def _kind(windowed: Mapping[str, BoundImport], name: str) -> ItemKind:
    return "window" if name in windowed else "file"


def _load(item: UnsettledItem) -> LoadFacts | None:
    if item.load_status not in {"failed", "refused"} or item.load_ended_at is None:
        return None
    return LoadFacts(
        "refused" if item.load_status == "refused" else "failed",
        item.load_ended_at,
        item.load_error or "",
        item.load_run or "",
    )


def _windows_due(bound: BoundImport, newest: datetime | None, now: datetime) -> Iterable[tuple[str, datetime]]:
    """Windows that have ended since the newest one in the ledger, and when each ended. None before the first load."""
    assert bound.spec.source.window is not None
    if newest is None:
        return
    windows = windows_of(bound.spec.source.window)
    for key in ended_windows(bound, now, after=newest):
        yield key, windows.time_window_for_partition_key(key).end


class _Owners:
    """The facts of each import, computed once."""

    def __init__(self, site: Site, states: Mapping[str, ImportState]) -> None:
        self._site = site
        self._states = states
        self._known: dict[str, ImportFacts] = {}

    def of(self, name: str) -> ImportFacts:
        """The import's facts, also of one that the project does not have."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> ImportFacts:
        project, state = self._site.project, self._states.get(name)
        bound = _imports(self._site).get(name)
        if name in project.broken:
            mistakes = project.broken[name].mistakes
            by_itself = self._runs_by_itself(bound) if bound is not None else state is not None
            return ImportFacts(name, "broken", by_itself, mistakes[0] if mistakes else "")
        if bound is None:
            return ImportFacts(name, "removed", state is not None and state.activated_at is not None)
        status = state.status if state is not None and state.status is not None else bound.spec.status
        return ImportFacts(name, status, self._runs_by_itself(bound))

    def _runs_by_itself(self, bound: BoundImport) -> bool:
        plan = bound.spec.schedule
        return self._site.settings.automation and (plan is not None or watches_files(bound))
