"""Runs as they would be recorded, for tests."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from pathlib import Path

from PIL import Image

from zoo.report.pictures import Box, Seen
from zoo.report.runs import RECORD, Run

PRINT = "f" * 64


def runs(model, scores, *, seeds=None, split="val", **more):
    """One ended run a score, seeds from 0 on."""
    base = model.partition(".")[0].partition("_")[0].partition("+")[0]
    grafts = [{"position": 9, "place": "sppf", "block": "dattn", "options": {}, "parameters": 1000}]
    found = []
    for seed, score in zip(seeds if seeds is not None else range(len(scores)), scores, strict=True):
        run = Run(
            source=Path(f"runs/{model}-s{seed}"),
            model=model,
            seed=seed,
            record=True,
            base=base if base.startswith("yolo") else "",
            grafts=[] if model.partition(".")[0] == base else grafts,
            parameters=3_000_000,
            parameters_trained=3_000_000,
            gflops=8.0,
            gflops_imgsz=320,
            data={"name": "data", "yaml": "/d/data.yaml", "fingerprint": PRINT}
            | {"images": {"train": 20, "val": 10}, "class_names": ["cat", "dog"]},
            imgsz=320,
            epochs={"planned": 5, "done": 5},
            metrics={split: {"mAP50-95": score}},
            seconds=3600.0,
            machine="a machine",
            versions={"torch": "2.6"},
            started="2026-01-01T00:00:00+00:00",
        )
        found.append(replace(run, **more))
    return found


def full(model, scores, **more):
    """Runs with everything that a page shows."""
    found = []
    for run in runs(model, scores, **more):
        score = run.metrics["val"]["mAP50-95"]
        history = [
            {
                "epoch": e,
                "mAP50-95": score * e / 5,
                "mAP50": score,
                "loss": 1.0,
                "gates": {"9": 0.1 * e},
                "seconds": 1.0,
            }
            for e in range(1, 6)
        ]
        per_class = {name: {"mAP50-95": score + more, "mAP50": score} for name, more in (("cat", 0.1), ("dog", -0.1))}
        sizes = {"mAP50": score + 0.2, "small": score / 2, "medium": score, "large": None, "per_class": per_class}
        metrics = {"val": {"mAP50-95": score, **sizes}}
        found.append(replace(run, history=history, metrics=metrics, gates={"9": 0.5}, images_per_second=20.0))
    return found


ODD = "my <own> & model"
LATENCY = {"yolov8n": (30.0, None), "yolov8n_dattn": (33.0, 1.1), ODD: (300.0, 10.0)}


def varied():
    """Models that are better, worse and no different, one with an odd name, and a run that failed."""
    drawn = random.Random(0)
    models = {"yolov8n": 0.5, "yolov8n_dattn": 0.52, "yolov8n_a2": 0.3, ODD: 0.4}
    found = [run for name, top in models.items() for run in full(name, [top + drawn.gauss(0, 0.005) for _ in "123"])]
    return found + runs("yolov8n_hat", [None], status="failed", error="exit code 1")


def seen_images(folder, count):
    """The control finds nothing on the later half of the images, the model all."""
    truth = [Box((10, 10, 60, 60), 0), Box((70, 20, 120, 90), 1)]
    found = []
    for index in range(count):
        path = folder / f"{index:02}.jpg"
        Image.new("RGB", (640, 480), (index, 90, 120)).save(path)
        right = [replace(box, confidence=0.9) for box in truth]
        found.append(Seen(path, truth, right if index < count // 2 else [Box((0, 0, 9, 9), 0, 0.5)], right))
    return found


def write(run, folder):
    """The folder of a run."""
    folder.mkdir(parents=True)
    own = {"source", "record", "gflops_imgsz"}
    record = {item.name: getattr(run, item.name) for item in fields(run) if item.name not in own}
    scores = dict.fromkeys(("mAP50-95", "mAP50", "small", "medium", "large"))
    record["metrics"] = {split: scores | {"per_class": {}} | found for split, found in run.metrics.items()}
    (folder / RECORD).write_text(json.dumps({"schema": 1, **record}))
    return folder
