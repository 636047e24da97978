"""COCO: one JSON file a split, with category ids that have gaps."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reproduce.datasets.layout import Box, Sample
from zoo.errors import DataError


def names(annotations: Path) -> list[str]:
    """Class names in the order of their category ids, which is the order of their labels."""
    return [category["name"] for category in _categories(_load(annotations))]


def read(annotations: Path, images: Path) -> Iterator[Sample]:
    """Read one annotation file; category ids become labels 0, 1, …, crowds are marked as ignored.

    Raises:
        DataError: The file is not COCO JSON, refers to an unknown category, or an image is missing.
    """
    content = _load(annotations)
    labels = {category["id"]: label for label, category in enumerate(_categories(content))}
    boxes: dict[int, list[Box]] = defaultdict(list)
    for annotation in content["annotations"]:
        if annotation["category_id"] not in labels:
            raise DataError(f"{annotations}: annotation {annotation['id']} has unknown category_id.")
        label, crowd = labels[annotation["category_id"]], bool(annotation.get("iscrowd"))
        x, y, w, h = annotation["bbox"]
        boxes[annotation["image_id"]].append(Box(label, x, y, w, h, crowd, annotation.get("area")))
    missing = [image["file_name"] for image in content["images"] if not (images / image["file_name"]).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(content['images'])} images of {annotations} are not in {images}, "
            f"first {missing[0]}; complete the folder."
        )
    for image in content["images"]:
        yield Sample(images / image["file_name"], image["width"], image["height"], boxes[image["id"]])


def _categories(content: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(content["categories"], key=lambda category: category["id"])


def _load(annotations: Path) -> dict[str, Any]:
    try:
        content = json.loads(annotations.read_text())
        if {"images", "annotations", "categories"} <= content.keys():
            return content
    except (ValueError, AttributeError) as error:
        raise DataError(f"{annotations} is not COCO JSON: {error}.") from error
    raise DataError(f"{annotations} is not COCO JSON: it lacks images, annotations or categories.")
