"""YOLO text labels: rows of class, centre and size as fractions of the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reproduce.datasets.layout import Box, Sample, image_size
from zoo.errors import DataError

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def read(root: Path, split: str) -> Iterator[Sample]:
    """Read ``images/<split>`` and ``labels/<split>`` below ``root``, in the order of the file names.

    Raises:
        DataError: A label file is missing or has a row that is not five numbers, or an image is unreadable.
    """
    for image in sorted((root / "images" / split).iterdir()):
        if image.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        path = root / "labels" / split / f"{image.stem}.txt"
        width, height = image_size(image)
        try:
            rows = [row.split() for row in path.read_text().splitlines() if row.strip()]
            boxes = [_box(row, width, height) for row in rows]
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}.") from error
        yield Sample(image, width, height, boxes)


def _box(row: list[str], width: int, height: int) -> Box:
    if len(row) != 5:
        raise ValueError(f"expected 'class x y w h', found {' '.join(row)!r}")
    label, (x, y, w, h) = int(row[0]), map(float, row[1:])
    return Box(label, (x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
