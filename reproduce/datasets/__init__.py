"""Data sets in one layout, made once and atomically from whatever their authors distribute.

A prepared data set holds ``images/<split>``, ``labels/<split>`` and ``data.yaml`` as Ultralytics trains on them, and
``annotations/<split>.json`` in COCO's format with exact boxes, areas and ignored objects, for evaluation.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

from zoo.errors import DataError


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


@dataclass
class Sample:
    """One annotated image."""

    image: Path
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)

    def clipped(self) -> Sample:
        """The same sample with its boxes cut at the image border.

        Raises:
            DataError: A box has no area inside the image or is not finite.
        """
        boxes = []
        for box in self.boxes:
            x, y = max(box.x, 0.0), max(box.y, 0.0)
            w, h = min(box.x + box.w, self.width) - x, min(box.y + box.h, self.height) - y
            if not (w > 0 and h > 0):
                raise DataError(
                    f"{self.image}: object {tuple(box[:5])} has no area inside the {self.width}x{self.height} image. "
                    "Correct or remove its annotation."
                )
            boxes.append(box._replace(x=x, y=y, w=w, h=h))
        return Sample(self.image, self.width, self.height, boxes)


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


def write_split(root: Path, split: str, names: list[str], samples: Iterable[Sample]) -> int:
    """Write images, labels and annotations of one split below ``root`` and return the number of images.

    Images outside ``root`` become symbolic links, or copies where links are not permitted.

    Raises:
        DataError: A label or box is out of range, two images share a name, or there is no image.
    """
    images, labels = root / "images" / split, root / "labels" / split
    for folder in (images, labels, root / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    coco: dict[str, list[dict]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }
    for sample in map(Sample.clipped, samples):
        label_file = labels / f"{sample.image.stem}.txt"
        if label_file.exists():
            raise DataError(f"two images of split {split!r} are called {sample.image.stem!r}; rename one.")
        if sample.image.parent != images:
            _link(sample.image, images / sample.image.name)
        image_id = len(coco["images"]) + 1
        coco["images"].append(
            {"id": image_id, "file_name": sample.image.name, "width": sample.width, "height": sample.height}
        )
        rows = []
        for box in sample.boxes:
            if not 0 <= box.label < len(names):
                raise DataError(f"{sample.image}: class {box.label} is not one of 0..{len(names) - 1}.")
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": box.label,
                    "bbox": [box.x, box.y, box.w, box.h],
                    "area": box.w * box.h if box.area is None else box.area,
                    "iscrowd": int(box.ignored),
                }
            )
            if not box.ignored:
                x, y = (box.x + box.w / 2) / sample.width, (box.y + box.h / 2) / sample.height
                rows.append(f"{box.label} {x:.6f} {y:.6f} {box.w / sample.width:.6f} {box.h / sample.height:.6f}\n")
        label_file.write_text("".join(rows))
    if not coco["images"]:
        raise DataError(f"split {split!r} of {root.name} has no image.")
    (root / "annotations" / f"{split}.json").write_text(json.dumps(coco))
    return len(coco["images"])


def write_yaml(root: Path, names: list[str], splits: Iterable[str], **extra: object) -> None:
    """Write ``data.yaml``; without a ``path`` key Ultralytics resolves the splits against the file's own folder."""
    content = {split: f"images/{split}" for split in splits} | {"names": dict(enumerate(names))} | extra
    (root / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _link(source: Path, destination: Path) -> None:
    try:
        os.symlink(source.resolve(), destination)
    except OSError:
        shutil.copyfile(source, destination)
