"""What goes wrong: processes die or stand still, vendors hang, a YAML breaks, the target restarts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from ingest_pipelines_tests.guarantees.on_call.oracle import Feed
from ingest_pipelines_tests.guarantees.on_call.people import People
from ingest_pipelines_tests.guarantees.on_call.world import World
from ingest_pipelines_tests.servers.cut_proxy import Fault

NETWORKS = {
    "hung": Fault(silent=True),
    "refused": Fault(refuse=True),
    "slow": Fault(delay_seconds=1.5),
    "cut": Fault(cut_after_received=2_500),
}


class Faults:
    """Every fault by name; `next_one` names them in a random order in which each comes once before any comes again."""

    def __init__(self, world: World, people: People, seed: int) -> None:
        self.world, self.people = world, people
        self._random = random.Random(seed)
        self._order: list[str] = []
        self._busy: set[str] = set()
        self.all: dict[str, Callable[[], None]] = {
            "kill the daemon": lambda: self._kill("daemon"),
            "kill the webserver": lambda: self._kill("webserver"),
            "kill the code servers": lambda: self._kill("code server"),
            "kill the run server": lambda: self._kill("run server"),
            "kill a run": self._kill_run,
            "kill the watcher": lambda: self._kill("watcher"),
            "freeze the code servers": lambda: self._freeze("code server"),
            "freeze the run server": lambda: self._freeze("run server"),
            "freeze the daemon": lambda: self._freeze("daemon"),
            "two daemons": self._two_daemons,
            "a YAML breaks": lambda: self._break_yaml(90),
            "a YAML breaks for long": lambda: self._break_yaml(400),
            "an import is removed for a while": self._remove_yaml,
            "an import is renamed": self._rename,
            "a source hangs": lambda: self._network("hung", 80),
            "a source hangs for long": lambda: self._network("hung", 420),
            "a source refuses": lambda: self._network("refused", 80),
            "a source is slow": lambda: self._network("slow", 80),
            "a source cuts connections": lambda: self._network("cut", 80),
            "a run is terminated": lambda: self._terminate(force=False),
            "a run is force-terminated": lambda: self._terminate(force=True),
            "the target's sessions end": self._end_sessions,
            "the target restarts": self._restart_target,
            "the clock jumps ahead": lambda: self._jump(150),
            "the clock jumps back": lambda: self._jump(-150),
        }
        if not world.clock.environment:
            del self.all["the clock jumps ahead"], self.all["the clock jumps back"]
        schema = world.platform.command("schema", "import").stdout
        if "renamed_from" not in schema:
            del self.all["an import is renamed"]

    def next_one(self) -> str:
        """The name of the next fault."""
        if not self._order:
            self._order = sorted(self.all)
            self._random.shuffle(self._order)
        return self._order.pop()

    def cause(self, name: str) -> None:
        """The fault, from its beginning to its end."""
        self.world.note(f"FAULT: {name}")
        try:
            self.all[name]()
        except (OSError, psycopg.Error, AssertionError) as error:
            self.world.note(f"the fault '{name}' could not be made whole: {type(error).__name__} {str(error)[:200]}")

    def _kill(self, role: str) -> None:
        with self.world.trouble("platform", f"{role} killed", recovery=45):
            killed = self.world.platform.kill(role)
            self.world.note(f"killed {role}: {killed}")

    def _kill_run(self) -> None:
        """A run's process; waits for one, since most of the time there is none."""
        deadline = time.time() + 50
        while time.time() < deadline and not self.world.over.wait(0.2):
            runs = self.world.platform.processes("run")
            if runs:
                with self.world.trouble("run", "a run was killed"):
                    runs[0].kill()
                    self.world.note(f"killed run: {runs[0].pid}")
                return

    def _freeze(self, role: str) -> None:
        with self.world.trouble("platform", f"{role} stands still", recovery=45):
            self.world.note(f"frozen {role}: {self.world.platform.freeze(role, 40, self.world.over)}")

    def _two_daemons(self) -> None:
        with self.world.trouble("run", "two daemons"):
            self.world.note(f"second daemon: {self.world.platform.second_daemon(60, self.world.over)}")

    def _break_yaml(self, seconds: float) -> None:
        with self._one_of("all", "cursor", "window") as feed:
            spec = self.world.specification(feed.name)
            text = self._random.choice(
                ["database: [customers\n", f"colums: {{}}\n{spec['source']}\n", "status: active\ndatabase: nowhere\n"]
            )
            with self.world.trouble("yaml", f"{feed.name}.yaml is broken", feed.name, recovery=90):
                self.world.note(f"broken: {feed.name}.yaml for {seconds:.0f} s")
                self.world.write_import(feed, text)
                self.world.over.wait(seconds)
                self.world.write_import(feed)
            self.world.note(f"fixed: {feed.name}.yaml")

    def _remove_yaml(self) -> None:
        with self._one_of("all", "cursor") as feed:
            with self.world.trouble("removed", f"{feed.name}.yaml is gone", feed.name, recovery=90):
                self.world.note(f"removed: {feed.name}.yaml")
                self.world.remove_import(feed)
                self.world.over.wait(90)
                self.world.write_import(feed)
            self.world.note(f"brought back: {feed.name}.yaml")

    def _rename(self) -> None:
        with (
            self._one_of("all", "cursor") as feed,
            self.world.trouble("renamed", f"{feed.import_name} is renamed", feed.name, recovery=90),
        ):
            old = feed.import_name
            self.world.remove_import(feed)
            feed.names.append(f"{feed.name}_{len(feed.names) + 1}")
            self.world.specification(feed.name)["renamed_from"] = old
            self.world.write_import(feed)
            self.world.note(f"renamed: {old} to {feed.import_name}")

    def _network(self, kind: str, seconds: float) -> None:
        used = {feed.connection for feed in self.world.oracle.feeds.values()}
        free = sorted(set(self.world.vendors.networks) & used - self._busy)
        name = self._random.choice(free)
        feeds = [feed.name for feed in self.world.oracle.feeds.values() if feed.connection == name]
        network = self.world.vendors.networks[name]
        self._busy.add(name)
        with self.world.trouble("source", f"{name} is {kind}", *feeds, recovery=60):
            self.world.note(f"{name} is {kind} for {seconds:.0f} s")
            network.break_with(NETWORKS[kind])
            if kind == "refused":
                network.cut_all()
            self.world.over.wait(seconds)
            network.mend()
        self._busy.discard(name)
        self.world.note(f"{name} works again")

    def _terminate(self, *, force: bool) -> None:
        deadline = time.time() + 50
        while time.time() < deadline and not self.world.over.wait(0.5):
            if self.world.platform.processes("run"):
                self.people.terminate(force=force)
                return

    def _end_sessions(self) -> None:
        with self.world.trouble("target", "the target's sessions end"):
            self.world.target.end_sessions()

    def _restart_target(self) -> None:
        with self.world.trouble("target", "the target restarts", recovery=45):
            self.world.target.restart(10, self.world.over)

    def _jump(self, seconds: int) -> None:
        """The clock is wrong for a minute and a half; within the hour, since windows end with it.

        Dagster's daemon waits by the wall clock, and a sensor's last tick then lies in the future: once the clock goes
        back, both stand still for as long as it went back.
        """
        if seconds > 0 and time.time() % 3600 + seconds + 120 > 3600:
            seconds = -seconds
        with self.world.trouble("platform", "the clock is wrong", recovery=60 + max(0, seconds)):
            self.world.note(f"the clock jumps by {seconds} s")
            self.world.clock.jump(seconds)
            self.world.over.wait(90)
            self.world.clock.jump(0)
        self.world.note("the clock is right")

    @contextmanager
    def _one_of(self, *kinds: str) -> Iterator[Feed]:
        """A feed of those kinds that no other fault has in hand."""
        feeds = [f for f in self.world.oracle.feeds.values() if f.kind in kinds and f.name not in self._busy]
        feed = self._random.choice(feeds)
        self._busy.add(feed.name)
        try:
            yield feed
        finally:
            self._busy.discard(feed.name)
