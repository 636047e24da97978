"""A data set that trains in a second, and the settings under which a few steps are real optimiser steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from torch import nn
from ultralytics.engine.exporter import Exporter

NAMES = ["disc", "square", "bar"]


def write_data(folder: Path, images: int = 4, size: int = 64, same: bool = False) -> Path:
    """Coloured rectangles on noise, one to three an image, in Ultralytics' layout; returns the data YAML."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(images):
            if same:
                rng = np.random.default_rng(0)
            pixels = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
            rows = []
            for _ in range(rng.integers(1, 4)):
                label = int(rng.integers(len(NAMES)))
                x, y, w, h = (*rng.uniform(0.3, 0.7, 2), *rng.uniform(0.2, 0.5, 2))
                left, top = int((x - w / 2) * size), int((y - h / 2) * size)
                pixels[max(top, 0) : int((y + h / 2) * size), max(left, 0) : int((x + w / 2) * size), label] = 220
                rows.append(f"{label} {x:.4f} {y:.4f} {w:.4f} {h:.4f}")
            Image.fromarray(pixels).save(folder / "images" / split / f"{number}.png")
            (folder / "labels" / split / f"{number}.txt").write_text("\n".join(rows) + "\n")
    description = {"path": str(folder), "train": "images/train", "val": "images/val", "names": NAMES}
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump(description))
    return file


def calibrate(exporter: Exporter, model: nn.Module) -> list[Any]:
    """Of an INT8 export, that part which looks at images: in place of `Exporter.__call__`."""
    exporter.model, exporter.imgsz = model, [64, 64]
    return list(exporter.get_int8_calibration_dataloader())


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """On a loaded machine a second thread costs these 64 px trainings more than it gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.OMP_NUM_THREADS", 1)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def settings(data, tmp_path):
    """One optimiser step a batch from the first batch on, and nothing random in it but the weights."""
    return {
        "data": str(data),
        "project": str(tmp_path),
        "name": "run",
        "epochs": 2,
        "imgsz": 64,
        "batch": 4,
        "nbs": 4,
        "warmup_epochs": 0,
        "optimizer": "SGD",
        "lr0": 0.01,
        "plots": False,
        "device": "cpu",
        "mosaic": 0,
        "close_mosaic": 0,
        "hsv_h": 0,
        "hsv_s": 0,
        "hsv_v": 0,
        "translate": 0,
        "scale": 0,
        "fliplr": 0,
        "erasing": 0,
    }
