"""A detection data set composed from the 1,797 handwritten digits that ship inside scikit-learn.

Every scene is a function of its split and index alone. Splits use disjoint digit images. All arithmetic is float64
NumPy/SciPy, so machines agree on the pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from reproduce.datasets.layout import Box, Sample

Array = NDArray[np.float64]

NAMES = [str(digit) for digit in range(10)]
SPLITS = {"train": 2000, "val": 300, "test": 300}
SHAPES = [(192, 192)] * 6 + [(144, 192), (192, 144)]
DIGITS_OF_SPLIT = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}
"""Part of the digit images of each class that a split draws from."""
MAX_COVERED = 0.15
"""Largest part of the smaller of two boxes that the other may cover."""

SYMBOLS: dict[str, list[tuple[float, float, float, float]]] = {
    "X": [(1, 1, 6, 6), (1, 6, 6, 1)],
    "+": [(0, 3.5, 7, 3.5), (3.5, 1, 3.5, 6)],
    "=": [(2, 1, 2, 6), (5, 1, 5, 6)],
    "H": [(0, 1, 7, 1), (0, 6, 7, 6), (3.5, 1, 3.5, 6)],
    "K": [(0, 1, 7, 1), (3.5, 1, 0, 6), (3.5, 1, 7, 6)],
    "A": [(0, 3.5, 7, 1), (0, 3.5, 7, 6), (4.5, 2, 4.5, 5)],
    "N": [(0, 1, 7, 1), (0, 1, 7, 6), (0, 6, 7, 6)],
    "E": [(0, 1, 7, 1), (0, 1, 0, 6), (3.5, 1, 3.5, 5), (7, 1, 7, 6)],
}
"""Distractors that are no digits, as segments ``(row, column, row, column)`` on the 8x8 grid of the digit images."""


@cache
def digit_pool(split: str) -> dict[int, Array]:
    """The 8x8 digit images of a split by class, each of shape ``(N, 8, 8)`` with values in [0, 1]."""
    digits = load_digits()
    pool = {}
    for label in range(10):
        images = digits.images[digits.target == label] / 16.0
        images = images[np.random.default_rng(label).permutation(len(images))]
        first, last = (round(edge * len(images)) for edge in DIGITS_OF_SPLIT[split])
        pool[label] = images[first:last]
    return pool


def _symbol(segments: list[tuple[float, float, float, float]]) -> Array:
    """Draw segments on the 8x8 grid with a pen as wide as that of the digit images."""
    rows, columns = np.mgrid[:8, :8].astype(float)
    ink = np.zeros((8, 8))
    for r0, c0, r1, c1 in segments:
        along = ((rows - r0) * (r1 - r0) + (columns - c0) * (c1 - c0)) / ((r1 - r0) ** 2 + (c1 - c0) ** 2)
        along = along.clip(0, 1)
        distance = np.hypot(rows - r0 - along * (r1 - r0), columns - c0 - along * (c1 - c0))
        ink = np.maximum(ink, (1.5 - distance).clip(0, 1))
    return ink


def _background(rng: np.random.Generator, height: int, width: int) -> Array:
    """Gradient, low-frequency texture, blobs, lines and grain; RGB of shape ``(H, W, 3)`` around [0, 1]."""
    rows, columns = np.mgrid[:height, :width] / float(max(height, width))
    slope = rng.uniform(-0.5, 0.5, size=2)
    level = rng.uniform(0.2, 0.8) + slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5)

    cells = int(rng.integers(4, 12))
    texture = ndimage.zoom(rng.normal(size=(cells, cells)), (height / cells, width / cells), order=3)
    level += rng.uniform(0, 0.1) * texture

    for _ in range(rng.integers(0, 5)):
        centre, radius = rng.uniform(0, 1, size=2), rng.uniform(0.02, 0.15, size=2)
        blob = np.exp(-(((rows - centre[0]) / radius[0]) ** 2) - ((columns - centre[1]) / radius[1]) ** 2)
        level += rng.uniform(-0.35, 0.35) * blob
    for _ in range(rng.integers(0, 5)):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(0, 0.9)
        distance = np.abs(np.cos(angle) * (columns - 0.5) + np.sin(angle) * (rows - 0.5) - offset + 0.45) * width
        level += rng.uniform(-0.3, 0.3) * (rng.uniform(1, 2.5) - distance).clip(0, 1)

    level += rng.choice([0.0, 0.015, 0.04]) * rng.normal(size=level.shape)
    return level[..., None] + rng.uniform(-0.12, 0.12, size=3)


def _pen_strokes(rng: np.random.Generator, glyph: Array, size: float) -> Array:
    """Opacity of an 8x8 glyph, enlarged to about ``size`` pixels, turned by at most 20 degrees and sheared.

    Cubic interpolation followed by a soft threshold gives smooth strokes of varying thickness and blur.
    """
    angle = np.deg2rad(rng.uniform(-20, 20))
    shear, aspect = rng.uniform(-0.2, 0.2), rng.uniform(0.8, 1.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pixels_to_grid = (turn @ np.array([[1.0, 0.0], [shear, 1.0 / aspect]])) * (8 / size)
    extent = int(np.ceil(size * 1.7))
    offset = np.array([5.5, 5.5]) - pixels_to_grid @ np.full(2, (extent - 1) / 2)
    ink = ndimage.affine_transform(np.pad(glyph, 2), pixels_to_grid, offset, (extent, extent), order=3)
    threshold, softness = rng.uniform(0.35, 0.6), rng.uniform(0.15, 0.45)
    return ((ink - threshold) / softness + 0.5).clip(0, 1)


def _tight_box(opacity: Array) -> tuple[int, int, int, int]:
    """``(top, left, bottom, right)`` of the pixels that are more ink than paper; bottom and right are exclusive."""
    rows, columns = (np.flatnonzero((opacity > 0.5).any(axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _covered(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection of two boxes as a part of the smaller one."""
    height, width = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(height, 0) * max(width, 0) / smaller


def compose(split: str, index: int, shape: tuple[int, int] | None = None) -> Sample:
    """Compose scene ``index`` of a split: 3 to 8 digits and up to 4 distractors on a cluttered background.

    Args:
        split: ``train``, ``val`` or ``test``; decides which digit images are used.
        index: Number of the scene; the same index gives the same scene.
        shape: Height and width in pixels; by default 192x192, sometimes 144x192 or 192x144.
    """
    rng = np.random.default_rng([list(SPLITS).index(split), index])
    height, width = SHAPES[rng.integers(len(SHAPES))] if shape is None else shape
    canvas = _background(rng, height, width)
    pool = digit_pool(split)
    wanted = [*rng.integers(0, 10, size=rng.integers(3, 9)).tolist(), *([None] * int(rng.integers(0, 5)))]

    taken: list[tuple[int, int, int, int]] = []
    boxes = []
    for label in wanted:
        if label is None:
            glyph = _symbol(SYMBOLS[list(SYMBOLS)[rng.integers(len(SYMBOLS))]])
        else:
            glyph = pool[label][rng.integers(len(pool[label]))]
        size = float(np.exp(rng.uniform(np.log(16), np.log(72))))
        opacity = _pen_strokes(rng, glyph, size)
        top, left, bottom, right = _tight_box(opacity)
        opacity = opacity[top:bottom, left:right]
        h, w = opacity.shape
        for _ in range(20):
            y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            box = (y, x, y + h, x + w)
            if all(_covered(box, other) <= MAX_COVERED for other in taken):
                break
        else:
            continue
        taken.append(box)
        paper = canvas[y : y + h, x : x + w]
        level, contrast = float(paper.mean()), rng.uniform(0.25, 0.7)
        darker = level > 0.65 or (level > 0.35 and rng.random() < 0.5)
        ink = level + (-contrast if darker else contrast) + rng.uniform(-0.08, 0.08, size=3)
        paper += opacity[..., None] * (ink - paper)
        if label is not None:
            boxes.append(Box(label, x, y, w, h))
    pixels = (canvas.clip(0, 1) * 255).round().astype(np.uint8)
    return Sample(Path(f"{index:05d}.png"), width, height, boxes, pixels)


def render(path: Path, index: int = 0, split: str = "test", shape: tuple[int, int] | None = None) -> Sample:
    """Write scene ``index`` of a split as an image file and return it."""
    scene = compose(split, index, shape)
    assert scene.pixels is not None
    Image.fromarray(scene.pixels).save(path)
    return scene


def read(split: str) -> Iterator[Sample]:
    """All scenes of a split."""
    return (compose(split, index) for index in range(SPLITS[split]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Render one scene of digits to an image file.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--shape", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    render(**vars(parser.parse_args()))
