"""Checkpoints: what a pickle may hold is run only if the user vouches for it, and our own need no such word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import nn

import zoo
from tests.weights.test_untrusted import Harm
from zoo.cli import main
from zoo.config import GraftConfig, ModelConfig
from zoo.detector import build
from zoo.errors import FormatError, SourceError
from zoo.layers import blocks
from zoo.weights import checkpoint


class Stranger(nn.Module):
    """A layer that neither Ultralytics nor the zoo knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Part(Stranger):
    """Of a block that is registered, which `Stranger` is not."""


class StrangeBlock(nn.Module):
    """As a user would write one, with a part of the user's own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.part, self.mix = Part(), nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.part(x))


@pytest.fixture
def mark(tmp_path) -> Path:
    return tmp_path / "harmed"


@pytest.fixture
def evil(tmp_path, mark) -> Path:
    """A checkpoint that works, and that leaves a folder behind when something unpickles it."""
    file = tmp_path / "evil.pt"
    torch.save({"model": zoo.create("yolov8n", num_classes=1), "extra": Harm(mark)}, file)
    return file


@pytest.fixture
def unknown(tmp_path) -> Path:
    file = tmp_path / "unknown.pt"
    model = zoo.create("yolov8n", num_classes=1)
    model.model[0].add_module("more", Stranger())
    torch.save({"model": model}, file)
    return file


DOORS = {
    "YOLO": lambda file: zoo.YOLO(str(file)),
    "load": lambda file: zoo.YOLO("yolov8n").load(file),
    "pretrained": lambda file: zoo.YOLO("yolov8n").train(pretrained=str(file), data="coco8.yaml", device="cpu"),
    "resume": lambda file: zoo.YOLO("yolov8n").train(resume=str(file)),
    "base_weights": lambda file: zoo.create("yolov8n_dattn", base_weights=file),
    "trainer": lambda file: _as_the_trainer_does(file),
}


def _as_the_trainer_does(file: Path) -> None:
    with checkpoint.opening(trust=False):
        ultralytics.nn.tasks.load_checkpoint(file)


@pytest.mark.parametrize("door", DOORS)
def test_no_door_runs_what_a_checkpoint_holds(door, evil, mark, monkeypatch):
    monkeypatch.setattr("zoo.engine.trainer.ZooTrainer.get_dataset", lambda _: {"nc": 1, "channels": 3, "names": ["a"]})
    with pytest.raises(FormatError, match=r"evil\.pt needs posix\.mkdir.*nothing in it was run.*trust=True"):
        DOORS[door](evil)
    assert not mark.exists()


@pytest.mark.fast
@pytest.mark.parametrize("verb", ["predict {} image.png", "export {} format=onnx", "val {} data={}"])
def test_the_command_line_runs_nothing_either(verb, evil, mark, capsys, tmp_path, monkeypatch):
    from tests.engine.conftest import write_data

    data = write_data(tmp_path / "data")
    monkeypatch.chdir(data.parent / "images" / "val")
    (data.parent / "images" / "val" / "0.png").rename("image.png")
    assert main(verb.format(evil, data).split()) == 1
    assert "nothing in it was run" in capsys.readouterr().err
    assert not mark.exists()


def test_trust_is_of_one_object_and_runs_what_there_is(evil, mark):
    zoo.YOLO(str(evil), trust=True)
    assert mark.exists()
    mark.rmdir()
    with pytest.raises(FormatError):
        zoo.YOLO(str(evil))
    assert not mark.exists()


def test_trust_on_the_command_line(unknown, tmp_path, monkeypatch, capsys):
    from tests.engine.conftest import write_data

    image = write_data(tmp_path / "data").parent / "images" / "val" / "0.png"
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(unknown), str(image)]) == 1
    assert "unknown.pt needs tests.weights.test_checkpoint.Stranger" in capsys.readouterr().err
    assert main(["predict", str(unknown), str(image), "trust=True"]) == 0


@pytest.mark.parametrize(
    "name", ["yolov8n", "yolov8n_hat", "yolov8n_hat_stem", "yolov8n_a2", "yolo11n_halo", "yolov8n_dattn"]
)
def test_the_zoos_own_models_need_no_trust(name, tmp_path):
    model = zoo.create(name, num_classes=2)
    torch.save({"model": model}, tmp_path / "own.pt")
    opened = zoo.YOLO(str(tmp_path / "own.pt")).model
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(opened(image)[0], model(image)[0])


def test_a_registered_block_needs_no_trust_and_an_unregistered_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.layers.blocks._registered", {})
    blocks.register_block("strange", StrangeBlock)
    model = build(ModelConfig("mine", "yolov8", "n", (GraftConfig(9, "strange"),), num_classes=2))
    torch.save({"model": model}, tmp_path / "own.pt")
    assert zoo.YOLO(str(tmp_path / "own.pt")).model.config == model.config
    blocks._registered.clear()
    code = "import sys, zoo; zoo.YOLO(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "own.pt"], capture_output=True, text=True)
    assert "needs tests.weights.test_checkpoint." in done.stderr and "zoo.register_block" in done.stderr


def test_a_process_that_never_built_a_model_opens_them_too(tmp_path):
    torch.save({"model": zoo.create("yolov8n_hat", num_classes=2)}, tmp_path / "own.pt")
    code = "import sys, zoo; print(type(zoo.YOLO(sys.argv[1]).model.grafts).__name__)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "own.pt"], capture_output=True, text=True)
    assert done.stdout.strip().endswith("ModuleDict"), done.stderr


def test_other_users_of_ultralytics_in_this_process_notice_nothing(unknown):
    assert ultralytics.YOLO(str(unknown)).model.model[0].more
    with checkpoint.opening(trust=False), pytest.raises(FormatError):
        ultralytics.YOLO(str(unknown))
    assert "ULTRALYTICS_SAFE_LOAD" not in os.environ


def test_threads_do_not_share_their_trust(evil, unknown):
    from concurrent.futures import ThreadPoolExecutor

    with checkpoint.opening(trust=True), ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(lambda: zoo.YOLO(str(evil))).exception(), FormatError)
        assert checkpoint.load(unknown)[0]["model"].model[0].more


def test_a_file_that_names_other_things_of_the_zoo_gets_layers_alone(tmp_path):
    import pickle

    class Reach:
        def __init__(self, function, *arguments):
            self.call = function, arguments

        def __reduce__(self):
            return self.call

    for reach in (Reach(zoo.create, "yolov8n"), Reach(zoo.detector._build_block, 1, 2)):
        torch.save({"model": reach}, tmp_path / "reach.pt")
        with pytest.raises(FormatError, match=r"needs zoo\.(factory\.create|detector\._build_block)"):
            zoo.YOLO(str(tmp_path / "reach.pt"))
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Reach(os.mkdir, str(tmp_path / "harmed"))))
    with pytest.raises(FormatError):
        zoo.YOLO(str(tmp_path / "bare.pt"))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.fast
@pytest.mark.parametrize("call", ["YOLO", "pretrained", "load"])
def test_a_missing_checkpoint_asks_nobody_when_offline(call, monkeypatch):
    monkeypatch.setattr("zoo.OFFLINE", True)
    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", lambda *_, **__: pytest.fail("asked GitHub"))
    monkeypatch.setattr("ultralytics.utils.downloads.get_github_assets", lambda *_, **__: pytest.fail("asked GitHub"))
    monkeypatch.setattr("zoo.engine.trainer.ZooTrainer.get_dataset", lambda _: {"nc": 1, "channels": 3, "names": ["a"]})
    with pytest.raises(SourceError, match=r"no file at .*yolov8n_dattn\.pt"):
        DOORS[call]("yolov8n_dattn.pt")
    with pytest.raises(SourceError, match=r"yolov9e\.pt.*offline"):
        DOORS[call]("yolov9e.pt")
