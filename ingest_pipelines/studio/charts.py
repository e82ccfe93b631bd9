"""Small charts as numbers for SVG, drawn on the server. Each has words for who does not see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest_pipelines.actions.wording import number, plural
from ingest_pipelines.ledger import Load, LoadBar

PARTS = ("inserted", "updated", "unchanged", "unmatched", "skipped", "rejected")
"""What becomes of the rows that a load reads, in the order of the bar."""

STEP, WIDTH, HEIGHT = 4, 3, 20
"""Of a sparkline: distance and width of bars, and height, in units of its view box."""

GOOD, WITH_REJECTS, BAD = "good", "warn", "bad"
TONES: Mapping[str, str] = {"failed": BAD, "refused": BAD, "skipped": "quiet", "running": "busy"}


@dataclass(frozen=True)
class BarPart:
    """A part of a bar of 100 units."""

    name: str
    rows: int
    x: float
    width: float


@dataclass(frozen=True)
class Sparkline:
    """Bars by tone, as paths.

    Attributes:
        paths: tone and path.
        said: the same in words.
    """

    paths: Sequence[tuple[str, str]]
    said: str


def count_bar(counts: Mapping[str, Any]) -> list[BarPart]:
    """The rows of a load by what became of them; a part that has rows is never too small to be seen."""
    parts = [(name, int(counts[name])) for name in PARTS if counts[name]]
    total = sum(rows for _, rows in parts)
    shares = [(name, rows, max(2.0, 100 * rows / total)) for name, rows in parts]
    scale = 100 / sum(share for _, _, share in shares) if shares else 1.0
    bars, x = [], 0.0
    for name, rows, share in shares:
        bars.append(BarPart(name, rows, round(x, 2), round(share * scale, 2)))
        x += share * scale
    return bars


def sparkline(loads: Sequence[LoadBar], places: int) -> Sparkline:
    """A bar per load, the newest at the right: its height says how many rows it read, its tone how it ended."""
    most = max((load.read for load in loads), default=0)
    paths: dict[str, list[str]] = {}
    for place, load in enumerate(loads, places - len(loads)):
        tone = TONES.get(load.status) or (WITH_REJECTS if load.rejected else GOOD)
        height = max(2, round(HEIGHT * load.read / most)) if most else 2
        paths.setdefault(tone, []).append(f"M{place * STEP} {HEIGHT}v-{height}h{WIDTH}v{height}z")
    broken = sum(TONES.get(load.status) == BAD for load in loads)
    rejects = sum(TONES.get(load.status) is None and load.rejected > 0 for load in loads)
    said = f"the last {plural(len(loads), 'load')}" if loads else "no load yet"
    said += f", {number(broken)} failed" if broken else ""
    said += f", {number(rejects)} with rejects" if rejects else ""
    said += f"; the largest read {plural(most, 'row')}" if most else ""
    return Sparkline([(tone, "".join(bars)) for tone, bars in paths.items()], said)


@dataclass(frozen=True)
class ChartBar:
    """A load in the chart; `x` and `width` of its parts are top and height.

    Attributes:
        seconds_y: the height at which a line says how long it took; None: it has not ended.
    """

    x: int
    parts: Sequence[BarPart]
    said: str
    seconds_y: float | None


@dataclass(frozen=True)
class Chart:
    """The rows of an import's last loads.

    Attributes:
        most: rows of the largest load.
        longest: seconds of the longest load.
        said: the same in words.
    """

    width: int
    height: int
    bar_width: int
    bars: Sequence[ChartBar]
    most: int
    longest: float
    said: str


CHART_STEP, CHART_BAR, CHART_HEIGHT, CHART_PLACES = 50, 34, 140, 20


def load_chart(loads: Sequence[Load]) -> Chart:
    """A bar per load, the newest at the right, split by what became of its rows.

    Args:
        loads: the oldest first.
    """
    most = max((load.read for load in loads), default=0)
    seconds = [_seconds(load) for load in loads]
    longest = max((each for each in seconds if each is not None), default=0.0)
    bars = []
    for place, load in enumerate(loads, CHART_PLACES - len(loads)):
        parts, bottom = [], float(CHART_HEIGHT)
        for name in PARTS:
            rows = int(getattr(load, name))
            if rows:
                height = max(1.5, (CHART_HEIGHT - 4) * rows / most)
                bottom -= height
                parts.append(BarPart(name, rows, round(max(0.0, bottom), 2), round(height, 2)))
        said = f"load {load.id}, {load.status}: {plural(load.read, 'row')}" + (
            f", {number(load.rejected)} rejected" if load.rejected else ""
        )
        took = _seconds(load)
        said += f", {took:.1f} seconds" if took is not None else ""
        y = round((CHART_HEIGHT - 4) * (1 - took / longest) + 2, 2) if took is not None and longest else None
        bars.append(ChartBar(place * CHART_STEP + (CHART_STEP - CHART_BAR) // 2, parts, said, y))
    said = f"rows of the last {plural(len(loads), 'load')}; the largest read {number(most)}"
    said += f"; the longest took {longest:.1f} seconds" if longest else ""
    return Chart(CHART_PLACES * CHART_STEP, CHART_HEIGHT, CHART_BAR, bars, most, longest, said)


def _seconds(load: Load) -> float | None:
    return (load.finished_at - load.started_at).total_seconds() if load.finished_at is not None else None
