"""A folder is the model it was or the one it becomes, at whatever rename the process dies; bad options fail at load."""

from __future__ import annotations

import json
import os

import pytest
import torch
from torch import nn

import zoo
from tests.weights.conftest import randomized, same
from zoo import errors
from zoo.detector import build
from zoo.layers import blocks


class Killed(BaseException):
    """Stands for a power cut: no handler of ordinary errors sees it."""


@pytest.mark.parametrize("renames", range(5))
def test_a_save_that_dies_at_any_rename_leaves_the_old_model_or_the_new(renames, tmp_path, monkeypatch):
    old, new = randomized("yolov8n", num_classes=1), randomized("yolov8n_a2", num_classes=2)
    zoo.save(old, tmp_path)
    rename, done = os.replace, []

    def dying(source, target):
        if len(done) == renames:
            raise Killed
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dying)
        try:
            zoo.save(new, tmp_path)
        except Killed:
            assert renames < 4
        else:
            assert renames == 4, "there are four renames"
    left = zoo.create(f"local-dir:{tmp_path}")
    assert same(left, new if renames >= 3 else old)
    zoo.save(new, tmp_path)
    assert same(zoo.create(f"local-dir:{tmp_path}"), new)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


class Late(nn.Module):
    """Builds with any option and fails with some when it runs."""

    def __init__(self, dim: int, size: int = 1) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], self.size, x.shape[1] // self.size, *x.shape[2:]).flatten(1, 2)


def test_options_that_fail_only_in_a_forward_pass_fail_at_load(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.layers.blocks._OWN", {**blocks._OWN, "late": f"{__name__}.Late"})
    zoo.save(build(zoo.create("yolov8n+late@sppf").config), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["grafts"][0]["options"] = {"size": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.ConfigError, match="failed on a map of"):
        zoo.create(f"local-dir:{tmp_path}")


def test_registered_rows_are_not_tried_at_load(monkeypatch):
    def refuse(self, x):
        raise RuntimeError("a forward pass")

    monkeypatch.setattr("zoo.layers.dattn.DeformableAttention.forward", refuse)
    zoo.create("yolov8n_dattn")
    with pytest.raises(errors.ConfigError, match="a forward pass"):
        zoo.create("yolov8n+dattn@sppf")


def test_a_model_of_ultralytics_own_yaml_is_no_model_of_a_name(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"yolov8n\.yaml.*Build it by one, e\.g\. zoo\.YOLO\('yolov8n'\)"):
        zoo.save(zoo.YOLO("yolov8n.yaml").model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
