"""The hour: deliveries, people and a fault a minute; tables and list compared all the while, printed each minute."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ingest_pipelines_tests.guarantees.background import Background
from ingest_pipelines_tests.guarantees.on_call.faults import Faults
from ingest_pipelines_tests.guarantees.on_call.oracle import BROKEN, Observed, Record
from ingest_pipelines_tests.guarantees.on_call.people import People
from ingest_pipelines_tests.guarantees.on_call.vendors import all_feeds
from ingest_pipelines_tests.guarantees.on_call.world import DATABASES, World, world_of
from ingest_pipelines_tests.servers.fleet import Fleet

LOOK_EVERY, DELIVER_EVERY, ACT_EVERY, FAULT_EVERY = 30.0, 13.0, 35.0, 60.0
WINDOWED = ("visits", "calls")
QUIET_SECONDS = 1_500.0
"""How long the end may take: faults are over, people fix what is broken, and everything else is loaded."""


@dataclass(frozen=True)
class Verdict:
    """How the hour ended.

    Attributes:
        disagreements: words about each that lasted longer than two minutes, or was wrong at once.
        left: deliveries that could be loaded and were not, at the very end.
    """

    disagreements: Sequence[str]
    left: Sequence[str]


def on_call(
    folder: Path,
    fleet: Fleet,
    minutes: float,
    seed: int,
    *,
    only: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    tell: Callable[[str], None],
) -> Verdict:
    """Runs the world for that long, then until all is quiet.

    Args:
        only: the faults to choose from; by default all.
        names: of the feeds; by default all fourteen.
        tell: gets a line per minute, and one for each disagreement.
    """
    windows = max(6, round(minutes))
    feeds = {name: feed for name, feed in all_feeds().items() if not names or name in names}
    with world_of(folder, fleet, windows, feeds, own_clock=True) as world:
        for number, name in enumerate(WINDOWED):
            world.vendors.add_windows(name, windows + 4 + int(minutes // 60), bad=[windows // 2 + number])
        hour = _Hour(world, windows, minutes, seed, only, tell)
        return hour.run()


class _Hour:
    def __init__(
        self,
        world: World,
        windows: int,
        minutes: float,
        seed: int,
        only: Sequence[str] | None,
        tell: Callable[[str], None],
    ) -> None:
        self.world, self.windows, self.tell = world, windows, tell
        self.people = People(world, seed)
        self.faults = Faults(world, self.people, seed)
        if only:
            self.faults.all = {name: self.faults.all[name] for name in only}
        self.ends = minutes * 60.0
        self.book = Record()
        self.faults_now: list[str] = []
        self.observed: Observed | None = None
        self._background = Background(8, world.note, (OSError, AssertionError))
        self._printed = 0

    def run(self) -> Verdict:
        world = self.world
        world.platform.start()
        world.platform.wait_until_up()
        world.began = time.time()
        world.note("ingest up is ready")
        self.tell(_HEADER)
        due = dict.fromkeys(("look", "deliver", "act"), 0.0) | {"fault": FAULT_EVERY / 2}
        every = {"look": LOOK_EVERY, "deliver": DELIVER_EVERY, "act": ACT_EVERY, "fault": FAULT_EVERY}
        work: dict[str, Callable[[], None]] = {
            "look": self.look, "deliver": self.people.deliver, "act": lambda: self.people.act(self.observed),
        }  # fmt: skip
        minute = 0
        while (now := time.time() - world.began) < self.ends:
            world.keep_up()
            world.letters()
            self.people.expect_windows()
            for name, when in due.items():
                if now >= when and name == "fault":
                    self._cause_fault()
                    due[name] = now + every[name]
                elif now >= when and self._background.is_idle(name):
                    self._background.start(name, work[name])
                    due[name] = now + every[name]
            self._backfills(now)
            if now >= (minute + 1) * 60:
                minute += 1
                self.print_minute(minute)
            time.sleep(0.25)
        left = self._quiet()
        world.letters()
        for subject in world.oracle.told_twice():
            self.book.counted["told twice", subject, 0] = f"told twice: {subject}"
        counted = list(self.book.counted.values())
        self.tell("")
        self.tell(f"{len(world.oracle.letters)} mails, {world.platform.starts} starts of ingest up")
        self.tell(f"{len(counted)} disagreements that lasted longer than two minutes; {len(left)} deliveries left over")
        for words in (*counted, *left):
            self.tell(f"  {words}")
        self._background.stop()
        return Verdict([*counted, *left], left)

    def look(self) -> None:
        """One comparison of tables and list."""
        observed = self.world.observe()
        for words in self.book.note(list(self.world.oracle.judge(observed)), observed.at):
            self.world.note(f"DISAGREEMENT: {words}")
            self.tell(f"        ! {words}")
        self.observed = observed

    def print_minute(self, minute: float) -> None:
        """The line of a minute: what is where, and what does not agree."""
        if self.observed is None:
            return
        observed, oracle = self.observed, self.world.oracle
        states = Counter(entry.state for entry in observed.listed)
        broken = sum(count for state, count in states.items() if state in BROKEN)
        waiting = sum(states.values()) - broken
        made = sum(len(deliveries) for deliveries in oracle.deliveries.values())
        loaded = sum(len(rows) for rows in observed.own_rows.values())
        cells = (
            made, loaded, len(oracle.missing(observed)), waiting, broken, len(self.book.since),
            len(self.book.counted), len(oracle.letters),
        )  # fmt: skip
        fault = ", ".join(self.faults_now) or "-"
        self.faults_now = []
        self.tell(f"{minute:6.0f}  " + "  ".join(f"{cell:>8}" for cell in cells) + f"  {fault}")

    def _quiet(self) -> list[str]:
        """Waits until all faults are over and everything that can be loaded is; what could not."""
        world, deadline = self.world, time.time() + QUIET_SECONDS
        self.tell("  the faults are over")
        world.note("the faults are over")
        minute = 0.0
        while time.time() < deadline:
            world.keep_up()
            world.letters()
            running = self._background.running
            if not running:
                if self.people.paused:
                    self.people.resume_all()
                self._start_backfills()
                self.look()
                self.print_minute(self.ends / 60 + minute)
                minute += 1
                assert self.observed is not None
                left = world.oracle.missing(self.observed)
                if not left and not self.observed.listed and self.observed.status is not None:
                    wrong = self._wrong_partitions()
                    if not wrong:
                        return []
                self.people.fix_all(self.observed)
            world.over.wait(10)
        assert self.observed is not None
        return [
            *(f"left over: {d.feed} {d.label or d.number}" for d in world.oracle.missing(self.observed)),
            *(f"left on the list: {entry.import_name} {entry.item} {entry.state}" for entry in self.observed.listed),
            *self._wrong_partitions(),
        ]

    def _wrong_partitions(self) -> list[str]:
        """Where Dagster's partitions do not agree with the tables: what is loaded must be green."""
        assert self.observed is not None
        wrong = []
        for feed in self.world.oracle.feeds.values():
            if feed.kind not in {"all", "last", "window"}:
                continue
            try:
                found = self.world.platform.partitions(DATABASES[feed.table], feed.import_name)
            except OSError as error:
                found = None
                self.world.note(f"partitions of {feed.import_name}: {error}")
            green, red = found or (set(), set())
            for delivery in self.world.oracle.deliveries.get(feed.name, []):
                if delivery.number not in self.observed.own_rows.get(feed.name, {}):
                    continue
                keys = {key for key in green | red if delivery.is_item(key)}
                if not keys & green or keys & red:
                    wrong.append(f"partition of {feed.name} {delivery.label}, which is loaded: {sorted(keys & red)}")
        return wrong

    def _cause_fault(self) -> None:
        name = self.faults.next_one()
        self.faults_now.append(name)
        self._background.start(f"fault {time.time()}", partial(self.faults.cause, name))

    def _backfills(self, now: float) -> None:
        """A person starts one backfill early, and the other one when half of the time is over."""
        for number, (name, when) in enumerate(zip(WINDOWED, (min(60.0, self.ends / 5), self.ends / 2), strict=True)):
            wanted = name in self.world.oracle.feeds and name not in self.people.backfilled
            if wanted and now > when and self._background.is_idle("backfill"):
                self._background.start(
                    "backfill", partial(self.people.backfill, name, self.windows, bad=self.windows // 2 + number)
                )

    def _start_backfills(self) -> None:
        for number, name in enumerate(WINDOWED):
            if name in self.world.oracle.feeds and name not in self.people.backfilled and self.world.platform.is_up():
                self.people.backfill(name, self.windows, bad=self.windows // 2 + number)


_HEADER = (
    "minute  " + "  ".join(f"{name:>8}" for name in (
        "made", "loaded", "missing", "waiting", "broken", "differ", "lasting", "mails",
    )) + "  fault of the minute"
)  # fmt: skip
