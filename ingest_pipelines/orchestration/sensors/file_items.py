"""New files at a source, as items of an import. The ledger has them before Dagster launches their runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.errors import (
    IngestError,
    ItemChanged,
    ItemGone,
    SourceDenied,
    SourceUnavailable,
    printable,
)
from ingest_pipelines.ledger import ItemState
from ingest_pipelines.model import Item, ItemKey, SourceFile
from ingest_pipelines.orchestration.monitoring.source_looks import record_failed_look
from ingest_pipelines.orchestration.runs.run_requests import NextRequest
from ingest_pipelines.orchestration.sensors.listings import FolderListing, Listings, StillListing, folder_of
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources.base import Client, FileSource, Listing
from ingest_pipelines.sources.files import Picked, fingerprint_of, item_of, pick_files
from ingest_pipelines.sources.near_misses import near_misses
from ingest_pipelines.sources.parts import FileSet, file_sets, pick_file_sets, read_manifest

MANIFESTS_PER_LOOK = 100
"""A look reads so many manifests; the next one reads others."""


@dataclass(frozen=True)
class FileItems:
    """An import's files at the source, as items in order.

    Attributes:
        items: all of them are in the ledger.
        states: per item, its state in the ledger.
        unsettled: files that may still be changing, by fingerprint: when each was first seen in its present state.
        near_misses: where no file matches, a hint that names files with almost the same name.
        missing: what is missing of an item of several files, by the path of its first one.
    """

    items: tuple[Item, ...]
    states: Mapping[ItemKey, ItemState]
    unsettled: Mapping[str, datetime]
    near_misses: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def waiting(self) -> tuple[Item, ...]:
        """Items that no load has settled yet, and that may be loaded as they are."""
        return tuple(item for item in self.items if (state := self.states[item.key]).status == "new" or state.retryable)

    def why_nothing(self, bound: BoundImport, requests: Mapping[ItemKey, NextRequest] = MappingProxyType({})) -> str:
        """Why no run is requested, for the tick's page.

        Args:
            requests: of the waiting items.
        """
        if self.missing:
            path, missing = next(iter(self.missing.items()))
            more = f", and {len(self.missing) - 1:,} more wait" if len(self.missing) > 1 else ""
            return f"{printable(path)} {missing}{more}"
        if self.unsettled:
            return _still_changing(len(self.unsettled))
        if not self.items and bound.spec.source.parts is not None:
            return f"no file at {bound.connection_name} fits source.parts.pattern yet"
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
    """The import's files at the source, written to the ledger where they are new, with what the look showed.

    Args:
        first_seen: `unsettled` of the last call.
        settle: how long a file must be unchanged; by default the import's setting, else its connection type's.
        client: makes the source's client; by default the source connects by itself.

    Raises:
        StillListing: a look is under way; once it is over, its files are in the ledger without this call.
        SourceUnavailable, SourceDenied, TargetUnavailable: nothing is lost, the next call sees the same files.
    """
    listed = list_folder(site, bound, listings, client)
    return register_files(site, bound, listed, bound.settle if settle is None else settle, first_seen or {})


def list_folder(site: Site, bound: BoundImport, listings: Listings, client: Client | None = None) -> FolderListing:
    """The files in the import's folder. A look that fails is noted in the ledger.

    Raises:
        StillListing: a look is under way; once it is over, its files are in the ledger without this call.
        SourceUnavailable, SourceDenied: nothing is lost, the next call sees the same files.
    """

    def later(left: BoundImport, listed: FolderListing) -> None:
        register_files(site, left, listed, left.settle, {})

    peek = partial(_manifests, site, bound) if bound.spec.source.parts is not None else None
    try:
        return listings.of(site, bound, site.clock(), client, later=later, peek=peek)
    except (SourceUnavailable, SourceDenied) as error:
        if not isinstance(error, StillListing) or error.hung:
            record_failed_look(site, bound, error)
        raise


def register_files(
    site: Site, bound: BoundImport, listed: FolderListing, settle: timedelta, first_seen: Mapping[str, datetime]
) -> FileItems:
    """The import's files in the listing, written to the ledger where they are new.

    Args:
        first_seen: `unsettled` of the last look.

    Raises:
        TargetUnavailable: nothing is lost, the next look sees the same files.
    """
    source, now = bound.spec.source, site.clock()
    listing, uris = listed.listing, listed.uris
    if source.parts is not None:
        return _register_file_sets(site, bound, source.parts, listed, settle, first_seen)
    # by the time of the listing: what has changed since then is not known
    picked = pick_files(
        listing,
        str(source.file),
        source.pick,
        listed.at,
        settle,
        first_seen,
        pattern=source.pattern,
        endings=source.endings,
    )
    items = tuple(
        item_of(
            bound.name,
            file,
            uris[file.path],
            source=str(source.file),
            pattern=source.pattern,
            endings=source.endings,
        )
        for file in picked.files
    )
    unsettled = _first_seen(picked.unsettled, first_seen, listed.at)
    with site.target.session() as connection:
        states = _write(connection, bound, items, picked, unsettled, now)
    return FileItems(
        items,
        states,
        unsettled,
        "" if picked.matching else near_misses(listing, str(source.file), source.pattern, source.endings),
    )


def _write(
    connection: psycopg.Connection, bound: BoundImport, items: Sequence[Item], picked: Picked,
    unsettled: Mapping[str, datetime], now: datetime,
) -> dict[ItemKey, ItemState]:  # fmt: skip
    """Writes what the look showed to the ledger; the items' states there."""
    settling = {
        file.path: " ".join(filter(None, [unsettled[fingerprint_of(file)].isoformat(), picked.waits.get(file.path)]))
        for file in picked.unsettled
    }
    ledger.register_items(connection, items, now)
    states = {state.key: state for state in ledger.item_states(connection, bound.name, [item.key for item in items])}
    ledger.record_success(connection, bound.name, bound.connection_name, now, settling)
    return {item.key: states[item.key] for item in items}


def _register_file_sets(
    site: Site, bound: BoundImport, parts: Parts, listed: FolderListing, settle: timedelta,
    first_seen: Mapping[str, datetime],
) -> FileItems:  # fmt: skip
    """The same for items of several files."""
    found = file_sets(listed.listing, folder_of(bound), parts)
    with site.target.session() as connection:
        known = _known(connection, bound, found, listed.uris)
        whole, picked = pick_file_sets(
            found, listed.texts, known, bound.spec.source.pick, listed.at, settle, first_seen
        )
        items = tuple(each.item(bound.name, listed.uris[each.parts[0].path]) for each in whole)
        unsettled = _first_seen(picked.unsettled, first_seen, listed.at)
        states = _write(connection, bound, items, picked, unsettled, site.clock())
    return FileItems(items, states, unsettled, missing=picked.waits)


def _known(
    connection: psycopg.Connection, bound: BoundImport, found: Sequence[FileSet], uris: Mapping[str, str]
) -> set[str]:
    """Digests of the deliveries that the ledger has: they were whole."""
    items = [each.item(bound.name, uris[each.parts[0].path]) for each in found]
    states = {state.key for state in ledger.item_states(connection, bound.name, [item.key for item in items])}
    return {item.version for item in items if item.key in states}


def _manifests(site: Site, bound: BoundImport, source: FileSource, listing: Listing) -> dict[str, str]:
    """The manifests of new deliveries, by path."""
    declared = bound.spec.source
    assert declared.parts is not None
    found = file_sets(listing, folder_of(bound), declared.parts)
    asked = [each for each in (found[-1:] if declared.pick == "last" else found) if each.manifest and not each.waits]
    if not asked:
        return {}
    uris = {each.parts[0].path: source.uri(each.parts[0].path) for each in asked}
    try:
        with site.target.session() as connection:
            known = _known(connection, bound, asked, uris)
    except (IngestError, psycopg.Error):
        return {}  # the target is not there; the next look says it again
    texts = {}
    for delivery in [each for each in asked if each.as_file.version not in known][:MANIFESTS_PER_LOOK]:
        assert delivery.manifest is not None
        with suppress(ItemGone, ItemChanged):
            texts[delivery.manifest.path] = read_manifest(source, delivery.manifest)
    return texts


def registered_items(site: Site, bound: BoundImport) -> FileItems:
    """The import's files that are in the ledger and have no load, without a look at the source."""
    with site.target.session() as connection:
        new = ledger.list_items(connection, bound.name, status="new")
        states = ledger.item_states(connection, bound.name, [item.key for item in new])
    files = [item for item in new if item.kind == "file"]
    files.sort(key=lambda item: (item.modified_at is None, item.modified_at, item.serial or -1, item.key))
    return FileItems(tuple(files), {state.key: state for state in states}, {})


def _first_seen(files: Iterable[SourceFile], seen: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    """When each was first seen; never later than now, though the clock was ahead then."""
    return {fingerprint: min(seen.get(fingerprint, now), now) for fingerprint in map(fingerprint_of, files)}
