"""A training over a frozen base leaves an adapter that is the trained model once its base is back."""

from __future__ import annotations

import pytest
import torch

import zoo
from tests.weights.conftest import same
from zoo.files import sha256
from zoo.report import runs
from zoo.weights import saved
from zoo.weights.tensors import write_tensors


@pytest.mark.parametrize("freeze_base", [True, "norm"])
def test_the_adapter_of_a_run_over_its_base_is_the_trained_model(freeze_base, settings, tmp_path):
    torch.manual_seed(0)
    base = tmp_path / "base.safetensors"
    write_tensors(zoo.create("yolov8n").state_dict(), base, half=False)
    engine = zoo.YOLO("yolov8n_dattn", base_weights=base)
    engine.train(**settings | {"optimizer": "AdamW"}, freeze_base=freeze_base)
    weights = tmp_path / "run" / "weights"
    trained = zoo.create(f"local-dir:{weights / 'zoo'}")
    rebuilt = zoo.create(f"local-dir:{weights / 'adapter'}", base_weights=base)
    assert same(trained, rebuilt) and rebuilt.names == trained.names == {0: "disc", 1: "square", 2: "bar"}
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(rebuilt(image)[0], trained(image)[0])
    assert torch.equal(rebuilt(image)[0], zoo.YOLO(str(weights / "best.pt")).model(image)[0])

    card = (weights / "adapter" / "README.md").read_text()
    run, adapter = runs.load(tmp_path / "run"), saved.read_saved(weights / "adapter")
    assert f"`base.safetensors` (sha256 {sha256(base)})" in card and f"`{adapter.base_tensors}`" in card
    assert "Classes: disc, square, bar." in card and f"{run.parameters_trained:,} of them trained" in card
    assert "mAP50-95" in card and "Gates: layer 9" in card and str(base) not in card
    assert "This is an adapter" not in (weights / "zoo" / "README.md").read_text()


def test_a_training_of_all_layers_leaves_none(settings, tmp_path):
    zoo.YOLO("yolov8n").train(**settings | {"epochs": 1})
    assert not (tmp_path / "run" / "weights" / "adapter").exists()
