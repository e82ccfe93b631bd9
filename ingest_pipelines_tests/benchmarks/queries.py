"""Query sources against the bare drivers: `python -m ingest_pipelines_tests.benchmarks.queries [KIND...]`.

Each kind's server starts, gets its customers, and is read in turns: by us, from the query to landed frames, and by the
driver alone, whose rows are thrown away. Every reading is a process of its own. Memory is read once more with three
times the rows: where it stays, it is flat.
"""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ingest_pipelines_tests.benchmarks.query_readers import ARROW
from ingest_pipelines_tests.benchmarks.query_servers import FIELDS, KINDS, Keys, Kind
from ingest_pipelines_tests.servers.fleet import Fleet


@dataclass(frozen=True)
class Reading:
    """What one process read."""

    rows: int
    seconds: float
    cpu: float
    before_mb: float
    peak_mb: float
    reader: str

    @property
    def grew_mb(self) -> float:
        """Memory above what imports and the login hold."""
        return self.peak_mb - self.before_mb


def main() -> None:
    """Measures the kinds that are named, or all, and prints a table as it goes."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.benchmarks.queries", description=__doc__)
    parser.add_argument("kind", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; without: all")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    unknown = sorted(set(options.kind) - set(KINDS))
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}")
    print(f"{options.rows:,} rows x {FIELDS} fields, {options.rounds} rounds in turns, each value the median\n")
    for line in _heading():
        print(line, flush=True)
    fleet = Fleet.assemble()
    try:
        for name in options.kind or KINDS:
            print(_row(name, measure(fleet, KINDS[name], options.rows, options.rounds)), flush=True)
    finally:
        fleet.disband()


def measure(fleet: Fleet, kind: Kind, rows: int, rounds: int) -> list[tuple[str, Reading]]:
    """Every reading, by who read: `ours`, `rows`, `arrow`, and `ours, thrice`."""
    thrice = min(3 * rows, kind.most_rows)
    found: list[tuple[str, Reading]] = []
    with kind.filled(fleet, thrice) as keys:
        readers = ["ours", "rows", *(["arrow"] if keys["type"] in ARROW else [])]
        _read("ours", keys, min(rows, 10_000))  # the server's caches and plans are as warm for the first as for others
        for turn in range(rounds):
            in_turn = readers if turn % 2 == 0 else readers[::-1]
            found += [(reader, _read(reader, keys, rows)) for reader in in_turn]
        if thrice > rows:
            found.append(("ours, thrice", _read("ours", keys, thrice)))
    return found


def _read(reader: str, keys: Keys, rows: int) -> Reading:
    module = "ingest_pipelines_tests.benchmarks.query_readers"
    done = subprocess.run(
        [sys.executable, "-m", module, reader, json.dumps(keys), str(rows)],
        env={**os.environ, "BENCH_PW": str(keys.get("secret", ""))}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{reader} failed on {keys['type']}:\n{done.stderr[-3000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["rows"] != rows:
        raise SystemExit(f"{reader} read {said['rows']} of {rows} rows of {keys['type']}")
    reading = Reading(rows, said["seconds"], said["cpu"], said["before_mb"], said["peak_mb"], said["with"])
    print(f"  {keys['type']}: {reader} {rows:,} rows, {reading}", file=sys.stderr, flush=True)
    return reading


def _heading() -> Iterator[str]:
    yield (
        "| kind | server | we: rows/s | driver's rows: rows/s, our time / its | driver's Arrow: rows/s, our time / its"
        " | our CPU s | memory beyond the login, MB: we, we at 3x the rows, driver's rows, driver's Arrow |"
    )
    yield "|---|---|---|---|---|---|---|"


def _row(name: str, found: list[tuple[str, Reading]]) -> str:
    kind = KINDS[name]
    by = {who: [reading for reader, reading in found if reader == who] for who, _ in found}
    ours = statistics.median(each.seconds for each in by["ours"])
    cells = [name, kind.what + (" (emulated)" if kind.emulated else ""), f"{by['ours'][0].rows / ours:,.0f}"]
    for who in ("rows", "arrow"):
        if who not in by:
            cells.append("none")
            continue
        theirs = statistics.median(each.seconds for each in by[who])
        cells.append(f"{by[who][0].rows / theirs:,.0f} ({by[who][0].reader}), {ours / theirs:.2f}")
    cells.append(f"{statistics.median(each.cpu for each in by['ours']):.1f}")
    peaks = {who: max(each.grew_mb for each in readings) for who, readings in by.items()}
    cells.append(
        ", ".join(f"{peaks[who]:.0f}" if who in peaks else "none" for who in ("ours", "ours, thrice", "rows", "arrow"))
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
