"""Detections drawn by Ultralytics, with labels placed where they hide as little as possible."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from ultralytics.engine.results import Results
from ultralytics.utils.plotting import colors

LEAST_SIDE = 640
MOST_ENLARGED = 16


def objects(result: Results) -> Any:
    """The boxes that were found, oriented ones of a model that finds such; `None` of one that finds neither."""
    return result.boxes if result.obb is None else result.obb


def draw(result: Results) -> np.ndarray:
    """Draw what was found.

    Args:
        result: On the CPU.

    Returns:
        BGR, uint8, `(H, W, 3)` of the original or, when its longer side has fewer than 640 pixels, of the smallest
        whole multiple (16 at most) that has as many.
    """
    result = enlarge(result, enlargement(*result.orig_shape))
    height, width = result.orig_shape
    side = (height + width) / 2
    line = max(2, round(0.003 * side))
    boxes = objects(result)
    by_track = boxes is not None and boxes.is_track
    mode = "instance" if by_track else "class"
    plotted = result.plot(labels=False, conf=False, line_width=line, kpt_radius=line + 1, color_mode=mode)
    if boxes is None or not len(boxes):
        return plotted
    texts = labels(result)
    font = _font(max(12, round(0.022 * side)))
    pad = max(1, line // 2)
    sizes = np.array([font.getbbox(text)[2:] for text in texts]) + 2 * pad
    corners = place(boxes.xyxy.numpy(), sizes, (width, height))
    picture = Image.fromarray(plotted)
    canvas = ImageDraw.Draw(picture, "RGBA")
    numbers = boxes.id if by_track else boxes.cls
    for (x, y), (w, h), text, number in zip(corners, sizes, texts, numbers.tolist(), strict=True):
        color = colors(int(number), True)
        canvas.rectangle((x, y, x + w - 1, y + h - 1), fill=(*color, 215))
        canvas.text((x + pad, y + pad), text, fill=_ink(color), font=font)
    return np.asarray(picture)


def labels(result: Results) -> list[str]:
    """One text a box: its track, class and confidence."""
    boxes = objects(result)
    tracks = [f"#{int(track)} " for track in boxes.id.tolist()] if boxes.is_track else [""] * len(boxes)
    return [
        f"{track}{result.names[int(number)]} {confidence:.2f}"
        for track, number, confidence in zip(tracks, boxes.cls.tolist(), boxes.conf.tolist(), strict=True)
    ]


def place(boxes: np.ndarray, sizes: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Choose a corner for each label, in order: above, below, beside or inside its box, wherever it hides least.

    Args:
        boxes: Objects, `(N, 4)` of left, top, right, bottom in pixels.
        sizes: Labels, `(N, 2)` of width and height in pixels.
        canvas: Width and height of the picture in pixels.

    Returns:
        Left and top of every label, `(N, 2)`, within the picture if the label fits into it.
    """
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1)
    placed = np.zeros((0, 4))
    for (left, top, right, bottom), (w, h) in zip(boxes, sizes, strict=True):
        corners = np.array(
            [
                (left, top - h),
                (right - w, top - h),
                (left, bottom),
                (right - w, bottom),
                (right, top),
                (left - w, top),
                (right, bottom - h),
                (left - w, bottom - h),
                (left, top),
            ]
        )
        size = np.array([w, h])
        corners = np.clip(corners, 0, np.maximum(np.array(canvas) - size, 0)).round()
        spots = np.concatenate([corners, corners + size], axis=1)
        hidden = (_overlaps(spots, boxes) / areas).sum(1) + 2 * _overlaps(spots, placed).sum(1) / (w * h)
        best = spots[np.argmin(hidden.round(3))]
        placed = np.concatenate([placed, best[None]])
    return placed[:, :2].astype(int)


def enlargement(height: int, width: int) -> int:
    """How many pixels of a drawing stand for one of a picture, along each side."""
    return min(MOST_ENLARGED, -(-LEAST_SIDE // max(height, width)))


def enlarge(result: Results, factor: int) -> Results:
    """The same detections in a picture whose sides are `factor` times as long."""
    if factor == 1:
        return result
    size = (result.orig_shape[1] * factor, result.orig_shape[0] * factor)
    large = Results(
        cv2.resize(result.orig_img, size, interpolation=cv2.INTER_CUBIC),
        result.path,
        result.names,
        boxes=_scaled(result.boxes, 4, factor),
        masks=None if result.masks is None else result.masks.data,
        keypoints=_scaled(result.keypoints, 2, factor),
        obb=_scaled(result.obb, 4, factor),
    )
    return large


def _scaled(part: Any, lengths: int, factor: int) -> Any:
    if part is None:
        return None
    data = part.data.clone()
    data[..., :lengths] *= factor
    return data


def _overlaps(spots: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Common area of rectangles `(M, 4)` and `(N, 4)`, as `(M, N)`."""
    low = np.maximum(spots[:, None, :2], others[None, :, :2])
    high = np.minimum(spots[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2)


def _ink(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is legible on a BGR colour."""
    blue, green, red = color
    return (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else (255, 255, 255)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
