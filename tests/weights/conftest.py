"""An installation of the tests' own, and weights to put into it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from zoo import assets
from zoo.detector import GraftedDetectionModel
from zoo.publish import repository


def randomized(name: str, num_classes: int = 80) -> GraftedDetectionModel:
    """A model whose every tensor is random, exact in fp16, and of a size that leaves its output finite."""
    torch.manual_seed(0)
    model = zoo.create(name, num_classes=num_classes)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith(("gamma", "bias")):
                tensor.normal_(std=0.1)
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return model


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    mine, other = first.state_dict(), second.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A folder with an empty manifest that takes the place of this checkout."""
    measured = assets.root() / "results" / "models.csv"
    root = tmp_path / "shelf"
    (root / "results").mkdir(parents=True)
    (root / "results" / "models.csv").write_text(measured.read_text())
    (root / "weights_manifest.json").write_text('{"schema": 1, "weights": {}}')
    monkeypatch.setattr("zoo.assets.root", lambda: root)
    return root


@pytest.fixture
def put(shelf, tmp_path):
    """Ship a model, over a base as its adapter, onto the shelf under a name; returns the file of its weights."""

    def ship(name: str, model: GraftedDetectionModel, base: Path | None = None) -> Path:
        model.names = {i: f"class {i}" for i in range(model.config.num_classes)}
        facts = repository.Facts(
            dataset="Test set",
            dataset_license="MIT",
            dataset_source="Nowhere.",
            imgsz=320,
            metrics={"val": {"mAP50": 0.5, "mAP50-95": 0.25}},
            recipe="python train.py --seed 0",
            commit="abc",
            versions={"torch": "2"},
        )
        directory = zoo.save(model, tmp_path / "run" / name, adapter=base is not None)
        repository.add(directory, name, facts, base_weights=base)
        return shelf / "weights" / f"{name}.safetensors"

    return ship
