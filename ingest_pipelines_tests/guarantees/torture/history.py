"""One history of loads, each struck by one or more blows and then loaded whole; a model says what the target holds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal
from urllib.parse import urlsplit

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import Target
from ingest_pipelines.model import Item, Mode, Run, Workspace
from ingest_pipelines_tests.guarantees.torture.blows import AFTER_COMMIT, Blow, Striker, draw, wait_until_nobody_works
from ingest_pipelines_tests.guarantees.torture.feed import (
    PASSWORD,
    Line,
    create_table,
    drain_item,
    import_of,
    insert_rows,
    random_lines,
    shop_connection,
    write_file,
)
from ingest_pipelines_tests.guarantees.torture.target import TargetServer, fresh_target
from ingest_pipelines_tests.guarantees.torture.worker import Attempt, Ending, Worker
from ingest_pipelines_tests.guarantees.world import World, read_world
from ingest_pipelines_tests.merge.deliveries import Rejected
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.servers.cut_proxy import CutProxy

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)
MODES: tuple[Mode, ...] = ("add_and_update", "add_only", "update_only")

Feed = Literal["file", "early", "cursor"]
FEEDS: tuple[Feed, ...] = ("file", "cursor", "early")
"""A file; a cursor's query, drained in chunks; a file whose rows are loaded while others are still being validated."""

_Counts = tuple[int, int, int]

Found = Literal["old", "new", "some chunks"]


class Difference(Exception):
    """The target is not as it must be, or the load said what is not true."""


@dataclass
class Struck:
    """What a history did.

    Attributes:
        blows: by kind, those that met their load.
        missed: blows that came too late, or met nothing.
        found: what the target held after a blow: by "old", "new", "some chunks".
        loads: loads that are in the target whole.
        seconds: how long it took.
    """

    blows: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    found: Counter[str] = field(default_factory=Counter)
    loads: int = 0
    seconds: float = 0.0


@dataclass
class _Usual:
    """What a load that nothing strikes takes, and each of its connections exchanges: the median of the last five."""

    seconds: list[float] = field(default_factory=list)
    bytes: list[tuple[int, int, int, int]] = field(default_factory=list)

    def add(self, seconds: float, exchanged: tuple[int, int, int, int]) -> None:
        self.seconds = [*self.seconds[-4:], seconds]
        self.bytes = [*self.bytes[-4:], exchanged]

    def duration(self) -> float:
        return median(self.seconds)

    def exchanged(self) -> tuple[int, int, int, int]:
        sent, received, source_sent, source_received = (int(median(of)) for of in zip(*self.bytes, strict=True))
        return sent, received, source_sent, source_received


class History:
    """Loads of one import into one table, in order. `step` makes one; a Difference says what was wrong with it."""

    def __init__(
        self, seed: str, feed: Feed, server: TargetServer, database: str, worker: Worker, source_url: str, folder: Path,
        network: CutProxy, source: CutProxy,
    ) -> None:  # fmt: skip
        self.world, self.struck = World(), Struck()
        self._seed, self._feed, self._server, self._worker = seed, feed, server, worker
        self._url = server.url(database)
        self._source_url, self._folder = source_url, folder
        self._network, self._source = network, source
        self._striker = Striker(server, database, network, source, source_url)
        parts = urlsplit(self._url)
        host = f"127.0.0.1:{network.port}"
        through = parts._replace(netloc=f"{parts.username}:{parts.password}@{host}").geturl()
        self._direct, self._through = Target(self._url, 20), Target(through, 20)
        self._connection: dict[str, Any] = {"type": "csv", "directory": str(folder)}
        if feed == "cursor":
            self._connection = shop_connection(source_url, source.port)
        self._usual = _Usual()
        self.doing = ""

    def step(self, number: int) -> None:
        """One delivery, struck and then loaded whole.

        Raises:
            Difference
        """
        chance = random.Random(f"{self._seed}/{number}")
        contacts = self._feed != "early"
        mode = MODES[0] if number < 2 else chance.choice(MODES)
        keep = chance.random() < 0.5
        bound = import_of(
            self._connection,
            contacts=contacts,
            cursor=self._feed == "cursor",
            mode=mode,
            empty="keep" if keep else "clear",
        )
        load = _Load(bound, mode, keep, random_lines(chance, contacts=contacts), self._feed)
        last_id = insert_rows(self._source_url, load.lines) if self._feed == "cursor" else 0
        load.first_id = last_id + 1
        load.item = drain_item(number) if self._feed == "cursor" else write_file(self._folder, number, load.lines)
        run = Run(f"run-{number}", by="ann")
        if self._usual.seconds:  # the first load only shows what is usual
            for blow_number in range(chance.choice((1, 1, 1, 1, 2, 3))):
                blow = draw(
                    chance, cursor=self._feed == "cursor", early=self._feed == "early",
                    own_server=self._server.can_restart,
                )  # fmt: skip
                through = chance.random() < 0.3
                self.doing = f"step {number}, {mode}, {'keep' if keep else 'clear'}, blow {blow_number}: {blow}"
                self._strike(load, run, blow, through=through)
                another_run, again = chance.random() < 0.3, blow_number + 1
                run = Run(f"run-{number}-{again}", by="ann") if another_run else replace(run, attempt=1 + again)
                if another_run:
                    load.begin_run(drain_item(number * 100 + again) if self._feed == "cursor" else load.item)
        self.doing = f"step {number}, {mode}, {'keep' if keep else 'clear'}: loaded whole"
        self._load_whole(load, run)

    def _strike(self, load: _Load, run: Run, blow: Blow, *, through: bool) -> None:
        self._striker.prepare(blow, *self._usual.exchanged())
        attempt = self._attempt(load, run, blow.point, through=through or blow.is_of_the_network)
        moment = None if blow.point or blow.kind.endswith(("receiving", "sending")) else (
            blow.share * 1.1 * self._usual.duration()
        )  # fmt: skip
        ending = self._worker.run(attempt, lambda pid: self._striker.strike(blow, pid), moment)
        self._striker.finish(blow)
        killed = ending.code == -9
        before = load.found
        if blow.kind == "postmaster killed":
            self._server.restart()
        self._demand(killed or ending.code in {0, 2}, f"the load ended with {ending}")
        self._demand(not killed or blow.kind.startswith("process"), f"the load was killed: {ending}")
        self._demand(killed or "terminal" not in ending.said, f"the load gave up for good: {ending}")
        hit = killed or self._striker.hit
        found = self._look(load)
        if ending.code == 0:
            self._demand(ending.said == "committed" and found == "new", f"it said {ending}, the target is {found}")
        if hit and ending.struck and self._feed != "cursor":
            # A blow before it, to the same run, may have met a load that had committed.
            words = f"stopped at {blow.point}, the target was {before} and is {found}"
            self._demand(not blow.must_be_old or found == before, words)
            self._demand(blow.point != AFTER_COMMIT or found == "new", f"it had committed, the target is {found}")
        if hit:
            self.struck.blows[blow.kind] += 1
            self.struck.found[found] += 1
        else:
            self.struck.missed += 1

    def _load_whole(self, load: _Load, run: Run) -> None:
        before, was_untouched = self._exchanged(), load.is_untouched
        began = time.monotonic()
        ending = self._worker.run(self._attempt(load, run, through=True), _never)
        seconds = time.monotonic() - began
        self._demand(ending == Ending(0, "committed", struck=False), f"the load ended with {ending}")
        found = self._look(load)
        self._demand(found == "new", f"the load says committed, the target is {found}")
        if was_untouched:
            of_target, of_source = self._exchanged()
            self._usual.add(seconds, (*_each(before[0], of_target), *_each(before[1], of_source)))
        self.struck.loads += 1

    def _exchanged(self) -> tuple[_Counts, _Counts]:
        """Connections, bytes sent and bytes received so far, of the target's network and of the source's."""
        target, source = (
            (network.connections, network.sent, network.received) for network in (self._network, self._source)
        )
        return target, source

    def _attempt(self, load: _Load, run: Run, point: str = "", *, through: bool) -> Attempt:
        workspace = Workspace(self._folder / "spool", self._folder / "spill")
        target = self._through if through else self._direct
        return Attempt(
            load.item, load.bound, workspace, target, run, NOW, point, early=self._feed == "early",
            secrets={PASSWORD: str(urlsplit(self._source_url).password)},
        )  # fmt: skip

    def _look(self, load: _Load) -> Found:
        """What the target holds now, which is the world from here on."""
        wait_until_nobody_works(self._url)
        seen = read_world(self._url)
        expected, found = load.follow(self.world, seen)
        self._demand(seen == expected, f"the model says {_apart(expected, seen)}")
        self.world = seen
        return found

    def _demand(self, fact: bool, otherwise: str) -> None:
        if not fact:
            raise Difference(f"seed {self._seed}, {self.doing}: {otherwise}")


class _Load:
    """A delivery and how much of it is in the target, by the ledger's own word; the model says what else must be."""

    item: Item

    def __init__(self, bound: BoundImport, mode: Mode, keep: bool, lines: Sequence[Line], feed: Feed) -> None:
        self.bound, self.lines, self.first_id = bound, lines, 0
        self._mode, self._keep, self._feed = mode, keep, feed
        self._done = 0

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of the delivery is in the target."""
        return not self._done

    @property
    def found(self) -> Found:
        """How much of the delivery the target held when it was last looked at."""
        return "new" if self._done == len(self.lines) else "some chunks" if self._done else "old"

    def begin_run(self, item: Item) -> None:
        """Another run: of a file, it loads all of it again; of a cursor, what the runs before have left."""
        self.item = item
        if self._feed != "cursor":
            self._done = 0

    def follow(self, world: World, seen: World) -> tuple[World, Found]:
        """The world after as many of the delivery's loads as the ledger shows, and how much of the delivery that is."""
        for _, _, read, *_ in seen.loads[len(world.loads) :]:
            rows = self.lines[self._done : self._done + read]
            first = 1 if self._feed == "cursor" else 2
            world = world.after(
                self.item.key, [line.good for line in rows if line.good],
                [Rejected(number) for number, line in enumerate(rows, first) if line.good is None],
                mode=self._mode, keep=self._keep,
                cursor=str(self.first_id + self._done + read - 1) if self._feed == "cursor" and read else None,
            )  # fmt: skip
            self._done += read
        if self._feed != "cursor" and self.found == "some chunks":
            return replace(world, cursor="half of a file"), self.found
        return world, self.found


def _each(before: _Counts, after: _Counts) -> tuple[int, int]:
    """Bytes that a connection sent and received on average between the two moments."""
    connections, sent, received = (b - a for a, b in zip(before, after, strict=True))
    return sent // max(1, connections), received // max(1, connections)


def _never(pid: int) -> None:
    raise AssertionError("a load that nothing strikes was struck")


def _apart(expected: World, seen: World) -> str:
    words = []
    for name in ("profiles", "consents", "loads", "rejects", "events", "cursor"):
        wanted, got = getattr(expected, name), getattr(seen, name)
        if wanted != got:
            words.append(f"{name}: {wanted!r}, and the target has {got!r}")
    return "; ".join(words)


@contextmanager
def history(
    seed: str, feed: Feed, server: TargetServer, source_server: str, worker: Worker, folder: Path
) -> Iterator[History]:
    """A history that has not begun, with a target and a source of its own.

    Args:
        source_server: a superuser's URL of another Postgres, which the blows leave alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        source_url = stack.enter_context(postgres.fresh_database(source_server))
        create_table(source_url)
        database = stack.enter_context(fresh_target(server))
        networks = [
            stack.enter_context(CutProxy(str(parts.hostname), int(parts.port or 0)))
            for parts in (urlsplit(server.admin_url), urlsplit(source_url))
        ]
        yield History(seed, feed, server, database, worker, source_url, folder, *networks)


def run_steps(history: History, *, blows: int, until: Callable[[], bool], first: int = 0) -> Struck:
    """Steps until so many blows have met their load, or until it is time to end."""
    began, number = time.monotonic(), first
    while history.struck.blows.total() < blows and not until():
        history.step(number)
        number += 1
    history.struck.seconds = time.monotonic() - began
    return history.struck
