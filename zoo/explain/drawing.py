"""Explanations as figures, in colours that colour-blind readers tell apart (Okabe and Ito's, and cividis)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from zoo.errors import OptionError
from zoo.explain.looks import Detections, Explanation, Look
from zoo.files import replacing
from zoo.layers.attention import Descriptors, Gates, Points

BLUE, ORANGE, GREEN, INK = "#0072B2", "#E69F00", "#009E73", "#1a1a1a"
HEAT = "cividis"
FORMATS = ("png", "svg", "pdf", "webp", "jpg")
PANEL = 4.2
COLUMNS = 4
MOST_ARROWS = 60
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
    groups = [_detection_panels(explanation), *(_graft_panels(explanation, look) for look in explanation.looks)]
    rows = [group[start : start + COLUMNS] for group in groups for start in range(0, len(group), COLUMNS)]
    height, width = explanation.picture.shape[:2]
    tall = min(max(height / width, 0.5), 1.6)
    columns = max(map(len, rows))
    figure = Figure(figsize=(PANEL * columns, (PANEL * tall + 0.55) * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, panels in zip(grid, rows, strict=True):
        for place, panel in zip(axes, panels, strict=False):
            panel(place)
        for place in axes[len(panels) :]:
            place.set_axis_off()
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


def _graft_panels(found: Explanation, look: Look) -> list[Painter]:
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
    for number, (left, top, right, bottom) in enumerate(detections.boxes.tolist()):
        edge, style = (ORANGE, "--") if number in alone else (color, "-")
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=edge, ls=style, lw=1.6))
        text = f"{number} {found.names[int(detections.classes[number])]} {detections.scores[number]:.2f}"
        axes.text(
            left,
            top,
            text,
            fontsize=6.5,
            color="white",
            va="bottom",
            clip_on=True,
            bbox={"facecolor": edge, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )


def _heat(axes: Axes, found: Explanation, values: Tensor, look: Look) -> None:
    """A map over the picture, with the scale of its colours."""
    rows, columns = values.shape
    corners = torch.tensor([[-0.5, -0.5], [rows - 0.5, columns - 0.5]])
    (left, top), (right, bottom) = found.to_picture(corners, look.stride).tolist()
    shown = axes.imshow(values.numpy(), extent=(left, right, bottom, top), cmap=HEAT, alpha=0.72)
    axes.figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.01).ax.tick_params(labelsize=7)


def _points(axes: Axes, found: Explanation, look: Look, name: str, part: Points) -> None:
    """Where the query of a graft reads: points sized by weight, with arrows from where they were."""
    weights = part.weights[0, :, 0].float().cpu()
    where = found.to_picture(part.positions[0, :, 0].float().cpu(), look.stride)
    seen = weights > 0
    heads, count = weights.shape
    _show(axes, found, f"{name}: {heads} head{'s' * (heads != 1)}, {int(seen.sum(1).max())} of {count} points each")
    edge = found.to_picture(torch.tensor(look.cell).float() + torch.tensor([[-0.5, -0.5], [0.5, 0.5]]), look.stride)
    (left, top), (right, bottom) = edge.tolist()
    strength = weights / weights.max()
    if part.origins is not None:
        origins = found.to_picture(part.origins[0, :, 0].float().cpu(), look.stride)
        strongest = strength.flatten().topk(min(MOST_ARROWS, strength.numel())).indices
        lines = torch.stack((origins.flatten(0, 1), where.flatten(0, 1)), 1)[strongest]
        axes.add_collection(LineCollection(list(lines.numpy()), colors="white", linewidths=0.8, alpha=0.9))
    else:
        outer = where[seen]
        half = torch.tensor(look.stride).flip(0) / found.scale / 2
        (x0, y0), (x1, y1) = (outer.amin(0) - half).tolist(), (outer.amax(0) + half).tolist()
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="white", lw=1.4))
    axes.scatter(
        where[..., 0][seen],
        where[..., 1][seen],
        s=(4 + 90 * strength[seen]).numpy(),
        c=strength[seen].numpy(),
        cmap=HEAT,
        vmin=0,
        vmax=1,
        edgecolors=INK,
        linewidths=0.3,
        alpha=0.85,
    )
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=ORANGE, lw=2))


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
            _show(axes, found, f"{name}: factor of each pixel")
            _heat(axes, found, pixels, look)

        panels.append(paint_pixels)
    if part.channels is not None:
        channels = part.channels[0].cpu().double().numpy()

        def paint_channels(axes: Axes) -> None:
            bins = min(40, max(5, len(channels) // 4))
            more = max(LEAST_SPAN - np.ptp(channels), 0) / 2
            span = channels.min() - more, channels.max() + more
            axes.hist(channels, bins, range=span, color=GREEN, ec="white", lw=0.4)
            axes.set_title(f"{name}: factor of each of {len(channels)} channels", fontsize=9, color=INK)
            axes.set_xlabel("factor", fontsize=8)
            axes.set_ylabel("channels", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_box_aspect(found.picture.shape[0] / found.picture.shape[1])
            axes.axvline(float(np.mean(channels)), color=ORANGE, lw=1.5)

        panels.append(paint_channels)
    return panels
