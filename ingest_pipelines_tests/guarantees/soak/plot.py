"""Small line charts below each other as one SVG: a series is a list of points, a hole in it a hole in the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 920, 190, 70, 150, 34, 34
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Panel:
    """One chart: series by name over seconds; the time before `warm_up` is grey."""

    title: str
    series: Mapping[str, Sequence[Point]]
    warm_up: float = 0.0


def draw(title: str, panels: Sequence[Panel], kills: Sequence[float]) -> str:
    """The panels below each other, with a thin line at each kill."""
    height = 40 + HEIGHT * len(panels)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        body += _panel(panel, kills, 40 + number * HEIGHT)
    return "\n".join([*body, "</svg>", ""])


def _panel(panel: Panel, kills: Sequence[float], y: int) -> list[str]:
    times = [time for points in panel.series.values() for time, _ in points] or [0.0]
    values = [value for points in panel.series.values() for _, value in points if value is not None] or [0.0]
    last, most = max(*times, 1.0), _round_up(max(values))
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(time: float) -> float:
        return LEFT + inner_width * time / last

    def y_of(value: float) -> float:
        return y + TOP + inner_height * (1 - value / most)

    base = y + TOP + inner_height
    grey = f'<rect x="{LEFT}" y="{y + TOP}" width="{x_of(min(panel.warm_up, last)) - LEFT:.1f}" height="{inner_height}"'
    body = [f'<text x="{LEFT}" y="{y + TOP - 8}">{escape(panel.title)}</text>', f'{grey} fill="#eeeeee"/>']
    body += [
        f'<line class="kill" x1="{x_of(kill):.1f}" x2="{x_of(kill):.1f}" y1="{y + TOP}" y2="{base}" stroke="#dddddd"/>'
        for kill in kills
        if kill <= last
    ]
    for share in (0.0, 0.5, 1.0):
        at = y_of(most * share)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#bbbbbb"/>')
        body.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{most * share:,.4g}</text>')
    minutes = last / 60
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60) if minutes / s <= 8), 120)
    body += [
        f'<text x="{x_of(minute * 60):.1f}" y="{base + 16}" text-anchor="middle">{minute} min</text>'
        for minute in range(0, int(minutes) + 1, step)
    ]
    for number, (name, points) in enumerate(panel.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for piece in _pieces(points):
            line = " ".join(f"{x_of(time):.1f},{y_of(value):.1f}" for time, value in piece)
            body.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        label = y + TOP + 12 + 15 * number
        body.append(f'<text x="{WIDTH - RIGHT + 10}" y="{label}" fill="{colour}">{escape(name)}</text>')
    return body


def _pieces(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """The line between two holes, and the next one."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for time, value in points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((time, value))
    return [piece for piece in pieces if piece]


def _round_up(value: float) -> float:
    """The next number that reads well."""
    if value <= 0:
        return 1.0
    size = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    return next(size * factor for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if size * factor >= value)
