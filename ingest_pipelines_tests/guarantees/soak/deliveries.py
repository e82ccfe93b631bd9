"""What was delivered, and whether the target has all of it once: a book that shares no code with the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ROWS = 5
"""Rows of a delivery; their keys are of no other one."""


def keys(feed: str, number: int) -> list[str]:
    """The keys of the feed's n-th delivery."""
    return [f"{feed}:{number}:{row}" for row in range(ROWS)]


@dataclass(frozen=True)
class Seen:
    """What the target holds.

    Attributes:
        rows: key -> value, of all tables; a key of two tables is in `strange`.
        strange: keys that are not where they belong.
        read, inserted: sums over the committed loads of a feed.
        committed_twice: items of files with more than one committed load, as `feed item`.
        created: events `profile.created` of a feed.
    """

    rows: Mapping[str, int | None]
    strange: frozenset[str] = frozenset()
    read: Mapping[str, int] = field(default_factory=dict)
    inserted: Mapping[str, int] = field(default_factory=dict)
    committed_twice: frozenset[str] = frozenset()
    created: Mapping[str, int] = field(default_factory=dict)


class Deliveries:
    """Every delivery that was made, and when; `number` is also the value of its rows."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, int], float] = {}
        self._numbers: Counter[str] = Counter()

    def next_number(self, feed: str) -> int:
        """The number of the feed's next delivery."""
        self._numbers[feed] += 1
        return self._numbers[feed]

    def add(self, feed: str, number: int, at: float) -> None:
        """The delivery is complete at its vendor since then."""
        self.made[feed, number] = at

    def missing(self, rows: Mapping[str, int | None]) -> list[tuple[str, int]]:
        """Deliveries of which no row is in the target, oldest first."""
        return [
            (feed, number)
            for (feed, number), _ in sorted(self.made.copy().items(), key=lambda made: made[1])
            if not any(key in rows for key in keys(feed, number))
        ]

    def faults(self, seen: Seen) -> Iterator[str]:
        """Words about everything that must never be so, at any moment."""
        known: dict[str, int] = {}
        for feed, number in self.made.copy():  # another thread delivers
            wanted = keys(feed, number)
            known.update(dict.fromkeys(wanted, number))
            there = [key for key in wanted if key in seen.rows]
            if there and len(there) < ROWS:
                yield f"half: {feed} {number} has {len(there)} of {ROWS} rows"
        yield from (f"strange: {key} is in the target" for key in sorted(seen.strange | (seen.rows.keys() - known)))
        yield from (
            f"wrong: {key} holds {value}" for key, value in seen.rows.items() if key in known and value != known[key]
        )
        loaded = Counter(key.partition(":")[0] for key in seen.rows)
        for name, sums in (("read", seen.read), ("inserted", seen.inserted), ("told as created", seen.created)):
            yield from (
                f"doubled: {feed} has {loaded[feed]} rows, and {count} were {name}"
                for feed, count in sorted(sums.items())
                if count > loaded[feed]
            )
            yield from (
                f"unbooked: {feed} has {count} rows, and {sums.get(feed, 0)} were {name}"
                for feed, count in sorted(loaded.items())
                if sums.get(feed, 0) < count
            )
        yield from (f"doubled: {item} was committed twice" for item in sorted(seen.committed_twice))
