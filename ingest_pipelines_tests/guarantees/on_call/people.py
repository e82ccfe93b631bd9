"""What people do meanwhile: vendors deliver, a team pauses, resumes, fixes, terminates and runs again."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ingest_pipelines_tests.guarantees.on_call.oracle import BROKEN, Delivery, Feed, Observed, Quality, Trouble
from ingest_pipelines_tests.guarantees.on_call.world import DATABASES, World, describe

FILES = ("all", "last")


class People:
    """Everyone but the faults. Their acts are noted in the oracle before, or at once after, they are done."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self._random = random.Random(seed)
        self.paused: dict[str, Trouble] = {}
        self.backfilled: set[str] = set()
        self._can_skip = "skip " in world.platform.command("--help").stdout

    def deliver(self) -> None:
        """A vendor delivers; one file in eight cannot be loaded."""
        oracle = self.world.oracle
        feed = self._random.choice([f for f in oracle.feeds.values() if f.kind not in {"window", "upload"}])
        quality: Quality = "good"
        if feed.kind == "all" and self._random.random() < 0.125:
            quality = self._random.choice(["refused", "rejected"])
        self.world.note(f"delivered: {describe(self.world.vendors.deliver(feed.name, quality))}")

    def expect_windows(self) -> None:
        """Windows that have ended are due at the next tick of the schedule, from the first one that it saw on."""
        vendors = self.world.vendors
        hours = int((datetime.now(UTC) - vendors.first_window).total_seconds() // 3600)
        for name in self._windowed():
            known = self.world.oracle.deliveries.get(name, [])
            newest = max((delivery.number for delivery in known), default=hours - 1)
            for hour in range(newest, hours):
                vendors.expect_window(name, hour)

    def backfill(self, name: str, hours: int, *, bad: int | None = None) -> None:
        """A person loads all windows that have ended before the first tick, one of which cannot be loaded."""
        if name in self.backfilled:
            return
        feed = self.world.oracle.feeds[name]
        vendors = self.world.vendors
        keys = [vendors.expect_window(name, hour, bad=hour == bad) for hour in range(hours)]
        self.world.platform.backfill(DATABASES[feed.table], feed.import_name, keys)
        self.backfilled.add(name)
        self.world.note(f"backfill of {len(keys)} windows of {name}")

    def pause_or_resume(self) -> None:
        """An import is paused for a while, or goes on."""
        if self.paused:
            name, trouble = self.paused.popitem()
            if self._ingest("resume", self.world.oracle.feeds[name].import_name):
                trouble.end = time.time()
            else:
                self.paused[name] = trouble
            return
        feed = self._some_feed()
        trouble = Trouble("paused", f"{feed.name} is paused", time.time(), frozenset({feed.name}))
        if self._ingest("pause", feed.import_name):
            self.world.oracle.troubles.append(trouble)
            self.paused[feed.name] = trouble

    def resume_all(self) -> None:
        """No import is paused."""
        while self.paused:
            self.pause_or_resume()
            if self.world.over.wait(0.5):
                return

    def upload(self) -> None:
        """A person loads a file by hand: what the exit code says is true."""
        if "members" not in self.world.oracle.feeds:
            return
        path, delivery = self.world.vendors.upload("members")
        delivery.needless = True
        self.world.oracle.deliver(delivery)
        if self._ingest("run", "members", "--file", str(path)):
            delivery.needless = False

    def fix(self, observed: Observed) -> None:
        """A person works through the list: bad files are replaced, the rest is run again or skipped."""
        oracle = self.world.oracle
        for feed in self._shuffled():
            broken = [
                delivery
                for delivery in oracle.deliveries.get(feed.name, [])
                if delivery.broken_since and time.time() - delivery.broken_since > 60
            ]
            if not broken and not self._cursor_is_broken(feed, observed):
                continue
            if oracle.now_troubled(feed.name, time.time(), "source", "yaml", "target"):
                continue
            self._fix_feed(feed, broken, observed)
            return

    def fix_all(self, observed: Observed) -> None:
        """The same for every feed; uploads that failed are not wanted any more."""
        if self._can_skip and any(entry.import_name == "members" for entry in observed.listed):
            self._ingest("skip", "members", "--failed", "--yes")
        for feed in self._shuffled():
            broken = [d for d in self.world.oracle.deliveries.get(feed.name, []) if d.broken_since]
            if broken or self._cursor_is_broken(feed, observed):
                self._fix_feed(feed, broken, observed)

    def _fix_feed(self, feed: Feed, broken: list[Delivery], observed: Observed) -> None:
        bad = [delivery for delivery in broken if delivery.quality != "good" and not delivery.needless]
        if feed.kind == "window" and bad:
            self.world.vendors.fix_windows(feed.name)
        elif bad:
            for delivery in bad:
                if feed.connection != "drops":
                    fixed = self.world.vendors.deliver(feed.name, in_place_of=delivery)
                    self.world.note(f"fixed: {describe(fixed)}")
                else:
                    self._skip(feed, delivery, observed)
            return
        stale = [delivery for delivery in broken if self._is_stale(feed, delivery, observed)]
        for delivery in stale:
            self._skip(feed, delivery, observed)
        if len(stale) < len(broken) or not broken:
            for delivery in broken:
                delivery.ended_by_person = 0.0
            self._ingest("run", feed.import_name, "--failed")

    def _skip(self, feed: Feed, delivery: Delivery, observed: Observed) -> None:
        """The item is not wanted any more, or, without the command for that, is applied although it is old."""
        entries = [e for e in observed.listed if e.import_name in feed.names and delivery.is_item(e.item)]
        for entry in entries:
            delivery.ended_by_person = 0.0
            if self._can_skip:
                if self._ingest("skip", feed.import_name, "--item", entry.item, "--yes"):
                    delivery.needless = True
                    delivery.broken_since = 0.0
            elif delivery.quality == "good":
                feed.forced = True
                self._ingest("run", feed.import_name, "--item", entry.item, "--force")

    def _is_stale(self, feed: Feed, delivery: Delivery, observed: Observed) -> bool:
        """Whether a newer delivery of the feed is in the table already: this one would undo it."""
        newer = max(observed.own_rows.get(feed.name, {}), default=0)
        return feed.kind in FILES and newer > delivery.number

    def _cursor_is_broken(self, feed: Feed, observed: Observed) -> bool:
        entries = [e for e in observed.listed if e.import_name in feed.names]
        return feed.kind == "cursor" and any(entry.state in BROKEN for entry in entries)

    def terminate(self, *, force: bool) -> None:
        """A person ends a run in the UI, whatever it does just now."""
        platform, oracle = self.world.platform, self.world.oracle
        runs = platform.runs(["STARTED", "STARTING", "QUEUED"])
        self._random.shuffle(runs)
        for run in runs:
            feed = next((f for f in oracle.feeds.values() if run["import"] in f.names and f.by_itself), None)
            if feed is None:
                continue
            with self.world.trouble("person", f"run {run['runId'][:8]} of {feed.name} is terminated", feed.name):
                ended = platform.terminate(run["runId"], force=force)
            self.world.note(f"{'force-' if force else ''}terminated: {feed.name} {run['key']}: {ended}")
            if ended:
                self._note_end(feed, run["runId"], run["key"])
            return

    def _note_end(self, feed: Feed, run_id: str, key: str) -> None:
        """The deliveries whose run a person has ended, once it has ended so and not by a commit just before."""
        deadline = time.time() + 60
        while time.time() < deadline and not self.world.over.wait(1.0):
            found = [run for run in self.world.platform.runs(["CANCELED"]) if run["runId"] == run_id]
            if found:
                for delivery in self.world.oracle.deliveries.get(feed.name, []):
                    if delivery.is_item(key):
                        delivery.ended_by_person = time.time()
                return

    def act(self, observed: Observed | None) -> None:
        """One thing that a person does."""
        acts: list[Callable[[], None]] = [self.pause_or_resume, self.upload]
        if observed is not None:
            acts += [lambda: self.fix(observed)] * 4
        self._random.choice(acts)()

    def _windowed(self) -> list[str]:
        return [feed.name for feed in self.world.oracle.feeds.values() if feed.kind == "window"]

    def _some_feed(self) -> Feed:
        return self._random.choice([f for f in self.world.oracle.feeds.values() if f.kind in {"all", "last", "cursor"}])

    def _shuffled(self) -> list[Feed]:
        feeds = [feed for feed in self.world.oracle.feeds.values() if feed.by_itself]
        self._random.shuffle(feeds)
        return feeds

    def _ingest(self, *words: str) -> bool:
        """A command of the terminal; whether it succeeded."""
        answer = self.world.platform.command(*words)
        said = re.sub(r"\s+", " ", (answer.stderr or answer.stdout).strip())[:160]
        self.world.note(f"ingest {' '.join(words)}: exit {answer.returncode}{f': {said}' if answer.returncode else ''}")
        return answer.returncode == 0
