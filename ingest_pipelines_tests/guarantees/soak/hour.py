"""The hour: a delivery every second, a kill every minute, a sample every ten seconds; then all must be there, once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ingest_pipelines_tests.guarantees.background import Background
from ingest_pipelines_tests.guarantees.on_call.oracle import BROKEN
from ingest_pipelines_tests.guarantees.on_call.world import read_status
from ingest_pipelines_tests.guarantees.soak.deliveries import Seen
from ingest_pipelines_tests.guarantees.soak.flatness import Verdict
from ingest_pipelines_tests.guarantees.soak.plot import draw
from ingest_pipelines_tests.guarantees.soak.samples import Sample, panels, take, verdicts, write
from ingest_pipelines_tests.guarantees.soak.world import KINDS, Kind, World, world_of
from ingest_pipelines_tests.servers.fleet import Fleet

SAMPLE_EVERY, KILL_EVERY, PEOPLE_EVERY, PRINT_EVERY = 10.0, 60.0, 120.0, 60.0
QUIET_SECONDS = 1_200.0
"""How long the rest may take once nothing more is delivered or killed."""

FIRST_HALF = ("run", "daemon", "backend", "code server", "cut", "webserver", "run server", "run", "watcher")
SECOND_HALF = ("run", "backend", "cut")
"""In the second half the long-lived processes are left alone: in a process of seven minutes no leak can be seen."""


@dataclass(frozen=True)
class Result:
    """How the hour ended. `wrong`: what was lost, doubled or wrong at any moment; `verdicts`: what grows."""

    wrong: Sequence[str]
    verdicts: Sequence[Verdict]
    facts: dict[str, object]

    @property
    def good(self) -> bool:
        return not self.wrong and all(verdict.flat for verdict in self.verdicts)


class Hour:
    """One soak of a world."""

    def __init__(self, world: World, minutes: float, every: float, seed: int, tell: Callable[[str], None]) -> None:
        self.world, self.every, self.tell = world, every, tell
        self.ends = minutes * 60.0
        self.warm_up = self.ends / 2
        self.samples: list[Sample] = []
        self.kills: list[float] = []
        self.killed: Counter[str] = Counter()
        self.wrong: dict[str, None] = {}
        self.helped = 0
        self.began = 0.0
        self._random = random.Random(seed)
        self._background = Background(4, lambda line: tell(f"        {line}"), (OSError, psycopg.Error))
        self._waiting = 0
        self._last_kill = "-"

    def run(self, out: Path) -> Result:
        """Runs it; CSV, plot and verdicts are in the folder `out` from the first minute on."""
        platform = self.world.platform
        self._begin()
        self.began = time.time()
        self.tell(_HEADER)
        due = {"deliver": 0.0, "sample": 0.0, "kill": 30.0, "people": PEOPLE_EVERY, "print": PRINT_EVERY}
        every = {
            "deliver": self.every, "sample": SAMPLE_EVERY, "kill": KILL_EVERY, "people": PEOPLE_EVERY,
            "print": PRINT_EVERY,
        }  # fmt: skip
        work: dict[str, Callable[[], None]] = {
            "deliver": self._deliver, "sample": self._sample, "kill": self._kill, "people": self._people,
            "print": lambda: self._print(out),
        }  # fmt: skip
        while (now := time.time() - self.began) < self.ends:
            if platform.has_ended():
                platform.start()
            for name, when in due.items():
                if now >= when and self._background.is_idle(name):
                    due[name] = when + every[name]
                    self._background.start(name, work[name])
            time.sleep(0.05)
        self.tell("  nothing more is delivered or killed")
        self._wait_for_the_rest()
        judged = verdicts([s for s in self.samples if (s["second"] or 0) <= self.ends], self.warm_up)
        return self._finish(out, judged)

    def _begin(self) -> None:
        """`ingest up` is ready; on a busy machine it gives up waiting for its webserver, and is started again."""
        platform, deadline = self.world.platform, time.time() + QUIET_SECONDS
        while not platform.is_up():
            assert time.time() < deadline, "ingest up does not get ready"
            if not platform.starts or platform.has_ended():
                platform.start()
            time.sleep(0.5)

    def _deliver(self) -> None:
        self.world.deliver()

    def _sample(self) -> None:
        seen = self._look()
        at = time.time() - self.began
        self.samples.append(take(self.world, at, self._waiting if seen is not None else -1))

    def _look(self) -> Seen | None:
        """Compares target and book; None while the target does not answer."""
        try:
            seen = self.world.see()
        except psycopg.OperationalError:
            return None
        for words in self.world.deliveries.faults(seen):
            if words not in self.wrong:
                self.wrong[words] = None
                self.tell(f"        ! {words}")
        self._waiting = len(self.world.deliveries.missing(seen.rows))
        return seen

    def _kill(self) -> None:
        kinds = FIRST_HALF if time.time() - self.began < self.warm_up else SECOND_HALF
        kind = kinds[len(self.kills) % len(kinds)]
        if kind == "cut":
            network: Kind = self._random.choice(list(KINDS))
            self.world.networks[network].cut_all()
            met = f"connections to {network} cut"
        elif kind == "backend":
            met = f"a session of {self._end_a_session()} ended"
        elif kind == "run":
            met = f"run {self._kill_a_run()} killed"
        else:
            met = f"{kind} {self.world.platform.kill(kind)} killed"
        self.kills.append(time.time() - self.began)
        self.killed[kind] += 1
        self._last_kill = met

    def _kill_a_run(self) -> int:
        """A run's process; waits for one for half a minute. 0: there was none."""
        deadline = time.time() + 30
        while time.time() < deadline:
            runs = self.world.platform.processes("run")
            if runs:
                runs[0].kill()
                return int(runs[0].pid)
            time.sleep(0.2)
        return 0

    def _end_a_session(self) -> str:
        """One session, of the target if it has one, or else of Dagster's storage; which."""
        with psycopg.connect(self.world.target.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid, datname FROM pg_stat_activity WHERE datname IN ('target', 'dagster')"
                " AND pid <> pg_backend_pid() ORDER BY datname DESC, random() LIMIT 1"
            ).fetchone()
            if found is None:
                return "nobody"
            connection.execute("SELECT pg_terminate_backend(%s)", [found[0]])
        return str(found[1])

    def _people(self) -> None:
        """A person looks at the list, and runs again what is broken."""
        answer = self.world.platform.command("status", "--json")
        try:
            _, listed, _ = read_status(json.loads(answer.stdout))
        except (ValueError, KeyError, TypeError):
            return
        for entry in listed:
            if entry.state in BROKEN:
                self.helped += 1
                self.tell(f"        a person runs {entry.import_name} {entry.item} again: {entry.state} {entry.reason}")
                how = ["--item", entry.item, "--force"] if "stale" in entry.reason else ["--failed"]
                self.world.platform.command("run", entry.import_name, *how)

    def _wait_for_the_rest(self) -> None:
        deadline = time.time() + QUIET_SECONDS
        while time.time() < deadline:
            if self.world.platform.has_ended():
                self.world.platform.start()
            if not self._background.running:
                self._sample()
                if not self._waiting:
                    break
                if not len(self.samples) % 6:
                    self._people()
            time.sleep(5)
        seen = self._look()
        if seen is None:
            self.wrong["the target does not answer at the end"] = None
            return
        for feed, number in self.world.deliveries.missing(seen.rows):
            self.wrong[f"lost: {feed} {number}"] = None

    def _print(self, out: Path) -> None:
        if not self.samples:
            return
        sample, made = self.samples[-1], len(self.world.deliveries.made)
        memory = sum(float(sample.get(f"memory of {role}, MB") or 0) for role in _MEMORY)
        cells = (
            made, made - self._waiting, self._waiting, len(self.wrong), round(memory),
            sample.get("connections to Postgres"), sample.get("landed and spilled rows, files"),
            sample.get("ledger rows a delivery"),
        )  # fmt: skip
        words = "  ".join(f"{'-' if cell is None else format(cell, '.5g'):>8}" for cell in cells)
        self.tell(f"{(time.time() - self.began) / 60:6.1f}  {words}  {self._last_kill}")
        self._draw(out)

    def _draw(self, out: Path) -> None:
        samples = list(self.samples)
        write(out / "soak.csv", samples)
        title = f"ingest up, {sum(KINDS.values())} imports, a delivery every {self.every:g} s; grey: not judged"
        (out / "soak.svg").write_text(draw(title, panels(samples, self.warm_up), self.kills))

    def _finish(self, out: Path, judged: Sequence[Verdict]) -> Result:
        self._draw(out)
        made = len(self.world.deliveries.made)
        facts: dict[str, object] = {
            "minutes": round(self.ends / 60, 1), "deliveries": made, "loaded": made - self._waiting,
            "kills": dict(self.killed), "starts of ingest up": self.world.platform.starts,
            "items that a person ran again": self.helped,
            "most waiting": max(s["waiting deliveries"] or 0 for s in self.samples),
        }  # fmt: skip
        result = Result(list(self.wrong), judged, facts)
        lines = [f"{name}: {value}" for name, value in facts.items()]
        lines += [f"WRONG: {words}" for words in result.wrong] or ["nothing was lost, doubled or wrong"]
        lines += [
            f"{'flat ' if verdict.flat else 'GROWS'}  {verdict.name}: {verdict.level:,.4g}, {verdict.growth:+,.3g} an "
            f"hour, allowed {verdict.allowed:,.3g}, {verdict.points} samples"
            for verdict in judged
        ]
        (out / "soak.txt").write_text("\n".join([*lines, ""]))
        for line in lines:
            self.tell(line)
        self._background.stop()
        return result


_MEMORY = ("up", "daemon", "webserver", "code server", "run server", "watcher")
_HEADER = (
    "minute  " + "  ".join(f"{name:>8}" for name in (
        "made", "loaded", "waiting", "wrong", "MB", "sessions", "spooled", "rows/del",
    )) + "  last kill"
)  # fmt: skip


def soak(
    folder: Path, fleet: Fleet, out: Path, *, minutes: float, every: float, files: float, seed: int,
    tell: Callable[[str], None],
) -> Result:  # fmt: skip
    """A world of its own, for that long."""
    out.mkdir(parents=True, exist_ok=True)
    with world_of(folder, fleet, seed, files) as world:
        return Hour(world, minutes, every, seed, tell).run(out)
