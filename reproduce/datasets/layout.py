"""The one layout that every data set is brought into, once and atomically.

A prepared data set holds ``images/<split>``, ``labels/<split>`` and ``data.yaml`` as Ultralytics trains on them, and
``annotations/<split>.json`` in COCO's format with exact boxes, areas and ignored objects, for evaluation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import DataError

logger = logging.getLogger(__name__)

SMALLEST = 1e-6
"""Least width and height of a label, as a fraction of the image: one unit of the last digit that is written."""


class Box(NamedTuple):
    """One annotated object; ``x``, ``y`` is the top left corner in pixels."""

    label: int
    x: float
    y: float
    w: float
    h: float
    ignored: bool = False
    """Neither trained on nor counted: a crowd in COCO, a difficult object in VOC."""
    area: float | None = None
    """Area of the object's mask in square pixels where the source knows it, else the box counts."""


@dataclass(frozen=True)
class Sample:
    """One annotated image: a file that exists, or pixels to be written under the name of ``image``."""

    image: Path
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)
    pixels: NDArray[np.uint8] | None = None
    """RGB, shape ``(H, W, 3)``."""


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` when the block ends well and vanishes when it does not.

    If another process finishes ``target`` first, its result stands and this one is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield staging
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not (target / "data.yaml").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_split(root: Path, split: str, names: list[str], samples: Iterable[Sample]) -> tuple[int, str]:
    """Write images, labels and annotations of one split below ``root``.

    Existing images become symbolic links, or copies where links are not permitted. Annotations keep every box as it
    is; labels hold the boxes that are trained on, cut at the image border. A box without area inside the image is
    ignored: no prediction can match it.

    Returns:
        The number of images, and a digest of the annotations and of the pixels that were written.

    Raises:
        DataError: A class is out of range, a box is not finite, two images share a name, or there is no image.
    """
    images, labels, annotations = (root / kind / split for kind in ("images", "labels", "annotations"))
    for folder in (images, labels, annotations.parent):
        folder.mkdir(parents=True, exist_ok=True)
    digest, empty = hashlib.sha256(), 0
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }
    for sample in samples:
        label_file = labels / f"{sample.image.stem}.txt"
        if label_file.exists():
            raise DataError(f"two images of split {split!r} are called {sample.image.stem!r}; rename one.")
        if sample.pixels is None:
            _link(sample.image, images / sample.image.name)
        else:
            Image.fromarray(sample.pixels).save(images / sample.image.name, compress_level=1)
            digest.update(sample.pixels.tobytes())
        image_id = len(coco["images"]) + 1
        coco["images"].append(
            {"id": image_id, "file_name": sample.image.name, "width": sample.width, "height": sample.height}
        )
        rows = []
        for box in sample.boxes:
            _check(sample, box, len(names))
            left, right = (min(max(x, 0), sample.width) / sample.width for x in (box.x, box.x + box.w))
            top, bottom = (min(max(y, 0), sample.height) / sample.height for y in (box.y, box.y + box.h))
            is_empty = min(right - left, bottom - top) < SMALLEST
            empty += is_empty
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": box.label,
                    "bbox": [box.x, box.y, box.w, box.h],
                    "area": box.w * box.h if box.area is None else box.area,
                    "iscrowd": int(box.ignored or is_empty),
                }
            )
            if not (box.ignored or is_empty):
                centre = f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f}"
                rows.append(f"{box.label} {centre} {right - left:.6f} {bottom - top:.6f}\n")
        label_file.write_text("".join(rows))
    if not coco["images"]:
        raise DataError(f"split {split!r} has no image.")
    if empty:
        logger.warning("split %r: objects ignored because no part of their box is inside the image: %d.", split, empty)
    text = json.dumps(coco)
    annotations.with_suffix(".json").write_text(text)
    digest.update(text.encode())
    return len(coco["images"]), digest.hexdigest()


def write_yaml(root: Path, names: list[str], digests: dict[str, str]) -> None:
    """Write ``data.yaml``; without a ``path`` key Ultralytics resolves the splits against the file's own folder."""
    content = {split: f"images/{split}" for split in digests} | {"names": dict(enumerate(names)), "sha256": digests}
    (root / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's header.

    Raises:
        DataError: The file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ImportError) as error:  # Ultralytics' patched opener tries to import another decoder
        raise DataError(f"{path} is not a readable image: {error}.") from error


def _check(sample: Sample, box: Box, num_classes: int) -> None:
    if not 0 <= box.label < num_classes:
        raise DataError(f"{sample.image}: class {box.label} is not one of 0..{num_classes - 1}; correct the label.")
    if not all(math.isfinite(value) for value in box[1:5]):
        raise DataError(f"{sample.image}: box {box[1:5]} is not finite; correct the label.")


def _link(source: Path, destination: Path) -> None:
    try:
        os.symlink(source.resolve(), destination)
    except OSError:
        shutil.copyfile(source, destination)
