"""The evaluator against pycocotools, against Ultralytics' own metrics, and against averages worked out by hand."""

import contextlib
import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from ultralytics.models.yolo.detect import DetectionValidator

from reproduce.datasets.prepare import prepare
from reproduce.evaluate import COCO_METRICS, coco_metrics, voc_metrics
from reproduce.job import load_recipe

pytestmark = pytest.mark.fast

DATA = Path(os.environ.get("ZOO_DATA", Path(__file__).parents[3] / "shared" / "data"))
"""Real data sets, where the machine has them."""


def scenes(seed: int = 0, images: int = 60, classes: int = 4, crowds: float = 0.1) -> dict:
    rng = np.random.default_rng(seed)
    truth: dict = {
        "images": [{"id": i + 1, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(images)],
        "annotations": [],
        "categories": [{"id": c, "name": str(c)} for c in range(classes)],
    }
    for image in truth["images"]:
        for _ in range(rng.integers(0, 12)):
            w, h = np.exp(rng.uniform(np.log(8), np.log(300), 2))
            box = [rng.uniform(0, 640 - w), rng.uniform(0, 480 - h), w, h]
            truth["annotations"].append(
                {"id": len(truth["annotations"]) + 1, "image_id": image["id"], "iscrowd": int(rng.random() < crowds),
                 "category_id": int(rng.integers(classes)), "bbox": box, "area": w * h * rng.uniform(0.5, 1)}
            )  # fmt: skip
    return truth


def detections(truth: dict, seed: int = 1) -> list[dict]:
    """Ground truth, shaken, with misses, doubles, confusions and inventions."""
    rng = np.random.default_rng(seed)
    labels = [c["id"] for c in truth["categories"]]
    found = []
    for a in truth["annotations"]:
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            x, y, w, h = a["bbox"]
            dx, dy, dw, dh = rng.normal(0, 0.08, 4)
            label = a["category_id"] if rng.random() < 0.9 else int(rng.choice(labels))
            box = [x + dx * w, y + dy * h, w * np.exp(dw), h * np.exp(dh)]
            found.append({"image_id": a["image_id"], "category_id": label, "bbox": box, "score": rng.beta(4, 2)})
    for image in truth["images"]:
        for _ in range(rng.integers(0, 4)):
            w, h = rng.uniform(10, 200, 2)
            box = [rng.uniform(0, image["width"]), rng.uniform(0, image["height"]), w, h]
            found.append(
                {"image_id": image["id"], "category_id": int(rng.choice(labels)), "bbox": box, "score": rng.beta(2, 4)}
            )
    return found


def by_pycocotools(annotations: Path, found: list[dict]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        evaluator = COCOeval(truth, truth.loadRes([dict(p) for p in found]), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [value if value >= 0 else float("nan") for value in evaluator.stats[:6]]


def by_ultralytics(annotations: Path, found: list[dict], save_dir: Path) -> tuple[float, float]:
    """mAP50 and mAP50-95 of Ultralytics' validator, fed these predictions image by image."""
    truth = json.loads(annotations.read_text())
    validator = DetectionValidator(save_dir=save_dir, args={"task": "detect", "plots": False})
    validator.metrics.names = {c["id"]: c["name"] for c in truth["categories"]}

    def boxes(rows: list[dict]) -> dict[str, torch.Tensor]:
        xywh = torch.tensor([r["bbox"] for r in rows], dtype=torch.float64).reshape(-1, 4)
        xyxy = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
        return {"bboxes": xyxy, "cls": torch.tensor([float(r["category_id"]) for r in rows])}

    for image in truth["images"]:
        rows = sorted((p for p in found if p["image_id"] == image["id"]), key=lambda p: -p["score"])
        target = boxes([a for a in truth["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]])
        pred = boxes(rows)
        validator.metrics.update_stats(
            {
                **validator._process_batch(pred, target),
                "target_cls": target["cls"].numpy(),
                "target_img": np.unique(target["cls"].numpy()),
                "conf": np.array([r["score"] for r in rows]),
                "pred_cls": pred["cls"].numpy(),
                "im_name": image["file_name"],
            }
        )
    validator.metrics.process(save_dir=save_dir)
    return validator.metrics.box.map50, validator.metrics.box.map


def assert_equal_to_both(annotations: Path, found: list[dict], tmp_path: Path) -> None:
    ours = coco_metrics(annotations, found)
    assert list(ours) == list(COCO_METRICS)
    assert np.allclose(list(ours.values()), by_pycocotools(annotations, found), atol=1e-6, rtol=0, equal_nan=True)
    map50, map5095 = by_ultralytics(annotations, found, tmp_path)
    assert 0.1 < ours["mAP50-95"] < ours["mAP50"] < 0.95
    assert ours["mAP50"] == pytest.approx(map50, abs=0.003)
    assert ours["mAP50-95"] == pytest.approx(map5095, abs=0.003)


def write(truth: dict, folder: Path) -> Path:
    path = folder / "val.json"
    path.write_text(json.dumps(truth))
    return path


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_with_crowds(tmp_path, seed):
    truth = scenes(seed)
    path, found = write(truth, tmp_path), detections(truth)
    ours = list(coco_metrics(path, found).values())
    assert np.allclose(ours, by_pycocotools(path, found), atol=1e-6, rtol=0, equal_nan=True)


def test_equals_pycocotools_and_ultralytics(tmp_path):
    truth = scenes(images=200, crowds=0)
    assert_equal_to_both(write(truth, tmp_path), detections(truth), tmp_path)


@pytest.mark.parametrize("name", ["coco", "bccd"])
def test_equals_pycocotools_and_ultralytics_on_real_annotations(tmp_path, name):
    source = DATA / {"coco": "coco-mini"}.get(name, name)
    if not source.is_dir():
        pytest.skip(f"no {source}; set ZOO_DATA")
    data = prepare(load_recipe(name).dataset, source, tmp_path, verify=False)
    annotations = data.parent / "annotations" / "val.json"
    truth = json.loads(annotations.read_text())
    counts = Counter(a["category_id"] for a in truth["annotations"])
    # Ultralytics interpolates precision between recalls where COCO steps: it shows on classes of a few objects.
    truth["annotations"] = [a for a in truth["annotations"] if counts[a["category_id"]] >= 15 and not a["iscrowd"]]
    annotations.write_text(json.dumps(truth))
    assert_equal_to_both(annotations, detections(truth), tmp_path)


def test_extremes(tmp_path):
    truth = scenes(crowds=0)
    path = write(truth, tmp_path)
    perfect = [{k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9} for a in truth["annotations"]]
    assert coco_metrics(path, perfect)["mAP50-95"] == pytest.approx(1)
    assert voc_metrics(path, perfect) == pytest.approx({"mAP50_11point": 1, "mAP50_all_points": 1})
    assert set(coco_metrics(path, []).values()) == {0.0}
    assert set(voc_metrics(path, []).values()) == {0.0}


def voc_case(folder: Path, found: list[tuple[float, int]], difficult: tuple[int, ...] = ()) -> dict[str, float]:
    """Objects at x = 0, 100, 200 of one image; predictions as (score, x)."""
    objects = [
        {"id": i + 1, "image_id": 1, "category_id": 0, "bbox": [100 * i, 0, 50, 50], "area": 2500,
         "iscrowd": int(i in difficult)}
        for i in range(3)
    ]  # fmt: skip
    images = [{"id": 1, "file_name": "a.jpg", "width": 400, "height": 100}]
    truth = {"images": images, "annotations": objects, "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]}
    rows = [{"image_id": 1, "category_id": 0, "bbox": [x, 0, 50, 50], "score": score} for score, x in found]
    return voc_metrics(write(truth, folder), rows)


@pytest.mark.parametrize(
    ("found", "difficult", "eleven", "area"),
    [
        # hit, miss, hit: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3
        ([(0.9, 0), (0.8, 300), (0.7, 100)], (), (4 * 1 + 3 * 2 / 3) / 11, 1 / 3 + 1 / 3 * 2 / 3),
        # the second box on one object is a miss
        ([(0.9, 0), (0.8, 2), (0.7, 100)], (), (4 * 1 + 3 * 2 / 3) / 11, 1 / 3 + 1 / 3 * 2 / 3),
        # the object at 100 is difficult: neither its box nor its absence counts
        ([(0.9, 0), (0.8, 100), (0.7, 200)], (1,), 1, 1),
        # an overlap of 25 of 75 is not above one half
        ([(0.9, 25)], (), 0, 0),
    ],
)
def test_voc_by_hand(tmp_path, found, difficult, eleven, area):
    expected = {"mAP50_11point": eleven, "mAP50_all_points": area}
    assert voc_case(tmp_path, found, difficult) == pytest.approx(expected)
