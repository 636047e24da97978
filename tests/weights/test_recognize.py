"""A graft over one's own checkpoint: recognised whatever it is, and its predictions are kept."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks

import zoo
from tests.alive import make_alive
from tests.test_places import STOCK
from tests.test_tasks import IMAGE, equal, tensors
from zoo import cli, errors
from zoo.factory import graft
from zoo.registry import get_config

BASES = ["yolov8n", "yolo11n", "yolo12n", "yolo26n", "yolov8n-p2"]
BASES += ["yolo11n-seg", "yolo26n-seg", "yolo26n-pose", "yolov8n-obb"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))


def written(model: nn.Module, file: Path) -> Path:
    """A checkpoint as Ultralytics writes it."""
    torch.save({"model": None, "ema": model, "epoch": -1, "train_args": {}}, file)
    return file


def stock(name: str, num_classes: int | None = None) -> nn.Module:
    """A stock model that answers images differently, with class names of its own."""
    task = get_config(name).task
    model = STOCK[task](f"{name}.yaml", nc=num_classes, verbose=False)
    model.grafts = nn.ModuleDict()
    make_alive(model)
    del model.grafts
    model.names = {index: f"thing {index}" for index in range(model.yaml["nc"])}
    return model.eval()


@torch.inference_mode()
@pytest.mark.parametrize(
    "name",
    [
        "yolov8n",
        "yolo11n",
        "yolo12n",
        "yolo26n",
        "yolov8n-p2",
        "yolo11n-seg",
        "yolo26n-seg",
        "yolo26n-pose",
        "yolov8n-obb",
    ],
)
def test_predictions_of_a_stock_checkpoint_are_kept_to_the_bit(name: str, tmp_path: Path) -> None:
    model = stock(name, num_classes=3)
    grafted = graft(written(model, tmp_path / "best.pt"), "dattn@p5+a2@neck_p3")
    config = get_config(name)
    assert grafted.config.base_name == name and grafted.config.task == config.task
    assert grafted.names == model.names and len(grafted.grafts) == 2
    assert equal(grafted(IMAGE), model(IMAGE))
    assert grafted.config.name.startswith(f"{name}+dattn@")
    again = zoo.create(f"{name}+a2@p3", base_weights=tmp_path / "best.pt")
    assert equal(again(IMAGE), model(IMAGE)) and again.names == model.names


@torch.inference_mode()
def test_half_precision_and_a_head_of_another_width(tmp_path: Path) -> None:
    wide = stock("yolov8n")
    narrow = stock("yolov8n", num_classes=3)
    narrow.load(wide, verbose=False)  # whose class branch stays as wide as 80 classes make it
    narrow.half().eval()
    grafted = graft(written(narrow, tmp_path / "best.pt"), "a2@p3")
    assert equal(grafted(IMAGE), deepcopy(narrow).float()(IMAGE))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "end2end"), [("yolov8n", False), ("yolo26n", False), ("yolo26n", True), ("yolo26n-seg", True)]
)
def test_a_fused_checkpoint_keeps_its_predictions_to_the_bit_when_fused_again_and_else_up_to_rounding(
    name: str, end2end: bool, tmp_path: Path
) -> None:
    model = stock(name, num_classes=3)
    model.end2end = end2end
    model.fuse(verbose=False)
    grafted = graft(written(model, tmp_path / "best.pt"), "a2@p3")
    grafted.end2end = end2end
    for found, expected in zip(tensors(grafted(IMAGE)[0]), tensors(model(IMAGE)[0]), strict=True):
        torch.testing.assert_close(found, expected, atol=0.05, rtol=1e-3)
    zoo.save(grafted, tmp_path / "saved")
    grafted.fuse(verbose=False)
    assert equal(grafted(IMAGE)[0], model(IMAGE)[0])


@torch.inference_mode()
def test_a_checkpoint_of_the_zoo_keeps_its_own_grafts(tmp_path: Path) -> None:
    model = make_alive(zoo.create("yolov8n_dattn", num_classes=3))
    file = written(model, tmp_path / "best.pt")
    grafted = graft(file, "a2@p3")
    assert grafted.config.name == "yolov8n+dattn(groups=2,heads=8)@sppf+a2@p3"
    assert equal(grafted(IMAGE), model(IMAGE))
    with pytest.raises(errors.ConfigError, match="both sit on layer 9"):
        graft(file, "a2@sppf")
    with pytest.raises(errors.StateDictError, match=r"unexpected: grafts\.9"):
        zoo.create("yolov8n+a2@p3", base_weights=file)


def test_what_is_none_of_the_bases_is_refused_with_what_it_is(tmp_path: Path) -> None:
    file = written(tasks.DetectionModel("yolov10n.yaml", verbose=False), tmp_path / "v10.pt")
    with pytest.raises(errors.ZooError, match=r"none of yolov8, yolo11, yolo12, yolo26|no class head"):
        graft(file, "a2@p3")
    with pytest.raises(errors.ZooError, match=r"v9\.pt is none of .*it holds \d+ layers that end in Detect \(yolov9t"):
        graft(written(tasks.DetectionModel("yolov9t.yaml", verbose=False), tmp_path / "v9.pt"), "a2@p3")
    torch.save(stock("yolov8n").state_dict(), tmp_path / "state.pt")
    with pytest.raises(errors.StateDictError, match="does not say of which model"):
        graft(tmp_path / "state.pt", "a2@p3")


def test_the_command_grafts_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(stock("yolo11n", num_classes=3), tmp_path / "best.pt")
    assert cli.main(["graft", str(file), "dattn@sppf", "--out", str(tmp_path / "out")]) == 0
    assert "yolo11n+dattn@sppf, 3 classes" in capsys.readouterr().out
    model = zoo.create(f"local-dir:{tmp_path / 'out'}")
    assert model.names == {0: "thing 0", 1: "thing 1", 2: "thing 2"} and set(model.grafts) == {"9"}
    assert cli.main(["graft", str(file), "datn@sppf", "--out", str(tmp_path / "out")]) == 1
    assert "Did you mean dattn" in capsys.readouterr().err
