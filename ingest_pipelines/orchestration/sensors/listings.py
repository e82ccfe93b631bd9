"""Listings of file sources. One look at a connection at a time, on a thread of its own: no tick waits for it for long.

A server may hang at any step, and a sensor, a schedule or the alerts of another connection must not be late for it. So
ticks never hold a lock over the network. They wait some seconds for a look and leave; whatever the look shows later is
written to the ledger, where the next tick sees it, also one in another process: the daemon replaces the process
of the code from time to time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.orchestration.monitoring.source_looks import record_failed_look
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, FileSource, Listing
from ingest_pipelines.sources.network import retried

SHARED_FOR = timedelta(seconds=20)
"""Sensors of one connection tick together and share a listing. It is never older than this, nor than a third of the
sensor's own period."""

LISTED_WITH_OTHERS = timedelta(minutes=3)
"""A folder that an import listed within this time is listed in the same session as the folders of other imports."""

SECONDS_FOR_OTHERS = 5.0
"""How long a look goes on to list folders that no tick has asked it for."""

PATIENCE_SECONDS = 5.0
"""How long after its beginning ticks wait for a look. A tick has sixty seconds, but Dagster runs few at a time."""

OVERDUE_SECONDS = 20.0
"""A look that takes longer is recorded as hung until it ends: well below a tick's sixty seconds, and long enough for a
slow login and a large folder."""

LOOK_SECONDS = 120.0
"""A look that takes longer is cut. A silent server ends it sooner, by the connection's `timeout_seconds`."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=1)
"""A connection that failed is not asked again for so long, doubled for each further failure."""

QUICK_RETRIES = 2
"""A look whose connection breaks off is tried again at once so often, if the connection's `retries` allow that."""

DEFAULT_PERIOD = timedelta(seconds=60)

Receive = Callable[[BoundImport, "FolderListing"], None]
"""Called with the listing of an import whose tick did not wait for it."""


Peek = Callable[[FileSource, Listing], Mapping[str, str]]
"""Reads what an import needs to know of a listed folder besides: by path the text of small files."""


class StillListing(SourceUnavailable):
    """A look at the connection is under way; the next tick sees its result."""


@dataclass(frozen=True)
class FolderListing:
    """A folder's files.

    Attributes:
        at: when the look began; the files were seen a little later.
        uris: by path the address that people see.
        texts: by path the text of manifests.
    """

    at: datetime
    listing: Listing
    uris: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Failure:
    at: datetime
    error: Exception


_Outcome = FolderListing | _Failure


def period_of(bound: BoundImport) -> timedelta:
    """How often the import's sensor ticks."""
    return bound.spec.sensor.every if bound.spec.sensor is not None else DEFAULT_PERIOD


def folder_of(bound: BoundImport) -> str:
    """The folder of the import's files."""
    return str(bound.spec.source.file).strip("/").rpartition("/")[0]


@dataclass
class _Look:
    """One session with a connection, on a thread of its own.

    Attributes:
        wanted: folders that ticks wait for; the first one is being listed.
        others: folders to be listed while there is time.
        outcomes: folders that were listed, or could not be.
        left: imports whose tick did not wait for the end.
    """

    since: datetime
    began: float = field(default_factory=time.monotonic)
    step: str = "connect"
    wanted: deque[str] = field(default_factory=deque)
    others: deque[str] = field(default_factory=deque)
    outcomes: dict[str, _Outcome] = field(default_factory=dict)
    left: dict[str, BoundImport] = field(default_factory=dict)
    over: bool = False
    cut: bool = False
    source: FileSource | None = None

    @property
    def age(self) -> float:
        return time.monotonic() - self.began

    def now(self) -> datetime:
        return self.since + timedelta(seconds=self.age)


@dataclass
class _Door:
    """What is known of one connection. `changed` guards all of it, and is never held over the network.

    Attributes:
        kept: per folder, its last outcome.
        used: per import, the time of the last listing that one of its ticks used.
        peeks: per folder, what its imports read besides.
        failures: how many looks failed one after the other; above 0, only the tick that begins a look waits for it.
        failure: the last look's error, if it failed as a whole.
        failing_since: when the first of these looks began.
    """

    changed: threading.Condition = field(default_factory=threading.Condition)
    kept: dict[str, _Outcome] = field(default_factory=dict)
    used: dict[str, datetime] = field(default_factory=dict)
    peeks: dict[str, dict[str, Peek]] = field(default_factory=dict)
    look: _Look | None = None
    failures: int = 0
    failure: _Failure | None = None
    failing_since: datetime | None = None

    def rests(self, now: datetime) -> bool:
        """Whether the connection failed a moment ago, and is not asked again yet."""
        if self.failure is None:
            return False
        pause = min(FIRST_PAUSE * float(2 ** min(self.failures - 1, 10)), LONGEST_PAUSE)
        return abs(now - self.failure.at) < pause


@dataclass
class Listings:
    """Looks at file sources, shared by the imports of a connection.

    A tick that finds its folder's listing too old begins a look, which logs in once and lists every folder that the
    connection's imports listed recently. An error is shared as well, so a server that is down is asked once and not by
    each import.

    Attributes:
        patience_seconds: how long after its beginning `of` waits for a look.
    """

    patience_seconds: float = PATIENCE_SECONDS
    _doors: dict[str, _Door] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def of(
        self,
        site: Site,
        bound: BoundImport,
        now: datetime,
        client: Client | None = None,
        *,
        later: Receive,
        peek: Peek | None = None,
    ) -> FolderListing:
        """The files in the import's folder.

        Args:
            later: called on the look's thread, where this call raises StillListing and the look succeeds.
            peek: called on the look's thread with each listing of the folder.

        Raises:
            StillListing: the look takes longer than the patience.
            SourceUnavailable, SourceDenied: from this attempt, or from one some seconds ago.
        """
        door, folder = self._door(site, bound), folder_of(bound)
        shared_for = min(SHARED_FOR, period_of(bound) / 3)
        with door.changed:
            if peek is not None:
                door.peeks.setdefault(folder, {})[bound.name] = peek
            kept = door.kept.get(folder)
            if kept is not None and abs(now - kept.at) < shared_for:
                return _result(door, bound, kept)
            look, begins = door.look, False
            if look is None and not door.rests(now):
                look, begins = self._begin(site, bound, now, client, door, later), True
            if look is not None:
                _join(look, folder)
                if begins or not door.failures:
                    patience = self.patience_seconds - look.age
                    door.changed.wait_for(lambda: folder in look.outcomes or look.over, max(0.0, patience))
                if folder in look.outcomes:
                    return _result(door, bound, look.outcomes[folder])
                look.left[bound.name] = bound
            kept = door.kept.get(folder)
            if isinstance(kept, FolderListing) and kept.at > door.used.get(
                bound.name, datetime.min.replace(tzinfo=UTC)
            ):
                return _result(door, bound, kept)
            failure = door.failure or kept
            if isinstance(failure, _Failure):
                raise copy(failure.error)
            assert look is not None
            raise _still_listing(bound.connection_name, look, door.failing_since)

    def failing_since(self, bound: BoundImport) -> datetime | None:
        """Since when looks at the import's connection fail; None: the last one did not, or there was none."""
        with self._guard:
            door = self._doors.get(bound.connection_name)
        since = door.failing_since if door is not None else None
        return since.astimezone(UTC) if since is not None else None

    def _door(self, site: Site, bound: BoundImport) -> _Door:
        """The connection's door. A process that has just begun asks the ledger whether the connection fails."""
        name = bound.connection_name
        with self._guard:
            door = self._doors.get(name)
        if door is not None:
            return door
        with site.target.session() as connection:
            since = ledger.failing_since(connection, name)
        with self._guard:
            return self._doors.setdefault(name, _Door(failures=1 if since else 0, failing_since=since))

    def _begin(
        self, site: Site, bound: BoundImport, now: datetime, client: Client | None, door: _Door, later: Receive
    ) -> _Look:
        look = _Look(now)
        folder = folder_of(bound)
        look.others.extend(
            other for other, kept in door.kept.items() if other != folder and now - kept.at < LISTED_WITH_OTHERS
        )
        door.look = look
        threading.Thread(
            target=_look_at,
            args=(site, bound, client, door, look, later),
            name=f"look at {bound.connection_name}",
            daemon=True,
        ).start()
        return look


def _join(look: _Look, folder: str) -> None:
    if folder not in look.outcomes and folder not in look.wanted:
        look.wanted.append(folder)
        with contextlib.suppress(ValueError):
            look.others.remove(folder)


def _result(door: _Door, bound: BoundImport, outcome: _Outcome) -> FolderListing:
    if isinstance(outcome, _Failure):
        raise copy(outcome.error)
    door.used[bound.name] = outcome.at
    return outcome


def _still_listing(connection: str, look: _Look, failing_since: datetime | None) -> StillListing:
    before = f"; it fails since {failing_since:%Y-%m-%d %H:%M:%S} UTC" if failing_since is not None else ""
    return StillListing(
        f"connection {connection}: still listing since {look.since.astimezone(UTC):%H:%M:%S} UTC,"
        f" at the step {look.step}{before}; the next tick sees the result",
        hint="to see which step is slow, run: ingest check --connect",
        step=look.step,
        hung=look.age > OVERDUE_SECONDS,
    )


def _look_at(site: Site, bound: BoundImport, client: Client | None, door: _Door, look: _Look, later: Receive) -> None:
    """The look's thread: lists every wanted folder, then tells the ticks that wait and the ledger."""
    name = bound.connection_name
    # the next look is the next attempt: a hung server is not waited for several times
    connection = bound.connection.model_copy(update={"retries": 0})
    overdue = threading.Timer(OVERDUE_SECONDS, _record_overdue, [site, name, door, look])
    cut = threading.Timer(LOOK_SECONDS, _cut, [look])
    for timer in (overdue, cut):
        timer.daemon = True
        timer.start()

    def list_folders() -> None:
        look.source = source = open_files(connection, client)
        with source:
            look.step = "list"
            while not look.cut and (folder := _next_folder(door, look)) is not None:
                peeks = tuple(door.peeks.get(folder, {}).values())
                _keep(door, look, folder, _list(source, folder, look.since, peeks))

    failure: Exception | None = None
    try:
        retries = min(QUICK_RETRIES, bound.connection.retries)
        retried(list_folders, retries, time.sleep, lambda error: not (error.hung or look.cut) and look.age < 2.0)
    except Exception as error:  # a bug too: the ticks that wait raise it
        failure = error
    finally:
        overdue.cancel()
        cut.cancel()
        look.source = None
    for left, outcome in _end(door, look, _hung(name, look) if look.cut else failure):
        with contextlib.suppress(IngestError, psycopg.Error):  # the target is not there; the next look says it again
            if isinstance(outcome, FolderListing):
                later(left, outcome)
            elif isinstance(outcome.error, IngestError):
                record_failed_look(site, left, outcome.error, since=look.since)


def _list(source: FileSource, folder: str, at: datetime, peeks: Sequence[Peek]) -> _Outcome:
    try:
        listing = source.listing(folder, nested=False)
    except SourceDenied as error:  # this folder only: it may be missing
        return _Failure(at, error)
    texts = {path: text for peek in peeks for path, text in peek(source, listing).items()}
    return FolderListing(at, listing, {file.path: source.uri(file.path) for file in listing.files}, texts)


def _next_folder(door: _Door, look: _Look) -> str | None:
    """The folder to list now. After the last one the look is over: no tick can join it any more."""
    with door.changed:
        if look.wanted:
            return look.wanted[0]
        if look.others and look.age < SECONDS_FOR_OTHERS:
            look.wanted.append(look.others.popleft())
            return look.wanted[0]
        _close(door, look)
        return None


def _keep(door: _Door, look: _Look, folder: str, outcome: _Outcome) -> None:
    with door.changed:
        look.wanted.remove(folder)
        look.outcomes[folder] = door.kept[folder] = outcome
        door.changed.notify_all()


def _end(door: _Door, look: _Look, failure: Exception | None) -> list[tuple[BoundImport, _Outcome]]:
    """The imports whose ticks have left, with the outcome of their folders."""
    with door.changed:
        if failure is None:
            door.failures, door.failure, door.failing_since = 0, None, None
        elif not look.over:
            door.failure = _Failure(look.now(), failure)
            door.failures += 1
            door.failing_since = door.failing_since or look.since
            for folder in (*look.wanted, *look.others):
                look.outcomes[folder] = door.kept[folder] = door.failure
        _close(door, look)
        return [
            (left, look.outcomes[folder_of(left)]) for left in look.left.values() if folder_of(left) in look.outcomes
        ]


def _close(door: _Door, look: _Look) -> None:
    look.over = True
    if door.look is look:
        door.look = None
    door.changed.notify_all()


def _hung(name: str, look: _Look) -> SourceUnavailable:
    return SourceUnavailable(
        f"connection {name}: no listing within {LOOK_SECONDS:g} s, at the step {look.step}",
        hint="is the server up, and not overloaded? to see which step is slow, run: ingest check --connect",
        step=look.step,
        hung=True,
    )


def _record_overdue(site: Site, name: str, door: _Door, look: _Look) -> None:
    with door.changed:
        waiting = () if look.over else tuple(look.left.values())
        error = _still_listing(name, look, door.failing_since)
    for bound in waiting:
        with contextlib.suppress(IngestError, psycopg.Error):
            record_failed_look(site, bound, error, since=look.since)


def _cut(look: _Look) -> None:
    """Ends the look's session: a request that waits for the server fails at once, or by its own time-out."""
    look.cut = True
    source = look.source
    if source is not None:
        with contextlib.suppress(Exception):
            source.__exit__(None, None, None)
