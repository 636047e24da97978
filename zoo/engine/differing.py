"""What two trained models find on the images of a comparison, for a page to show where they differ."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.results import Results

from zoo.engine import data, quirks
from zoo.engine.yolo import YOLO
from zoo.errors import DataError, ZooError, one_line
from zoo.report.comparison import Comparison
from zoo.report.pictures import Box, Picture, Seen, differing
from zoo.report.runs import Run

LOGGER = logging.getLogger("zoo")

CONFIDENCE = 0.25
MOST_IMAGES = 200


def pictures(comparison: Comparison) -> list[Picture]:
    """Run the control and the best of the others over the images, under the first seed that both have.

    Args:
        comparison: Of runs in folders with their checkpoints, and with their data where they were.

    Returns:
        The images on which they differ most; none, with a warning, where a checkpoint or the data are gone, and none
        where there is no pair to compare.
    """
    pair = _pair(comparison)
    if pair is None:
        return []
    try:
        return _differing(*pair, comparison.split)
    except (ZooError, OSError) as error:
        LOGGER.warning("the page has no pictures: %s", one_line(error))
        return []


def _pair(comparison: Comparison) -> tuple[Run, Run] | None:
    lines = {line.label: line for line in comparison.lines}
    for line in comparison.lines:  # the best first
        if line.verdict:
            own, other = ({run.seed: run for run in each.runs} for each in (line, lines[line.verdict.control]))
            if shared := [seed for seed in own if seed in other]:
                return other[shared[0]], own[shared[0]]
    return None


def _differing(control: Run, model: Run, split: str) -> list[Picture]:
    if not (file := control.data.get("yaml")):
        raise DataError(f"{control.source} does not say where its data lie.")
    described = data.read(file, split)
    with quirks.caches_of_numbers():
        dataset = YOLODataset(described[split], data=described, task=control.task, augment=False)
    step = -(-len(dataset.labels) // MOST_IMAGES)
    labels = dataset.labels[::step]
    files = [label["im_file"] for label in labels]
    seen = [
        Seen(Path(label["im_file"]), _truth(label), _boxes(one), _boxes(other))
        for label, one, other in zip(labels, _predict(control, files), _predict(model, files), strict=True)
    ]
    class_names = [name for _, name in sorted(described["names"].items())]
    return differing(seen, (control.label, model.label), class_names)


def _predict(run: Run, files: Sequence[str]) -> list[Results]:
    detector = YOLO(str(run.source / "weights" / "last.pt"))
    return [detector.predict(file, conf=CONFIDENCE, imgsz=run.imgsz, verbose=False)[0] for file in files]


def _boxes(found: Results) -> list[Box]:
    rows = found.boxes.data.tolist() if found.boxes is not None else []
    return [Box(tuple(row[:4]), int(row[5]), row[4]) for row in rows]


def _truth(label: dict) -> list[Box]:
    height, width = label["shape"]
    centred = np.asarray(label["bboxes"], dtype=float).reshape(-1, 4) * (width, height, width, height)
    half = centred[:, 2:] / 2
    corners = np.concatenate([centred[:, :2] - half, centred[:, :2] + half], 1).tolist()
    return [
        Box(tuple(box), int(kind)) for box, kind in zip(corners, np.asarray(label["cls"]).ravel().tolist(), strict=True)
    ]
