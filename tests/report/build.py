"""Runs as they would be recorded, for tests."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

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


def write(run, folder):
    """The folder of a run."""
    folder.mkdir(parents=True)
    own = {"source", "record", "gflops_imgsz"}
    record = {item.name: getattr(run, item.name) for item in fields(run) if item.name not in own}
    scores = dict.fromkeys(("mAP50-95", "mAP50", "small", "medium", "large"))
    record["metrics"] = {split: scores | {"per_class": {}} | found for split, found in run.metrics.items()}
    (folder / RECORD).write_text(json.dumps({"schema": 1, **record}))
    return folder
