"""What came: files at their source, picked for an import, in the ledger before Dagster hears of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import shown
from ingest_pipelines.model import Item, ItemKey, ItemStatus, SourceFile
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, Listing
from ingest_pipelines.sources.files import SETTLE, fingerprint_of, item_of, pick_files

SHARED_FOR = timedelta(seconds=20)
"""Sensors of one connection tick together: one listing serves them all, and none is older than this, nor than a
third of the sensor's own period."""

DEFAULT_PERIOD = timedelta(seconds=60)


@dataclass(frozen=True)
class Arrivals:
    """The files that an import should have, as items in order.

    Attributes:
        items: what the source has for the import now; all of them are in the ledger.
        states: the ledger's word on each.
        growing: files that may not be whole yet, and when each was first seen as it is, by fingerprint.
    """

    items: tuple[Item, ...]
    states: Mapping[ItemKey, ItemStatus]
    growing: Mapping[str, datetime]

    @property
    def waiting(self) -> tuple[Item, ...]:
        """Items that no load has decided on yet."""
        return tuple(item for item in self.items if self.states[item.key] == "new")

    def why_nothing(self, bound: BoundImport) -> str:
        """Why no run is needed, for the page of the sensor or schedule."""
        if self.growing:
            return f"{len(self.growing)} files came just now; they are taken once they hold still"
        if not self.items:
            return f"no file {bound.spec.source.file} at {bound.connection_name} yet"
        last = self.items[-1]
        state = self.states[last.key]
        if state == "new":
            return f"the last file, {shown(last.path)}, has its run already"
        known = f"the last file, {shown(last.path)}, is known and {state}"
        if state in {"failed", "refused"}:
            return f"{known}: upload it anew when it is mended, or re-run its partition {last.key}"
        return known


def look(
    site: Site,
    bound: BoundImport,
    listings: Listings,
    *,
    first_seen: Mapping[str, datetime] | None = None,
    settle: timedelta | None = None,
    client: Client | None = None,
) -> Arrivals:
    """The import's files at the source, written to the ledger where they are new.

    Args:
        first_seen: `growing` of the last look.
        settle: how long a file must hold still; else what the import, or its connection's type, says.
        client: makes the source's client; the source itself if it is not given.

    Raises:
        SourceUnavailable, SourceDenied, TargetUnavailable: nothing is forgotten, the next look sees it all again.
    """
    now = site.clock()
    source = bound.spec.source
    if settle is None:
        settle = source.settle or SETTLE.get(bound.connection.type, timedelta(0))
    seen = first_seen or {}
    listing, uris = listings.of(bound, now, client)
    picked = pick_files(listing, str(source.file), source.pick, now, settle, seen)
    items = tuple(item_of(bound.name, file, uris[file.path], source=str(source.file)) for file in picked.files)
    with site.target.session() as connection:
        ledger.register_items(connection, items, now)
        known = {
            state.key: state.status
            for state in ledger.item_states(connection, bound.name, [item.key for item in items])
        }
    return Arrivals(items, {item.key: known[item.key] for item in items}, _growing(picked.unsettled, seen, now))


def _growing(files: Iterable[SourceFile], seen: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    return {fingerprint: seen.get(fingerprint, now) for fingerprint in map(fingerprint_of, files)}


def period_of(bound: BoundImport) -> timedelta:
    """How often the import's sensor looks."""
    return bound.spec.sensor.every if bound.spec.sensor is not None else DEFAULT_PERIOD


@dataclass
class Listings:
    """Listings of file sources, shared for a moment by the imports of a connection."""

    _kept: dict[tuple[str, str], tuple[datetime, Listing, dict[str, str]]] = field(default_factory=dict)
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def of(self, bound: BoundImport, now: datetime, client: Client | None = None) -> tuple[Listing, dict[str, str]]:
        """The files in the import's folder, and their addresses for people by path."""
        shared_for = min(SHARED_FOR, period_of(bound) / 3)
        folder = str(bound.spec.source.file).strip("/").rpartition("/")[0]
        place = (bound.connection_name, folder)
        with self._guard:
            lock = self._locks.setdefault(place, threading.Lock())
        with lock:
            kept = self._kept.get(place)
            if kept is None or not timedelta(0) <= now - kept[0] < shared_for:
                with open_files(bound.connection, client) as source:
                    found = source.listing(folder, nested=False)
                    kept = (now, found, {file.path: source.uri(file.path) for file in found.files})
                self._kept[place] = kept
        return kept[1], kept[2]
