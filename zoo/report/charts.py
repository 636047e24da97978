"""Charts as SVG, by Matplotlib: scores against costs, curves over epochs, differences by class.

A page's charts take their ink from the page, so that they follow its theme; one for a file of its own has a background,
and a legend. What a scatter shows is in its description too, as JSON.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GRID, _GREY = "#24292f", "#d0d7de", "#7d8590"
_COLOURS = ("#2f81f7", "#e5534b", "#2da44e", "#bf8700", "#a371f7", "#1b9e9e", "#db61a2", "#c4642d", "#6e9b1f")
_MARKERS = "os^DvP*X<>hpd"
DASHES = ("-", "--", "-.", ":")
DASH_ARRAYS = {"-": "", "--": "1 .6", "-.": "1 .4 .3 .4", ":": ".3 .4"}
_WIDTH, _HEIGHT = 5.2, 3.3


@dataclass(frozen=True)
class Look:
    """How a model is drawn, the same in every chart of a comparison."""

    colour: str
    marker: str
    dash: str


@dataclass(frozen=True)
class Point:
    """One model against one cost.

    Attributes:
        label: Its name in the legend.
        cost: Greater than zero.
        score: The mean.
        half: Half of the score's interval, drawn as a bar.
        plain: Whether it is a control without attention, drawn in grey.
    """

    label: str
    cost: float
    score: float
    half: float | None
    plain: bool


@dataclass(frozen=True)
class Panel:
    """Points over one logarithmic axis, which `cost` names."""

    title: str
    cost: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Curve:
    """A mean over seeds by epoch, and the lowest and highest of them."""

    label: str
    epochs: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def looks(plain: Mapping[str, bool]) -> dict[str, Look]:
    """Label to look; grey for the plain ones."""
    found = {}
    for grey in (True, False):
        for index, label in enumerate(sorted(label for label, each in plain.items() if each == grey)):
            colour = _GREY if grey else _COLOURS[index % len(_COLOURS)]
            dash = index if grey else index // len(_COLOURS)
            found[label] = Look(colour, _MARKERS[index % len(_MARKERS)], DASHES[dash % len(DASHES)])
    return found


def front(points: Iterable[Point]) -> list[Point]:
    """The Pareto front: the points that no other beats at the same cost or less, the cheapest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.score)):
        if not found or point.score > found[-1].score:
            found.append(point)
    return found


def scatter(panel: Panel, score: str, drawn: Mapping[str, Look]) -> str:
    """Scores against a cost, with intervals and the Pareto front."""
    figure, axes = _figure()
    _draw(axes, panel, score, drawn)
    axes.set_title("")
    return _page_svg(figure, panel, score)


def overview(panels: Sequence[Panel], score: str) -> str:
    """Panels, two in a row, with one legend, for a file of its own.

    Args:
        panels: At least one, with at least one point each.
        score: Label of the vertical axes.

    Returns:
        An `<svg>` element that fetches nothing, the same text for the same panels and version of Matplotlib.
    """
    from matplotlib.figure import Figure

    drawn = looks({point.label: point.plain for panel in panels for point in panel.points})
    rows, columns = (len(panels) + 1) // 2, min(len(panels), 2)
    with _style():
        figure = Figure(figsize=(4 * columns + 2, 3.4 * rows), layout="constrained", facecolor="white")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[len(panels) :]:
            axes.remove()
        handles: dict[str, Any] = {}
        for axes, panel in zip(grid, panels, strict=False):
            handles |= _draw(axes, panel, score, drawn)
        figure.legend([handles[label] for label in drawn], list(drawn), loc="outside right upper", frameon=False)
        return _svg(figure, panels, score)


def curves(series: Sequence[Curve], drawn: Mapping[str, Look], label: str, *, zero: bool = False) -> str:
    """Lines over epochs with bands."""
    figure, axes = _figure(left=0.18)  # room for the ticks of gates, of four decimals
    for curve in reversed(series):  # the first on top
        look = drawn[curve.label]
        axes.plot(curve.epochs, curve.mean, color=look.colour, linestyle=look.dash, linewidth=1.6)
        axes.fill_between(curve.epochs, curve.low, curve.high, color=look.colour, alpha=0.16, linewidth=0)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    if zero:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="epoch", ylabel=label)
    return _page_svg(figure)


def by_class(
    classes: Sequence[str],
    differences: Mapping[str, Mapping[str, tuple[float, float | None]]],
    drawn: Mapping[str, Look],
) -> str:
    """Differences to the control with their intervals, a row a class.

    Args:
        classes: From the top.
        differences: Label to class to mean and half of the interval.
        drawn: Label to look.
    """
    figure, axes = _figure(height=1.0 + 0.30 * len(classes) + 0.06 * len(classes) * len(differences), left=0.26)
    for index, (label, found) in enumerate(differences.items()):
        shift = (index - (len(differences) - 1) / 2) * 0.7 / max(len(differences), 1)
        known = [(row, *found[name]) for row, name in enumerate(classes) if name in found]
        axes.errorbar(
            [mean for _, mean, _ in known],
            [row + shift for row, _, _ in known],
            xerr=[half or 0 for _, _, half in known],
            color=drawn[label].colour,
            marker=drawn[label].marker,
            markersize=5,
            linestyle="none",
            elinewidth=1.2,
        )
    axes.axvline(0, color=_INK, linewidth=1)
    axes.set_yticks(range(len(classes)), [name if len(name) < 20 else f"{name[:18]}…" for name in classes])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set(xlabel="difference to the control")
    return _page_svg(figure)


def marker(look: Look) -> str:
    """The points of a polygon, in a box from -1 to 1: a model's marker for a legend in HTML."""
    import numpy as np
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(look.marker)
    corners = np.asarray(style.get_path().transformed(style.get_transform()).to_polygons()[0])
    return " ".join(f"{x:.2f},{-y:.2f}" for x, y in corners / np.abs(corners).max())


def _style() -> Any:
    import matplotlib

    # A name is text as it stands, "$" included.
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "zoo",
            "text.parse_math": False,
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "grid.color": _GRID,
            "font.size": 10,
        }
    )


def _figure(height: float = _HEIGHT, left: float = 0.14) -> tuple[Figure, Axes]:
    """One chart of a page, of inches; the margin is a share of it."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(_WIDTH, height), facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        figure.subplots_adjust(left=left, right=0.97, bottom=0.52 / height, top=1 - 0.12 / height)
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, panel: Panel, score: str, drawn: Mapping[str, Look]) -> dict[str, Any]:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    best = front(panel.points)
    axes.plot([p.cost for p in best], [p.score for p in best], color=_INK, linestyle=":", linewidth=1.2, zorder=1)
    handles = {}
    for point in panel.points:
        handles[point.label] = axes.errorbar(
            point.cost,
            point.score,
            yerr=point.half,
            color=drawn[point.label].colour,
            marker=drawn[point.label].marker,
            linestyle="none",
            capsize=3,
        )
    axes.set_xscale("log")
    axes.margins(0.1)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 6)) if high > 4 * low else MaxNLocator(6))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(True, linewidth=0.6)
    axes.set(title=panel.title, xlabel=panel.cost, ylabel=score)
    return handles


def _page_svg(figure: Figure, panel: Panel | None = None, score: str = "") -> str:
    """Inks as the page's, and no names that several charts would share."""
    with _style():
        text = _svg(figure, [panel] if panel else [], score)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r"<!--.*?-->\s*|<defs>\s*<style.*?</defs>\s*", "", text, flags=re.DOTALL)
    return text.replace(_INK, "currentColor").replace(_GRID, "var(--line)")


def _svg(figure: Figure, panels: Sequence[Panel], score: str) -> str:
    svg = io.StringIO()
    about: dict[str, str | None] = {"Date": None, "Creator": None}
    if panels:
        costs = " and ".join(dict.fromkeys(panel.cost for panel in panels))
        about |= {"Title": f"{score} against {costs}", "Description": json.dumps([asdict(panel) for panel in panels])}
    figure.savefig(svg, format="svg", metadata=about)
    text = svg.getvalue()
    return text[text.index("<svg") :]
