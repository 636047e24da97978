"""Scores against costs as one SVG, by Matplotlib; what it shows is in its description too, as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_MARKERS = "osD^vP*X<>h"
_GREY = "#57606a"


@dataclass(frozen=True)
class Point:
    """One model.

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


def draw(panels: Sequence[Panel], score: str) -> str:
    """Draw panels, two in a row, with one legend; a model looks the same in all.

    Args:
        panels: At least one, with at least one point each.
        score: Label of the vertical axes.

    Returns:
        An `<svg>` element that fetches nothing, the same text for the same panels and version of Matplotlib.
    """
    import matplotlib
    from matplotlib.colors import TABLEAU_COLORS
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    colors = [color for name, color in TABLEAU_COLORS.items() if name != "tab:gray"]
    plain = {point.label: point.plain for panel in panels for point in panel.points}
    drawn = {}
    rows, columns = (len(panels) + 1) // 2, min(len(panels), 2)
    svg = io.StringIO()
    # A name is text as it stands, "$" included.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zoo", "text.parse_math": False}):
        figure = Figure(figsize=(4 * columns + 2, 3.4 * rows), layout="constrained", facecolor="white")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes, panel in zip(grid, panels, strict=False):
            for point in panel.points:
                alike = sorted(label for label in plain if plain[label] == point.plain)
                index = alike.index(point.label)
                drawn[point.label] = axes.errorbar(
                    point.cost,
                    point.score,
                    yerr=point.half,
                    color=_GREY if point.plain else colors[index % len(colors)],
                    marker=_MARKERS[index % len(_MARKERS)],
                    linestyle="none",
                    capsize=3,
                )
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 6)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.margins(0.1)
            axes.grid(alpha=0.3)
            axes.set(title=panel.title, xlabel=panel.cost, ylabel=score)
        names = sorted(drawn, key=lambda label: (plain[label], label))
        figure.legend([drawn[name] for name in names], names, loc="outside right upper", frameon=False)
        about = {
            "Title": f"{score} against {' and '.join(dict.fromkeys(panel.cost for panel in panels))}",
            "Description": json.dumps([asdict(panel) for panel in panels]),
        }
        figure.savefig(svg, format="svg", metadata={**about, "Date": None, "Creator": None})
    text = svg.getvalue()
    return text[text.index("<svg") :]
