"""New files at a source, as items of an import. The ledger has them before Dagster launches their runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, SourceDenied, printable
from ingest_pipelines.ledger import ItemState
from ingest_pipelines.model import Item, ItemKey, SourceFile
from ingest_pipelines.orchestration.runs.run_requests import NextRequest
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, Listing
from ingest_pipelines.sources.files import fingerprint_of, item_of, near_misses, pick_files

SHARED_FOR = timedelta(seconds=20)
"""Sensors of one connection tick together and share a listing. It is never older than this, nor than a third of the
sensor's own period."""

LISTED_WITH_OTHERS = timedelta(minutes=3)
"""A folder that an import listed within this time is listed in the same session as the folders of other imports."""

SECONDS_FOR_OTHERS = 5.0
"""A tick has sixty seconds. To list the folders of other imports takes at most this many of them."""

DEFAULT_PERIOD = timedelta(seconds=60)


@dataclass(frozen=True)
class FileItems:
    """An import's files at the source, as items in order.

    Attributes:
        items: all of them are in the ledger.
        states: per item, its state in the ledger.
        unsettled: files that may still be changing, by fingerprint: when each was first seen in its present state.
        near_misses: where no file matches, a hint that names files with almost the same name.
    """

    items: tuple[Item, ...]
    states: Mapping[ItemKey, ItemState]
    unsettled: Mapping[str, datetime]
    near_misses: str = ""

    @property
    def waiting(self) -> tuple[Item, ...]:
        """Items that no load has settled yet, and that may be loaded as they are."""
        return tuple(item for item in self.items if (state := self.states[item.key]).status == "new" or state.retryable)

    def why_nothing(self, bound: BoundImport, requests: Mapping[ItemKey, NextRequest] = MappingProxyType({})) -> str:
        """Why no run is requested, for the tick's page.

        Args:
            requests: of the waiting items.
        """
        if self.unsettled:
            return _still_changing(len(self.unsettled))
        if not self.items:
            return f"no file {bound.spec.source.file} at {bound.connection_name} yet{self.near_misses}"
        if requests:
            key, request = list(requests.items())[-1]
            return _why_waiting(bound, next(item for item in self.items if item.key == key), request)
        last = self.items[-1]
        status = self.states[last.key].status
        no_new_file = f"no new file; the last one, {printable(last.path)}, is {status}"
        if status in {"failed", "refused"}:
            return f"{no_new_file}: fix the file and upload it again, or re-run its partition {last.key}"
        return no_new_file


def _why_waiting(bound: BoundImport, item: Item, request: NextRequest) -> str:
    """Why no run of an item that waits is requested at this tick."""
    file, by_hand = printable(item.path), f"ingest run {bound.name} --item {item.key}"
    if request.standing == "terminated":
        return f"a person ended the run of {file}, so it is not requested again; run: {by_hand}"
    if request.at is not None:
        return (
            f"the last run of {file} ended and settled nothing; "
            f"a run is requested again at {request.at:%H:%M:%S} UTC; at once: {by_hand}"
        )
    return f"the last file, {file}, already has a run"


def _still_changing(files: int) -> str:
    if files == 1:
        return "1 new file is still changing; it is loaded once it has been stable for the settle time"
    return f"{files} new files are still changing; they are loaded once they have been stable for the settle time"


def find_file_items(
    site: Site,
    bound: BoundImport,
    listings: Listings,
    *,
    first_seen: Mapping[str, datetime] | None = None,
    settle: timedelta | None = None,
    client: Client | None = None,
) -> FileItems:
    """The import's files at the source, written to the ledger where they are new.

    Args:
        first_seen: `unsettled` of the last call.
        settle: how long a file must be unchanged; by default the import's setting, else its connection type's.
        client: makes the source's client; by default the source connects by itself.

    Raises:
        SourceUnavailable, SourceDenied, TargetUnavailable: nothing is lost, the next call sees the same files.
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
        states = {
            state.key: state for state in ledger.item_states(connection, bound.name, [item.key for item in items])
        }
    return FileItems(
        items,
        {item.key: states[item.key] for item in items},
        _first_seen(picked.unsettled, seen, now),
        "" if picked.matching else near_misses(listing, str(source.file)),
    )


def _first_seen(files: Iterable[SourceFile], seen: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    return {fingerprint: seen.get(fingerprint, now) for fingerprint in map(fingerprint_of, files)}


def period_of(bound: BoundImport) -> timedelta:
    """How often the import's sensor ticks."""
    return bound.spec.sensor.every if bound.spec.sensor is not None else DEFAULT_PERIOD


@dataclass(frozen=True)
class _Listed:
    """A folder's files at that moment, or the error of the attempt to list it."""

    at: datetime
    listing: Listing | None = None
    uris: Mapping[str, str] = field(default_factory=dict)
    error: IngestError | None = None


@dataclass
class Listings:
    """Listings of file sources, shared for some seconds by the imports of a connection.

    A sensor that finds its folder's listing too old logs in once and lists every folder that the connection's imports
    listed recently. An error is shared as well, so a server that is down is asked once and not by each import.
    """

    _kept: dict[str, dict[str, _Listed]] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def of(self, bound: BoundImport, now: datetime, client: Client | None = None) -> tuple[Listing, Mapping[str, str]]:
        """The files in the import's folder, and by path the address that people see.

        Raises:
            SourceUnavailable, SourceDenied: from this attempt, or from one some seconds ago.
        """
        shared_for = min(SHARED_FOR, period_of(bound) / 3)
        folder = str(bound.spec.source.file).strip("/").rpartition("/")[0]
        with self._guard:
            lock = self._locks.setdefault(bound.connection_name, threading.Lock())
            folders = self._kept.setdefault(bound.connection_name, {})
        with lock:
            kept = folders.get(folder)
            if kept is None or not timedelta(0) <= now - kept.at < shared_for:
                others = [
                    other
                    for other, listed in folders.items()
                    if other != folder and now - listed.at < LISTED_WITH_OTHERS
                ]
                folders.update(_list(bound, [folder, *others], now, client))
                kept = folders[folder]
        if kept.error is not None:
            raise copy(kept.error)
        assert kept.listing is not None
        return kept.listing, kept.uris


def _list(bound: BoundImport, folders: Sequence[str], now: datetime, client: Client | None) -> dict[str, _Listed]:
    """The folders, listed in one session: the first one always, the others while there is time."""
    listed: dict[str, _Listed] = {}
    deadline = time.monotonic() + SECONDS_FOR_OTHERS
    try:
        with open_files(bound.connection, client) as source:
            for folder in folders:
                if listed and time.monotonic() > deadline:
                    break
                try:
                    listing = source.listing(folder, nested=False)
                except SourceDenied as error:  # this folder only: it may be missing
                    listed[folder] = _Listed(now, error=error)
                else:
                    listed[folder] = _Listed(now, listing, {file.path: source.uri(file.path) for file in listing.files})
    except IngestError as error:
        return {folder: listed.get(folder) or _Listed(now, error=error) for folder in folders}
    return listed
