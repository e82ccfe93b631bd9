"""Whether a measurement stays where it is: the rule by which the soak decides it, on numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

RELATIVE = 0.10
"""A measurement may grow by a tenth of its median in an hour: less than what one load more or less makes."""

MOST_POINTS = 300
"""A fit compares each pair of points: of a longer series every n-th one is taken."""


@dataclass(frozen=True)
class Verdict:
    """What the rule says of one measurement.

    Attributes:
        level: the median after the warm-up.
        growth: by how much it grows in an hour, by the fit.
        allowed: by how much it may.
        points: how many samples were judged.
    """

    name: str
    level: float
    growth: float
    allowed: float
    points: int

    @property
    def flat(self) -> bool:
        return self.growth <= self.allowed


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Theil-Sen: the median of the slopes of all pairs of points. Up to 29 % of them may be anything."""
    step = -(-len(times) // MOST_POINTS) or 1
    points = list(zip(times, values, strict=True))[::step]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] != a[0]]
    return median(slopes) if slopes else 0.0


def judge(
    name: str, times: Sequence[float], values: Sequence[float | None], *, warm_up: float, allowance: float
) -> Verdict | None:
    """The verdict on a series; None if fewer than ten samples of it follow the warm-up.

    Flat: the fit's growth in an hour is at most a tenth of the median, or the allowance if that is more. A series that
    falls is flat.

    Args:
        times: seconds.
        values: None where there was nothing to measure: a process that had just been killed.
        warm_up: seconds that are left out.
        allowance: in the unit of the values.
    """
    kept = [(t, v) for t, v in zip(times, values, strict=True) if t >= warm_up and v is not None]
    if len(kept) < 10:
        return None
    level = median(v for _, v in kept)
    growth = slope([t for t, _ in kept], [v for _, v in kept]) * 3600
    return Verdict(name, level, growth, max(allowance, RELATIVE * abs(level)), len(kept))
