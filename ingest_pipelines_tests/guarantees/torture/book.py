"""What has been tortured so far, in a folder outside of the tree: how often, how, and what was found."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GOAL = 10_000


@dataclass(frozen=True)
class Part:
    """A finished part.

    Attributes:
        version: the commit of the product, `git describe`.
        feed, server: what was loaded, and the major version of Postgres.
        blows, found: see `Struck`.
    """

    seed: int
    number: int
    version: str
    feed: str
    server: int
    blows: dict[str, int]
    found: dict[str, int]
    missed: int
    loads: int
    seconds: float


class Book:
    """The parts of all seeds: a line each in `parts.jsonl`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "parts.jsonl"

    def parts(self, seed: int) -> list[Part]:
        """The seed's finished parts."""
        return [part for part in self._all() if part.seed == seed]

    def add(self, part: Part) -> None:
        """Notes a finished part."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(part)) + "\n")

    def next_numbers(self, seed: int) -> Iterator[int]:
        """Numbers of parts that have not been finished, without end."""
        done = {part.number for part in self.parts(seed)}
        number = 0
        while True:
            number += 1
            if number not in done:
                yield number

    def _all(self) -> list[Part]:
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines()
        return [Part(**facts) for facts in map(_read, lines) if facts]


def _read(line: str) -> dict[str, Any]:
    """A line's facts; none where the machine died while it was written."""
    try:
        facts: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return facts


def total(parts: list[Part]) -> int:
    """Blows that met their load."""
    return sum(sum(part.blows.values()) for part in parts)


def summary(parts: list[Part]) -> str:
    """The figures of some parts, for people and for docs/reliability.md."""
    blows: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for part in parts:
        blows.update(part.blows)
        found.update(part.found)
    seconds = sum(part.seconds for part in parts)
    rows = [f"  {count:>7,}  {kind}" for kind, count in blows.most_common()]
    ends = ", ".join(f"{count:,} {words}" for words, count in found.most_common())
    loads, missed = sum(part.loads for part in parts), sum(part.missed for part in parts)
    return "\n".join(
        [
            f"{blows.total():,} kills and cuts in {len(parts)} parts, {loads:,} loads; the target was: {ends}",
            *rows,
            f"  {missed:>7,}  came too late or met nothing, and are not counted",
            f"  {seconds:,.0f} s of work, {blows.total() / max(seconds, 0.001):.1f} a second and process; "
            f"versions: {', '.join(sorted({part.version for part in parts}))}",
        ]
    )


def version() -> str:
    """The commit that is tortured; with `-dirty` where files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=Path(__file__).parent, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip() or "unknown"
