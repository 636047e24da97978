import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo import registry
from zoo.detector import build
from zoo.weights import saved


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """A random model of three classes, whose scores are all near 0.5 so that it finds something."""
    torch.manual_seed(0)
    config = registry.get_config("yolov8n_dattn").with_classes(3, ("ant", "bee", "cow"))
    detector = build(replace(config, imgsz=64))
    for branch in detector.model[-1].cv3:
        torch.nn.init.zeros_(branch[-1].bias)
    return f"local-dir:{saved.save(detector, tmp_path_factory.mktemp('model'))}"


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with `a.png` of 48 x 80 and `b.jpg` of 64 x 64."""
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise[:48]).save(folder / "a.png")
    Image.fromarray(noise[:64, :64]).save(folder / "b.jpg")
    return folder


@pytest.fixture
def workplace(tmp_path, images, monkeypatch):
    """A working directory with all sorts of unusable files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken_openvino_model").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "file.onnx").write_text("text")
    (tmp_path / "fw.safetensors").write_bytes(bytes(8))
    config = json.dumps(registry.get_config("yolov8n").to_dict())
    for name in ("truncated", "pickled", "lacking"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(config)
    (tmp_path / "truncated/model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "pickled/model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "nameless.yaml").write_text("train: images\nval: images\n")
    (tmp_path / "imageless.yaml").write_text("path: .\ntrain: nowhere\nval: nowhere\nnames: [a]\n")
    return tmp_path
