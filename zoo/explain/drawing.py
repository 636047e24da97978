"""Explanations as figures, in colours that colour-blind readers tell apart (Okabe and Ito's, and cividis)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import Formatter, PercentFormatter
from torch import Tensor

from zoo.errors import OptionError
from zoo.explain.looks import Detections, Explanation, Look
from zoo.files import replacing
from zoo.layers.attention import Descriptors, Gates, Points
from zoo.predict.draw import place

BLUE, ORANGE, GREEN, INK = "#0072B2", "#E69F00", "#009E73", "#1a1a1a"
HEAT = "cividis"
FORMATS = ("png", "svg", "pdf", "webp", "jpg")
PANEL = 4.2
COLUMNS = 4
LABEL = 6.5
MOST_ARROWS = 60
LEAST_STRENGTH = 0.05
"""Of a point that is drawn by its weight, relative to the heaviest."""
LEAST_CELL = 0.02
"""Of the picture's width: a query's cell that is smaller is a cross."""
LEAST_SPAN = 1e-3
"""Of an axis of factors: below it, rounding would look like a difference between channels."""

Painter = Callable[[Axes], None]


def save(explanation: Explanation, file: Path) -> Path:
    """Draw an explanation into a file: PNG and its like, or vectors as SVG and PDF.

    Raises:
        OptionError: The suffix is not of a format that can be written.
    """
    suffix = file.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise OptionError(f"{file.name}: a drawing ends in one of {', '.join(FORMATS)}.")
    with replacing(file) as temporary:
        draw(explanation).savefig(temporary, format=suffix, dpi=150)
    return file


def draw(explanation: Explanation) -> Figure:
    """Panels for the detections, and below them those of each graft, four a row.

    Panels of a graft: how much it changes its map at each place, then what its block says of itself.
    """
    groups = [_detection_panels(explanation), *(graft_panels(explanation, look) for look in explanation.looks)]
    rows = [group[start : start + COLUMNS] for group in groups for start in range(0, len(group), COLUMNS)]
    height, width = explanation.picture.shape[:2]
    tall = min(max(height / width, 0.5), 1.6)
    columns = max(map(len, rows))
    figure = Figure(figsize=(PANEL * columns, (PANEL * tall + 0.55) * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, panels in zip(grid, rows, strict=True):
        for spot, panel in zip(axes, panels, strict=False):
            panel(spot)
        for spot in axes[len(panels) :]:
            spot.set_axis_off()
    return figure


def _detection_panels(found: Explanation) -> list[Painter]:
    def with_grafts(axes: Axes) -> None:
        _show(axes, found, f"with the grafts: {_count(found.found)}")
        _boxes(axes, found, found.found, BLUE, found.gained)
        axes.plot(*found.at, marker="+", color=ORANGE, markersize=14, markeredgewidth=2.5)

    def without_grafts(axes: Axes) -> None:
        _show(axes, found, f"gates shut: {_count(found.found_without)}")
        _boxes(axes, found, found.found_without, BLUE, found.lost)

    return [with_grafts, without_grafts]


def graft_panels(found: Explanation, look: Look) -> list[Painter]:
    """How much a graft changes its map at each place, then what its block says of itself: one drawing each."""

    def change(axes: Axes) -> None:
        _show(axes, found, f"{look.block} at {look.place}\n{look.effect}")
        _heat(axes, found, torch.from_numpy(look.change), look)

    panels: list[Painter] = [change]
    for name, part in look.parts.items():
        if isinstance(part, Points):
            panels.append(partial(_points, found=found, look=look, name=name, part=part))
        elif isinstance(part, Descriptors):
            panels += _descriptors(found, look, part)
        else:
            panels += _gates(found, look, name, part)
    return panels


def _show(axes: Axes, found: Explanation, title: str) -> None:
    height, width = found.picture.shape[:2]
    axes.imshow(found.picture, extent=(0, width, height, 0), interpolation="nearest" if width < 320 else "antialiased")
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()


def _count(found: Detections) -> str:
    return f"{len(found.boxes)} detection{'s' * (len(found.boxes) != 1)}"


def _boxes(axes: Axes, found: Explanation, detections: Detections, color: str, alone: list[int]) -> None:
    """Detections of one side; those that the other side lacks are orange and dashed."""
    height, width = found.picture.shape[:2]
    boxes = detections.boxes.cpu().numpy()
    texts = [
        f"{number} {found.names[int(kind)]} {score:.2f}"
        for number, (kind, score) in enumerate(zip(detections.classes, detections.scores, strict=True))
    ]
    points = np.array([[0.62 * LABEL * len(text) + 2, 1.5 * LABEL] for text in texts]).reshape(-1, 2)
    corners = place(boxes, points / 72 / PANEL * width, (width, height))
    for number, ((left, top, right, bottom), (x, y), text) in enumerate(zip(boxes, corners, texts, strict=True)):
        edge, style = (ORANGE, "--") if number in alone else (color, "-")
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=edge, ls=style, lw=1.6))
        label = {"facecolor": edge, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        axes.text(x, y, text, fontsize=LABEL, color="white", va="top", clip_on=True, bbox=label)


def _heat(
    axes: Axes,
    found: Explanation,
    values: Tensor,
    look: Look,
    first: Tensor | None = None,
    side: float = 1.0,
    format: Formatter | None = None,
) -> None:
    """A map over the picture, with the scale of its colours.

    Args:
        axes: Where to draw.
        found: The explanation.
        values: `(rows, columns)`; what is not a number stays clear.
        look: The graft whose map it is.
        first: Row and column on that map of the first value's middle, by default those of its first pixel.
        side: Pixels of the map that a value stands for, along each side.
        format: Of the scale.
    """
    first = torch.zeros(2) if first is None else first
    corners = torch.stack((first, first + side * torch.tensor(values.shape))) - side / 2
    (left, top), (right, bottom) = found.to_picture(corners, look.stride).tolist()
    shown = axes.imshow(values.numpy(), extent=(left, right, bottom, top), cmap=HEAT, alpha=0.72)
    height, width = found.picture.shape[:2]
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.01, format=format).ax.tick_params(labelsize=7)


def _points(axes: Axes, found: Explanation, look: Look, name: str, part: Points) -> None:
    """Where the query of a graft reads, and how much: as cells of the map, or as points with their movements."""
    edge = found.to_picture(torch.tensor(look.cell).float() + torch.tensor([[-0.5, -0.5], [0.5, 0.5]]), look.stride)
    (left, top), (right, bottom) = edge.tolist()
    shared = part.origins is None and bool((part.positions == part.positions[:, :1]).all())
    on_grid = bool(((2 * part.positions).frac() == 0).all())
    (_cells if shared and on_grid else _moved)(axes, found, look, name, part)
    if right - left < LEAST_CELL * found.picture.shape[1]:
        axes.plot((left + right) / 2, (top + bottom) / 2, marker="+", color=ORANGE, markersize=10, markeredgewidth=2)
    else:
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=ORANGE, lw=2))


def _cells(axes: Axes, found: Explanation, look: Look, name: str, part: Points) -> None:
    """Points that all heads share and that lie on a grid: what each is given, on average over the heads."""
    weights = part.weights[0, :, 0].float().cpu().mean(0)
    seen = weights > 0
    where = part.positions[0, 0, 0].float().cpu()[seen]
    gaps = torch.cat([torch.unique(axis).diff() for axis in where.unbind(1)])
    side = float(gaps.min()) if len(gaps) else 1.0
    first = where.amin(0)
    rows, columns = ((where - first) / side).round().long().unbind(1)
    values = torch.full((int(rows.max()) + 1, int(columns.max()) + 1), torch.nan)
    values[rows, columns] = weights[seen]
    heads = part.weights.shape[1]
    of_heads = f", mean of {heads} heads" if heads > 1 else ""
    _show(axes, found, f"{name}\nweights of {int(seen.sum())} places{of_heads}")
    _heat(axes, found, values, look, first, side, PercentFormatter(1))


def _moved(axes: Axes, found: Explanation, look: Look, name: str, part: Points) -> None:
    """Points sized by weight, with arrows from where they were; those of little weight are dots."""
    weights = part.weights[0, :, 0].float().cpu()
    where = found.to_picture(part.positions[0, :, 0].float().cpu(), look.stride)
    heads, count = weights.shape
    _show(axes, found, f"{name}\n{heads} head{'s' * (heads != 1)}, {count} points each")
    strength = weights / weights.max()
    strong = strength >= LEAST_STRENGTH
    x, y = where.unbind(-1)
    axes.scatter(x[~strong], y[~strong], s=2, c=INK, linewidths=0, alpha=0.5)
    if part.origins is not None:
        origins = found.to_picture(part.origins[0, :, 0].float().cpu(), look.stride)
        strongest = (strength * strong).flatten().topk(min(MOST_ARROWS, int(strong.sum()))).indices
        starts, ends = (points.flatten(0, 1)[strongest] for points in (origins, where))
        arrows: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004, "headwidth": 4}
        arrows |= {"minlength": 0, "color": "white", "ec": INK, "lw": 0.2}
        axes.quiver(*starts.unbind(1), *(ends - starts).unbind(1), **arrows)
    axes.scatter(
        x[strong],
        y[strong],
        s=(4 + 90 * strength[strong]).numpy(),
        c=strength[strong].numpy(),
        cmap=HEAT,
        vmin=0,
        vmax=1,
        edgecolors=INK,
        linewidths=0.3,
        alpha=0.85,
    )


def _descriptors(found: Explanation, look: Look, part: Descriptors) -> list[Painter]:
    """The two descriptors that the query is given most of: where each is gathered, and where it is given."""
    row, column = look.cell
    given = part.given[0].float().cpu()
    chosen = given[:, row, column].topk(min(2, len(given))).indices.tolist()

    def panel(title: str, values: Tensor) -> Painter:
        def paint(axes: Axes) -> None:
            _show(axes, found, title)
            _heat(axes, found, values, look)

        return paint

    gathered = part.gathered[0].float().cpu()
    if len(gathered) == 1:
        return [panel("gathered here, and given to every place", gathered[0] * gathered[0].numel())]
    return [
        each
        for number in chosen
        for each in (
            panel(f"descriptor {number} is gathered here", gathered[number] * gathered[number].numel()),
            panel(f"and given here ({given[number, row, column]:.0%} of the query's)", given[number]),
        )
    ]


def _gates(found: Explanation, look: Look, name: str, part: Gates) -> list[Painter]:
    panels: list[Painter] = []
    if part.pixels is not None:
        pixels = part.pixels[0].float().cpu()

        def paint_pixels(axes: Axes) -> None:
            _show(axes, found, f"{name}\nfactor of each pixel")
            _heat(axes, found, pixels, look)

        panels.append(paint_pixels)
    if part.channels is not None:
        channels = part.channels[0].cpu().double().numpy()

        def paint_channels(axes: Axes) -> None:
            bins = min(40, max(5, len(channels) // 4))
            more = max(LEAST_SPAN - np.ptp(channels), 0) / 2
            span = channels.min() - more, channels.max() + more
            axes.hist(channels, bins, range=span, color=GREEN, ec="white", lw=0.4)
            axes.set_title(f"{name}\nfactor of each of {len(channels)} channels", fontsize=9, color=INK)
            axes.set_xlabel("factor", fontsize=8)
            axes.set_ylabel("channels", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_box_aspect(found.picture.shape[0] / found.picture.shape[1])
            axes.axvline(float(np.mean(channels)), color=ORANGE, lw=1.5)

        panels.append(paint_channels)
    return panels
