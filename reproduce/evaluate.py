"""COCO and Pascal VOC metrics of a model's predictions on a prepared data set."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from torch import nn
from ultralytics.models.yolo.detect import DetectionValidator

from zoo.engine.scores import Collector

logger = logging.getLogger(__name__)

COCO_METRICS = ("mAP50-95", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large")

Prediction = dict[str, Any]
"""COCO's result format: ``image_id``, ``category_id``, ``bbox`` as ``[x, y, w, h]`` in pixels, ``score``."""


def predict(
    model: nn.Module, data: Path, split: str, imgsz: int, device: str = "cpu", batch: int = 16
) -> tuple[list[Prediction], dict[str, float]]:
    """Predict a split as Ultralytics' validator does: confidence 0.001, NMS IoU 0.7, 300 boxes, rectangular batches.

    Boxes are not cut at the image border, because Ultralytics measures them uncut. Where objects touch the border,
    cutting would raise mAP50-95: by 0.010 on BCCD, for example.

    Args:
        model: A detection model; it is copied, because the validator fuses layers in place.
        data: ``data.yaml`` of a prepared data set.
        split: Name of the split.
        imgsz: Longer side of the network input in pixels.
        device: As Ultralytics takes it.
        batch: Images per forward pass.

    Returns:
        The predictions, and the mAP50 and mAP50-95 that Ultralytics itself computes from them.
    """
    annotations = json.loads((data.parent / "annotations" / f"{split}.json").read_text())
    validator = DetectionValidator(
        save_dir=data.parent,
        args={
            "task": "detect",
            "data": str(data),
            "split": split,
            "imgsz": imgsz,
            "device": device,
            "batch": batch,
            "conf": 0.001,
            "iou": 0.7,
            "max_det": 300,
            "rect": True,
            "plots": False,
            "verbose": False,
        },
    )
    collector = Collector(validator)
    validator(model=deepcopy(model).float())
    image_ids = {image["file_name"]: image["id"] for image in annotations["images"]}
    predictions: list[Prediction] = [
        {"image_id": image_ids[Path(file).name], "category_id": int(row[5]), "bbox": row[:4].tolist(), "score": row[4]}
        for file, found in collector.found().items()
        for row in found.boxes
    ]
    box = validator.metrics.box
    return predictions, {"mAP50": float(box.map50), "mAP50-95": float(box.map)}


def coco_metrics(annotations: Path, predictions: list[Prediction]) -> dict[str, float]:
    """COCO's six average precisions, at most 100 boxes an image; NaN where a size range holds no object.

    Objects marked ``iscrowd`` are ignored regions: what matches them counts neither for nor against the model.
    """
    if not predictions:
        return dict.fromkeys(COCO_METRICS, 0.0)
    truth = COCO(str(annotations))
    evaluator = COCOeval_faster(
        truth, truth.loadRes(deepcopy(predictions)), iouType="bbox", print_function=logger.debug
    )
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    values = (float(value) for value in evaluator.stats[:6])
    return {name: value if value >= 0 else float("nan") for name, value in zip(COCO_METRICS, values, strict=True)}


def voc_metrics(annotations: Path, predictions: list[Prediction]) -> dict[str, float]:
    """Pascal VOC's AP at IoU 0.5, averaged over the classes that occur.

    ``mAP50_11point`` is the interpolation of VOC 2007, ``mAP50_all_points`` the area of VOC 2010 and later. As in the
    VOC development kit an IoU must exceed 0.5, a box is compared with the object it overlaps most, a second match is a
    false positive, and difficult objects (``iscrowd`` here) are ignored. Widths are ``x1 - x0`` of exclusive corners,
    which equals the kit's ``x1 - x0 + 1`` of inclusive ones.
    """
    truth = json.loads(annotations.read_text())
    objects: dict[tuple[int, int], list[dict]] = defaultdict(list)
    for annotation in truth["annotations"]:
        objects[annotation["category_id"], annotation["image_id"]].append(annotation)
    by_class: dict[int, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_class[prediction["category_id"]].append(prediction)

    eleven, area = [], []
    for category in truth["categories"]:
        label = category["id"]
        images = {image: found for (of, image), found in objects.items() if of == label}
        positives = sum(not o["iscrowd"] for found in images.values() for o in found)
        if positives == 0:
            continue
        recall, precision = _precision_recall(images, by_class[label], positives)
        eleven.append(np.mean([precision[recall >= t].max(initial=0.0) for t in np.linspace(0, 1, 11)]))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        area.append(float(np.sum(np.diff(recall, prepend=0.0) * envelope)))
    return {"mAP50_11point": float(np.mean(eleven)), "mAP50_all_points": float(np.mean(area))}


def _precision_recall(
    images: dict[int, list[dict]], predictions: list[Prediction], positives: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision of one class after each prediction in order of falling score."""
    boxes = {image: np.array([o["bbox"] for o in found]) for image, found in images.items()}
    ignored = {image: np.array([bool(o["iscrowd"]) for o in found]) for image, found in images.items()}
    matched = {image: np.zeros(len(found), dtype=bool) for image, found in images.items()}
    hits = []
    for prediction in sorted(predictions, key=lambda p: -p["score"]):
        image = prediction["image_id"]
        hit = False
        if image in boxes:
            overlaps = _iou(np.array(prediction["bbox"]), boxes[image])
            best = int(overlaps.argmax())
            if overlaps[best] > 0.5:
                if ignored[image][best]:
                    continue
                hit = not matched[image][best]
                matched[image][best] = True
        hits.append(hit)
    true = np.cumsum(hits)
    return true / positives, true / np.arange(1, len(hits) + 1)


def _iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of one ``(x, y, w, h)`` box with ``(N, 4)`` others, shape ``(N,)``."""
    near = np.maximum(box[:2], others[:, :2])
    far = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = (far - near).clip(0).prod(axis=1)
    return shared / (box[2:].prod() + others[:, 2:].prod(axis=1) - shared)
