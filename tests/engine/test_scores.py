"""Metrics of `run.json` are those of pycocotools; boxes of a validator come back to the pixels of the image."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from zoo.engine.scores import Collector, Found, coco, of_ultralytics

pytestmark = pytest.mark.fast

NAMES = {0: "disc", 1: "square", 2: "never"}


def scene(seed: int, images: int = 12):
    """Objects of all sizes, and detections near some of them."""
    rng = np.random.default_rng(seed)
    labels, found = [], {}
    for number in range(images):
        shape = tuple(int(side) for side in rng.integers(200, 400, 2))
        count = int(rng.integers(0, 5))
        size = rng.choice([0.06, 0.2, 0.5], count)[:, None] * rng.uniform(0.8, 1.2, (count, 2))
        centre = rng.uniform(0.3, 0.7, (count, 2))
        kinds = rng.integers(0, 2, count)
        labels.append({"im_file": f"{number}.png", "cls": kinds[:, None], "bboxes": np.concatenate([centre, size], 1)})
        pixels = np.array([shape[1], shape[0]])
        near = (centre - size / 2) * pixels + rng.normal(0, 3, (count, 2))
        boxes = np.concatenate([near, size * pixels, rng.uniform(0.1, 1, (count, 1)), kinds[:, None]], 1)
        wrong = [10, 10, 30, 30, 0.5, float(rng.integers(0, 2))]
        found[f"{number}.png"] = Found(shape, np.vstack([boxes, wrong]))
    return labels, found


def reference(labels, found):
    """Objects and detections through pycocotools, written down here once more."""
    tools = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth = tools.COCO()
    annotations, results = [], []
    for number, label in enumerate(labels):
        height, width = found[label["im_file"]].shape
        for (x, y, w, h), [kind] in zip(label["bboxes"], label["cls"], strict=True):
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            own = {"id": len(annotations) + 1, "image_id": number, "category_id": int(kind), "iscrowd": 0}
            annotations.append(own | {"bbox": box, "area": box[2] * box[3]})
        for *box, score, kind in found[label["im_file"]].boxes:
            results.append({"image_id": number, "category_id": int(kind), "bbox": box, "score": score})
    truth.dataset = {"images": [{"id": number} for number in range(len(labels))], "annotations": annotations}
    truth.dataset["categories"] = [{"id": index, "name": name} for index, name in NAMES.items()]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_are_those_of_pycocotools(seed):
    labels, found = scene(seed)
    scores, expected = coco(labels, found, NAMES), reference(labels, found)
    named = [scores[name] for name in ("mAP50-95", "mAP50", "small", "medium", "large")]
    assert named == pytest.approx([expected.stats[index] for index in (0, 1, 3, 4, 5)], abs=2e-5)
    for index, name in ((0, "disc"), (1, "square")):
        precision = expected.eval["precision"][:, :, index, 0, -1]
        assert scores["per_class"][name]["mAP50-95"] == pytest.approx(precision.mean(), abs=2e-5)
    assert scores["per_class"]["never"] == {"mAP50-95": None, "mAP50": None}, "a class without objects has no score"
    assert 0.05 < scores["mAP50-95"] < 0.99


def test_nothing_found_is_zero_and_nothing_to_find_is_none():
    labels, found = scene(0)
    empty = {file: Found(each.shape, each.boxes[:0]) for file, each in found.items()}
    assert coco(labels, empty, NAMES)["mAP50-95"] == 0.0
    nothing = [label | {"cls": label["cls"][:0], "bboxes": label["bboxes"][:0]} for label in labels]
    assert coco(nothing, found, NAMES)["mAP50-95"] is None


def test_boxes_come_back_to_the_pixels_of_the_image():
    """An image of 100 x 200 pixels, doubled and letterboxed into 256 x 448."""
    validator = SimpleNamespace(update_metrics=lambda preds, batch: seen.append(len(preds)))
    seen: list[int] = []
    collector = Collector(validator)
    box = torch.tensor([[24.0 + 2 * 10, 28.0 + 2 * 20, 24 + 2 * 60, 28 + 2 * 50]])
    batch = {"img": torch.zeros(1, 3, 256, 448), "im_file": ["a.png"], "ori_shape": [(100, 200)]}
    batch["ratio_pad"] = [((2.0, 2.0), (24.0, 28.0))]
    validator.update_metrics([{"bboxes": box, "conf": torch.tensor([0.9]), "cls": torch.tensor([1.0])}], batch)
    found = collector.found()["a.png"]
    assert seen == [1], "the validator goes on as it did"
    assert found.shape == (100, 200) and found.boxes[0].tolist() == pytest.approx([10, 20, 50, 30, 0.9, 1])
    collector.clear()
    assert not collector.found()


def test_scores_of_ultralytics_have_the_same_form():
    box = SimpleNamespace(map=0.5, map50=0.7, ap_class_index=np.array([1]), ap=np.array([0.5]), ap50=np.array([0.7]))
    labels, found = scene(0)
    scores = of_ultralytics(SimpleNamespace(names=NAMES, box=box))
    assert scores.keys() == coco(labels, found, NAMES).keys()
    assert scores["per_class"] == {"square": {"mAP50-95": 0.5, "mAP50": 0.7}} and scores["small"] is None
