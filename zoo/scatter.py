"""Scores against costs as one self-contained SVG: the same bytes for the same data, for light and dark pages."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM, INSET = 64, 24, 36, 48, 48

_LETTER, _LINE = 7.2, 14.0
_APART = 10.0
_SIDES = (
    *((1.0, 0.0), (-1.0, 0.0), (0.8, -0.6), (-0.8, -0.6), (0.8, 0.6), (-0.8, 0.6)),
    *((0.4, -0.9), (0.4, 0.9), (-0.4, -0.9), (-0.4, 0.9), (0.95, -0.3), (0.95, 0.3), (-0.95, -0.3), (-0.95, 0.3)),
    *((0.1, -1.0), (0.1, 1.0), (-0.1, -1.0), (-0.1, 1.0)),
)
_STYLE = """
.scatter text{font:12px system-ui,sans-serif;fill:#24292f}
.scatter .title{font-weight:600}
.scatter .page{fill:#fff}
.scatter line{stroke:#d0d7de}
.scatter .plain line{stroke:#57606a}.scatter .plain circle{fill:#57606a}
.scatter .graft line{stroke:#c2410c}.scatter .graft circle{fill:#c2410c}
.scatter .link,.scatter .leader{stroke:#8c959f}.scatter .link{stroke-dasharray:3 3}
@media(prefers-color-scheme:dark){
.scatter text{fill:#e6edf3}.scatter .page{fill:#0d1117}.scatter line{stroke:#30363d}
.scatter .plain line{stroke:#9ea7b3}.scatter .plain circle{fill:#9ea7b3}
.scatter .graft line{stroke:#fb923c}.scatter .graft circle{fill:#fb923c}
.scatter .link,.scatter .leader{stroke:#6e7681}
}
"""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """One model.

    Attributes:
        label: Its name.
        cost: Greater than zero.
        score: The mean.
        half: Half of the score's interval, drawn as a bar.
        base: Label of the point it is compared with, to which a line leads.
        grafted: Whether it is marked as having attention.
    """

    label: str
    cost: float
    score: float
    half: float | None = None
    base: str | None = None
    grafted: bool = False


def draw(panels: Mapping[str, Sequence[Point]], cost: str, score: str) -> str:
    """Draw panels one above the other.

    Costs are on a logarithmic axis; points whose costs nearly agree are moved apart, so that none covers another.

    Args:
        panels: Title to points, at least one each.
        cost: Label of the horizontal axes.
        score: What the vertical axes show, for the titles.
    """
    about = html.escape(f"{score} against {cost}")
    height = HEIGHT * len(panels)
    drawn = [
        f'<g transform="translate(0 {index * HEIGHT})">{_panel(f"{title}: {score}", points, cost)}</g>\n'
        for index, (title, points) in enumerate(panels.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="scatter" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'role="img" aria-label="{about}"><title>{about}</title><style>{_STYLE}</style>\n'
        f'<rect class="page" width="{WIDTH}" height="{height}"/>\n{"".join(drawn)}</svg>\n'
    )


def _panel(title: str, points: Sequence[Point], cost: str) -> str:
    points = sorted(points, key=lambda point: (point.cost, point.label))
    x_ticks = log_ticks(points[0].cost, points[-1].cost)
    y_ticks = ticks(
        min(point.score - (point.half or 0) for point in points),
        max(point.score + (point.half or 0) for point in points),
    )
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        share = math.log(value / x_ticks[0]) / math.log(x_ticks[-1] / x_ticks[0])
        return LEFT + INSET + share * (right - LEFT - 2 * INSET)

    def y(value: float) -> float:
        return bottom - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - TOP)

    centres = {
        point.label: (px, y(point.score))
        for point, px in zip(points, spread([x(p.cost) for p in points], _APART), strict=True)
    }
    drawn = [_text(LEFT, TOP - 16, title, "start", "title")]
    drawn += [_line(LEFT, y(tick), right, y(tick)) for tick in y_ticks]
    drawn += [_text(LEFT - 8, y(tick) + 4, f"{tick:.4g}", "end") for tick in y_ticks]
    drawn += [_line(x(tick), bottom, x(tick), bottom + 4) for tick in x_ticks]
    drawn += [_text(x(tick), bottom + 18, f"{tick:.4g}", "middle") for tick in x_ticks]
    drawn.append(_text((LEFT + right) / 2, HEIGHT - 10, cost, "middle"))
    drawn += [_line(*centres[point.base], *centres[point.label], "link") for point in points if point.base in centres]
    taken: list[Box] = []
    bars: list[Box] = []
    for point in points:
        px, py = centres[point.label]
        bar = (py, py) if point.half is None else (y(point.score + point.half), y(point.score - point.half))
        taken.append((px - 7, py - 7, px + 7, py + 7))
        bars.append((px - 2, bar[0], px + 2, bar[1]))
        drawn.append(
            f'<g class="{"graft" if point.grafted else "plain"}">{_line(px, bar[0], px, bar[1])}'
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5"/></g>'
        )
    for label, (px, py) in centres.items():
        drawn += _label(label, px, py, taken, bars)
    return "".join(drawn)


def _label(label: str, px: float, py: float, taken: list[Box], bars: Sequence[Box]) -> list[str]:
    """A name at the nearest place beside its point where it covers nothing; what it and its leader cover is taken."""
    best: tuple[int, list[Box], list[str]] | None = None
    for boxes, drawn in _places(label, px, py):
        left, top, right, bottom = boxes[0]
        outside = left < LEFT or right > WIDTH or top < TOP - 8 or bottom > HEIGHT - BOTTOM + 2
        covered = sum(_meet(box, other) for box in boxes for other in taken)
        cost = 100 * outside + 10 * covered + sum(_meet(boxes[0], bar) for bar in bars)
        if best is None or cost < best[0]:
            best = cost, boxes, drawn
        if cost == 0:
            break
    assert best is not None
    taken += best[1]
    return best[2]


def _places(label: str, px: float, py: float) -> Iterator[tuple[list[Box], list[str]]]:
    """Ever farther places of a name: the box of the text and those along the line that leads to it, and both drawn."""
    wide = _LETTER * len(label)
    for distance, (dx, dy) in itertools.product((9, *range(18, 180, 12)), _SIDES):
        ex, ey = px + distance * dx, py + distance * dy
        left = ex + 2 if dx > 0 else ex - 2 - wide
        boxes = [(left, ey - _LINE / 2, left + wide, ey + _LINE / 2)]
        boxes += [(px + r * dx - 2, py + r * dy - 2, px + r * dx + 2, py + r * dy + 2) for r in range(10, distance, 3)]
        leader = [_line(px + 6 * dx, py + 6 * dy, ex, ey, "leader")] if distance > 9 else []
        yield boxes, [*leader, _text(ex + math.copysign(2, dx), ey + 4, label, "start" if dx > 0 else "end")]


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _line(x1: float, y1: float, x2: float, y2: float, name: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<line{kind} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, name: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def spread(values: Sequence[float], apart: float) -> list[float]:
    """Move ascending values to at least `apart` from each other; runs of near values stay around their mean."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _end(groups[-2], apart) + apart > _start(groups[-1], apart):
            last = groups.pop()
            groups[-1] += last
    return [_start(group, apart) + index * apart for group in groups for index in range(len(group))]


def _start(group: Sequence[float], apart: float) -> float:
    return sum(group) / len(group) - (len(group) - 1) / 2 * apart


def _end(group: Sequence[float], apart: float) -> float:
    return sum(group) / len(group) + (len(group) - 1) / 2 * apart


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose a range."""
    magnitude = max(abs(low), abs(high), 1e-9)
    span = high - low if high - low > 1e-9 * magnitude else magnitude
    rough = span / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose a positive range, for a logarithmic axis; at most twelve over six decades."""
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1,)):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        values = [factor * 10.0**power for power in powers for factor in factors]
        first = max(index for index, value in enumerate(values) if value <= low * (1 + 1e-9))
        last = min(index for index, value in enumerate(values) if value >= high * (1 - 1e-9))
        found = values[first : max(last, first + 1) + 1]
        if len(found) <= 12:
            break
    return found
