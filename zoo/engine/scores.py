"""COCO's metrics of what a validation found, by class and by size of the objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils import ops

BOX_TASKS = ("detect", "segment", "pose")

Scores = dict[str, Any]


class Found(NamedTuple):
    """What a detector found in an image.

    Attributes:
        shape: Height and width of the image.
        boxes: A row of left, top, width, height in its pixels, score and class a box.
    """

    shape: tuple[int, int]
    boxes: NDArray[np.float64]


class Collector:
    """Keeps what a validator found in each image, until the next validation.

    Args:
        validator: Of a task whose boxes are upright. Its `update_metrics` is wrapped: no callback is given the
            predictions.
    """

    def __init__(self, validator: BaseValidator) -> None:
        self._found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        update = validator.update_metrics

        def keep(preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
            shape = tuple(batch["img"].shape[2:])
            for index, pred in enumerate(preds):
                place = {"shape": shape, "original": batch["ori_shape"][index], "pad": batch["ratio_pad"][index]}
                parts = {key: pred[key].detach().clone() for key in ("bboxes", "conf", "cls")}
                self._found[batch["im_file"][index]] = parts, place
            update(preds, batch)

        validator.update_metrics = keep

    def clear(self) -> None:
        """Forget what was found."""
        self._found.clear()

    def found(self) -> dict[str, Found]:
        """What was found, by image file."""
        found = {}
        for file, (parts, place) in self._found.items():
            edges = ops.xyxy2ltwh(parts["bboxes"].double().cpu())
            edges = ops.scale_boxes(place["shape"], edges, place["original"], ratio_pad=place["pad"], xywh=True)
            columns = [edges.numpy(), *(parts[key].double().cpu().numpy()[:, None] for key in ("conf", "cls"))]
            found[file] = Found(tuple(place["original"]), np.concatenate(columns, 1))
        return found


def coco(labels: Sequence[Mapping[str, Any]], found: Mapping[str, Found], names: Mapping[int, str]) -> Scores:
    """COCO's average precision, at most 100 boxes an image.

    Args:
        labels: Of an Ultralytics data set: `im_file`, `cls` (N, 1) and `bboxes` (N, 4), centre and size over the
            image's.
        found: In each of these images.
        names: Of the classes.

    Returns:
        `mAP50-95`, `mAP50`, mAP50-95 of `small`, `medium` and `large` objects (below 32 x 32, below 96 x 96 and from
        there on, pixels of the image), and the first two of each class in `per_class`; `None` where there is no object.
    """
    truth = _truth(labels, found, names)
    predictions = [
        {"image_id": number, "category_id": int(row[5]), "bbox": row[:4].tolist(), "score": float(row[4])}
        for number, label in enumerate(labels)
        for row in found[label["im_file"]].boxes
    ]
    if not truth["annotations"]:
        return {**dict.fromkeys(("mAP50-95", "mAP50", "small", "medium", "large")), "per_class": {}}
    objects = COCO(truth)
    # Without a box the library has nothing to load; one that matches nothing has the same scores.
    nothing = [{"image_id": 0, "category_id": next(iter(names)), "bbox": [-9.0, -9.0, 1.0, 1.0], "score": 0.0}]
    evaluation = COCOeval_faster(objects, objects.loadRes(predictions or nothing), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (10 IoU, 101 recalls, classes, 4 sizes, 3 limits of boxes)
    sizes = dict(zip(("small", "medium", "large"), (1, 2, 3), strict=True))
    return {
        "mAP50-95": _mean(precision[:, :, :, 0, -1]),
        "mAP50": _mean(precision[0, :, :, 0, -1]),
        **{size: _mean(precision[:, :, :, index, -1]) for size, index in sizes.items()},
        "per_class": {
            str(names[label]): {
                "mAP50-95": _mean(precision[:, :, index, 0, -1]),
                "mAP50": _mean(precision[0, :, index, 0, -1]),
            }
            for index, label in enumerate(sorted(names))
        },
    }


def of_ultralytics(metrics: Any) -> Scores:
    """The scores that Ultralytics gave, in the form of `coco`, for boxes that COCO's evaluation does not know.

    Args:
        metrics: Of a validator.
    """
    box = metrics.box
    classes = zip(box.ap_class_index, box.ap, box.ap50, strict=True)
    return {
        "mAP50-95": round(float(box.map), 5),
        "mAP50": round(float(box.map50), 5),
        **dict.fromkeys(("small", "medium", "large")),
        "per_class": {
            str(metrics.names[int(index)]): {"mAP50-95": round(float(ap), 5), "mAP50": round(float(ap50), 5)}
            for index, ap, ap50 in classes
        },
    }


def _truth(labels: Sequence[Mapping[str, Any]], found: Mapping[str, Found], names: Mapping[int, str]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, label in enumerate(labels):
        height, width = found[label["im_file"]].shape
        images.append({"id": number, "file_name": label["im_file"], "height": height, "width": width})
        edges = np.asarray(label["bboxes"], dtype=np.float64) * (width, height, width, height)
        edges[:, :2] -= edges[:, 2:] / 2
        for edge, kind in zip(edges.tolist(), np.asarray(label["cls"]).ravel().tolist(), strict=True):
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": int(kind), "bbox": edge}
            annotations.append({**annotation, "area": edge[2] * edge[3], "iscrowd": 0})
    categories = [{"id": index, "name": str(names[index])} for index in sorted(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Over what is counted; the library marks with -1 what no object counts for."""
    counted = precision[precision > -1]
    value = float(counted.mean()) if counted.size else math.nan
    return round(value, 5) if math.isfinite(value) else None
