"""Validation images on which two models differ, drawn side by side with the truth. Neither torch nor a model here."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

COUNT = 12

IOU = 0.5
_WIDTH = 300
_COLOURS = ("#2f81f7", "#e5534b", "#2da44e", "#d29922", "#a371f7", "#39c5cf", "#db61a2", "#f0883e")


@dataclass(frozen=True)
class Box:
    """One object.

    Attributes:
        corners: Left, top, right and bottom, in pixels.
        label: Index of its class.
        confidence: Of a prediction; `None` of the truth.
    """

    corners: tuple[float, float, float, float]
    label: int
    confidence: float | None = None


@dataclass(frozen=True)
class Seen:
    """An image, what is on it, and what two models found; their confidence is for the caller to cut."""

    path: Path
    truth: Sequence[Box]
    control: Sequence[Box]
    model: Sequence[Box]


@dataclass(frozen=True)
class Panel:
    """One drawing, as the address of its own data."""

    title: str
    source: str


@dataclass(frozen=True)
class Picture:
    """One image, drawn three times.

    Attributes:
        name: The file's.
        text: What was found.
        images: Truth, control and model.
        names: Of the two models.
        among: Of how many images it was chosen.
    """

    name: str
    text: str
    images: tuple[Panel, ...]
    names: tuple[str, str]
    among: int


def differing(seen: Sequence[Seen], names: tuple[str, str], class_names: Sequence[str]) -> list[Picture]:
    """Draw the images, `COUNT` at most, on which the F1 scores of two models differ most, the widest first.

    Args:
        seen: Images to choose from.
        names: Of control and model.
        class_names: By index of the class.
    """
    scored = []
    for each in seen:
        control, model = (_matched(found, each.truth) for found in (each.control, each.model))
        gap = abs(_f1(control, each.control, each.truth) - _f1(model, each.model, each.truth))
        if gap:
            scored.append((-gap, str(each.path), each, control, model))
    return [
        _draw(each, names, (control, model), class_names, len(seen))
        for _, _, each, control, model in sorted(scored, key=lambda item: item[:2])[:COUNT]
    ]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    left, top, right, bottom = (
        choose(a, b) for choose, a, b in zip((max, max, min, min), one.corners, other.corners, strict=True)
    )
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [(box.corners[2] - box.corners[0]) * (box.corners[3] - box.corners[1]) for box in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)


def _matched(found: Sequence[Box], truth: Sequence[Box]) -> int:
    """How many of the truth were found, each by one box of its class."""
    left = list(truth)
    for box in sorted(found, key=lambda box: -(box.confidence or 0)):
        alike = [other for other in left if other.label == box.label and overlap(box, other) >= IOU]
        if alike:
            left.remove(max(alike, key=lambda other: overlap(box, other)))
    return len(truth) - len(left)


def _f1(matched: int, found: Sequence[Box], truth: Sequence[Box]) -> float:
    return 2 * matched / (len(found) + len(truth)) if found or truth else 1.0


def _draw(
    seen: Seen, names: tuple[str, str], matched: tuple[int, int], class_names: Sequence[str], among: int
) -> Picture:
    with Image.open(seen.path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    scale = _WIDTH / image.width
    image = image.resize((_WIDTH, max(1, round(image.height * scale))))
    panels = tuple(
        Panel(title, _boxed(image, boxes, scale, class_names))
        for title, boxes in zip(("truth", *names), (seen.truth, seen.control, seen.model), strict=True)
    )
    counts = [
        f"{name} finds {right} of {len(seen.truth)}, and {len(boxes) - right} that are none"
        for name, right, boxes in zip(names, matched, (seen.control, seen.model), strict=True)
    ]
    return Picture(seen.path.name, f"{'; '.join(counts)}.", panels, names, among)


def _boxed(image: Image.Image, boxes: Sequence[Box], scale: float, class_names: Sequence[str]) -> str:
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    for box in boxes:
        colour = _COLOURS[box.label % len(_COLOURS)]
        corners = [corner * scale for corner in box.corners]
        pen.rectangle(corners, outline=colour, width=2)
        if len(boxes) <= 12:
            name = class_names[box.label] if box.label < len(class_names) else str(box.label)
            place = corners[0] + 1, max(0.0, corners[1] - 11)
            pen.rectangle(pen.textbbox(place, name), fill=colour)
            pen.text(place, name, fill="white")
    written = io.BytesIO()
    drawn.save(written, "JPEG", quality=70, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
