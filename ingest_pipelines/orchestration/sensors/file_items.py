"""What came: files at their source, picked for an import, in the ledger before Dagster hears of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, SourceDenied, printable
from ingest_pipelines.model import Item, ItemKey, ItemStatus, SourceFile
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, Listing
from ingest_pipelines.sources.files import fingerprint_of, item_of, near_misses, pick_files

SHARED_FOR = timedelta(seconds=20)
"""Sensors of one connection tick together: one listing serves them all, and none is older than this, nor than a
third of the sensor's own period."""

ASKED_LATELY = timedelta(minutes=3)
SECONDS_FOR_OTHERS = 5.0
"""A tick has sixty seconds; listing the folders of others takes no more of them."""

DEFAULT_PERIOD = timedelta(seconds=60)


@dataclass(frozen=True)
class Arrivals:
    """The files that an import should have, as items in order.

    Attributes:
        items: what the source has for the import now; all of them are in the ledger.
        states: the ledger's word on each.
        growing: files that may not be whole yet, and when each was first seen as it is, by fingerprint.
        near_misses: what to say where there is no file: those that are called almost as it.
    """

    items: tuple[Item, ...]
    states: Mapping[ItemKey, ItemStatus]
    growing: Mapping[str, datetime]
    near_misses: str = ""

    @property
    def waiting(self) -> tuple[Item, ...]:
        """Items that no load has decided on yet."""
        return tuple(item for item in self.items if self.states[item.key] == "new")

    def why_nothing(self, bound: BoundImport) -> str:
        """Why no run is needed, for the page of the sensor or schedule."""
        if self.growing:
            return f"{len(self.growing)} files came just now; they are taken once they hold still"
        if not self.items:
            return f"no file {bound.spec.source.file} at {bound.connection_name} yet{self.near_misses}"
        last = self.items[-1]
        state = self.states[last.key]
        if state == "new":
            return (
                f"the last file, {printable(last.path)}, has its run already; "
                f"if that died or was cancelled, run: ingest run {bound.name} --failed"
            )
        known = f"the last file, {printable(last.path)}, is known and {state}"
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
        settle = bound.settle
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
    return Arrivals(
        items,
        {item.key: known[item.key] for item in items},
        _growing(picked.unsettled, seen, now),
        "" if picked.matching else near_misses(listing, str(source.file)),
    )


def _growing(files: Iterable[SourceFile], seen: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    return {fingerprint: seen.get(fingerprint, now) for fingerprint in map(fingerprint_of, files)}


def period_of(bound: BoundImport) -> timedelta:
    """How often the import's sensor looks."""
    return bound.spec.sensor.every if bound.spec.sensor is not None else DEFAULT_PERIOD


@dataclass(frozen=True)
class _Listed:
    """What a folder held at that moment, or why it could not be listed."""

    at: datetime
    listing: Listing | None = None
    uris: Mapping[str, str] = field(default_factory=dict)
    error: IngestError | None = None


@dataclass
class Listings:
    """Listings of file sources, shared for a moment by the imports of a connection.

    Who finds a listing too old logs in once and lists all folders that the connection's imports asked for lately. A
    server that is down is asked once in that moment, too, and not by each import in turn.
    """

    _kept: dict[str, dict[str, _Listed]] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def of(self, bound: BoundImport, now: datetime, client: Client | None = None) -> tuple[Listing, Mapping[str, str]]:
        """The files in the import's folder, and their addresses for people by path.

        Raises:
            SourceUnavailable, SourceDenied: as the server said, at most a moment ago.
        """
        shared_for = min(SHARED_FOR, period_of(bound) / 3)
        folder = str(bound.spec.source.file).strip("/").rpartition("/")[0]
        with self._guard:
            lock = self._locks.setdefault(bound.connection_name, threading.Lock())
            folders = self._kept.setdefault(bound.connection_name, {})
        with lock:
            kept = folders.get(folder)
            if kept is None or not timedelta(0) <= now - kept.at < shared_for:
                others = [each for each, last in folders.items() if each != folder and now - last.at < ASKED_LATELY]
                folders.update(_list(bound, [folder, *others], now, client))
                kept = folders[folder]
        if kept.error is not None:
            raise copy(kept.error)
        assert kept.listing is not None
        return kept.listing, kept.uris


def _list(bound: BoundImport, folders: Sequence[str], now: datetime, client: Client | None) -> dict[str, _Listed]:
    """The folders in one session; the first one whatever it takes, the others while there is time."""
    found: dict[str, _Listed] = {}
    deadline = time.monotonic() + SECONDS_FOR_OTHERS
    try:
        with open_files(bound.connection, client) as source:
            for folder in folders:
                if found and time.monotonic() > deadline:
                    break
                try:
                    listing = source.listing(folder, nested=False)
                except SourceDenied as error:  # this folder, for instance it is missing
                    found[folder] = _Listed(now, error=error)
                else:
                    found[folder] = _Listed(now, listing, {file.path: source.uri(file.path) for file in listing.files})
    except IngestError as error:
        return {folder: found.get(folder) or _Listed(now, error=error) for folder in folders}
    return found
