"""A block that a user registered lives through training, resuming and saving."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.utils.dist import generate_ddp_file

import zoo
from zoo.errors import ZooError
from zoo.layers import blocks

NAME = "yolov8n+mine(width=5)@p5"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "_registered", {})
    monkeypatch.setenv(blocks.MODULES, "")
    module = importlib.import_module("tests.layers.own_block")
    blocks.register_block("mine", module.Mine)
    yield
    blocks.load_plugins.cache_clear()


def stop_after_the_first_epoch(trainer: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_trains_resumes_and_is_saved(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = zoo.YOLO(NAME)
    engine.add_callback("on_fit_epoch_end", stop_after_the_first_epoch)
    with pytest.raises(KeyboardInterrupt):
        engine.train(**settings | {"epochs": 3})
    weights = tmp_path / "run" / "weights"
    engine = zoo.YOLO(weights / "last.pt")
    engine.train(resume=True)
    (graft,) = engine.model.grafts.values()
    assert graft.gamma.abs().max() > 0 and graft.block.conv.weight.shape[-1] == 5

    x = torch.rand(1, 3, 64, 64)
    kept = zoo.create(f"local-dir:{weights / 'zoo'}")
    with torch.inference_mode():
        assert torch.equal(kept(x)[0], zoo.YOLO(weights / "best.pt").model.float().eval()(x)[0])

    monkeypatch.setattr(blocks, "_registered", {})
    monkeypatch.setenv(blocks.MODULES, "")
    blocks.load_plugins.cache_clear()
    for name in (f"local-dir:{weights / 'zoo'}", weights / "last.pt"):
        with pytest.raises(ZooError, match="register_block"):
            zoo.YOLO(name).train(**settings | {"name": "other"})


def test_processes_of_several_gpus_are_given_the_block(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultralytics.utils.dist.USER_CONFIG_DIR", tmp_path)
    trainer = zoo.YOLO(NAME).task_map["detect"]["trainer"](overrides=settings | {"model": NAME})
    written = generate_ddp_file(trainer)
    monkeypatch.setattr(blocks, "_registered", {})
    torch.load(written.removesuffix(".py") + ".pt", weights_only=False)
    assert list(blocks.registered()) == ["mine"]
