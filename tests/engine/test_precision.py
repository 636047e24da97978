"""Mixed precision on a CPU: asked for it runs, and the loss does not lose the boxes' places to it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.nn.tasks import DetectionModel, load_checkpoint
from ultralytics.utils.callbacks.base import default_callbacks
from ultralytics.utils.torch_utils import unwrap_model

import zoo
from tests.families import ONE_A_BLOCK
from zoo import cli
from zoo.detector import GraftedDetectionModel
from zoo.engine.trainer import ZooTrainer

STOCK_AUTOCAST = ultralytics_trainer.autocast


class Watch:
    """What a training computed in, and the losses of its steps."""

    def __init__(self) -> None:
        self.dtypes: set[torch.dtype] = set()
        self.losses: list[Tensor] = []
        self.gamma: dict[str, Tensor] = {}

    def start(self, trainer) -> None:
        self.model = unwrap_model(trainer.model)
        parts = [self.model.model[0].conv, *getattr(self.model, "grafts", {}).values()]
        for part in parts:
            part.register_forward_hook(self.note)

    def note(self, part: nn.Module, _, output: Tensor) -> None:
        if part.training:
            self.dtypes.add(output.dtype)

    def step(self, trainer) -> None:
        self.losses.append(trainer.loss.detach())

    def end(self, trainer) -> None:
        self.gamma = {name: graft.gamma.detach().clone() for name, graft in self.model.grafts.items()}

    def on(self, engine: zoo.YOLO) -> zoo.YOLO:
        engine.add_callback("on_train_start", self.start)
        engine.add_callback("on_train_batch_end", self.step)
        engine.add_callback("on_train_epoch_end", self.end)
        return engine


@pytest.mark.parametrize("name", ONE_A_BLOCK)
def test_every_family_trains_in_bfloat16(name, settings):
    watch = Watch()
    watch.on(zoo.YOLO(name)).train(**settings | {"epochs": 3, "amp": "bf16"})
    assert torch.bfloat16 in watch.dtypes
    assert len(watch.losses) == 3 and all(loss.isfinite() and loss.dtype == torch.float32 for loss in watch.losses)
    assert watch.gamma and all(gamma.abs().sum() > 0 for gamma in watch.gamma.values())
    assert {parameter.dtype for parameter in watch.model.parameters()} == {torch.float32}
    assert ultralytics_trainer.autocast is STOCK_AUTOCAST


@pytest.mark.parametrize("supported", [True, False])
def test_a_processor_that_emulates_bfloat16_is_named(supported, settings, monkeypatch, caplog):
    monkeypatch.setattr("zoo.engine.trainer._has_bfloat16", lambda: supported)
    ZooTrainer(overrides=settings | {"model": "yolov8n.yaml", "amp": "bf16"})
    assert ("amp=bf16 is emulated" in caplog.text) is not supported


@pytest.mark.parametrize("amp", [True, False, "fp32", "fp16", None])
def test_any_other_precision_is_float32(amp, settings):
    watch = Watch()
    chosen = {} if amp is None else {"amp": amp}
    watch.on(zoo.YOLO("yolov8n")).train(**settings | {"epochs": 1} | chosen)
    assert watch.dtypes == {torch.float32}


def test_a_resumed_run_keeps_its_precision(settings, tmp_path):
    engine = zoo.YOLO("yolov8n_dattn")
    engine.add_callback("on_fit_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.train(**settings | {"amp": "bf16"})
    assert ultralytics_trainer.autocast is STOCK_AUTOCAST, "also after a training that did not end well"
    watch = Watch()
    watch.on(zoo.YOLO(tmp_path / "run" / "weights" / "last.pt")).train(resume=True)
    assert torch.bfloat16 in watch.dtypes and len(watch.losses) == 1
    assert yaml.safe_load((tmp_path / "run" / "args.yaml").read_text())["amp"] == "bf16"


def interrupt(trainer) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("written", "batch"), [("bf16", 4), ("BF16", -1)])
def test_the_command_line_takes_the_precision(written, batch, settings, monkeypatch):
    watch = Watch()
    monkeypatch.setitem(default_callbacks, "on_train_start", [lambda trainer: watch.start(trainer)])
    chosen = settings | {"epochs": 1, "amp": written, "batch": batch}
    assert cli.main(["train", "yolov8n_dattn", *(f"{key}={value}" for key, value in chosen.items())]) == 0
    assert torch.bfloat16 in watch.dtypes


@pytest.mark.fast
def test_an_unknown_precision_is_refused(settings, capsys):
    pairs = [f"{key}={value}" for key, value in settings.items()]
    assert cli.main(["train", "yolov8n_dattn", *pairs, "amp=bf8"]) == 1
    assert "amp=bf8" in (said := capsys.readouterr().err) and "'bf16'" in said


def test_checkpoints_of_a_channels_last_training_hold_its_weights(settings, tmp_path):
    average = {}

    def look(trainer):
        kernels = [part.weight for part in trainer.model.modules() if isinstance(part, nn.Conv2d)]
        assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
        average.update({key: value.clone() for key, value in trainer.ema.ema.state_dict().items()})

    engine = zoo.YOLO("yolov8n_hat")
    engine.add_callback("on_model_save", look)
    engine.train(**settings | {"epochs": 1})
    weights = tmp_path / "run" / "weights"
    loaded, _ = load_checkpoint(weights / "last.pt")
    shipped = zoo.create(f"local-dir:{weights / 'zoo'}")
    for model in (loaded.eval(), shipped):
        for key, value in model.state_dict().items():
            expected = average[key].half().float() if value.is_floating_point() else average[key]
            assert torch.equal(value, expected), key
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image)[0], shipped(image)[0], rtol=1e-4, atol=1e-3)


SIZE, CELL, BINS = 640, 8, 16
NEAR = (9.0, 9.0, 55.0, 57.0)
FAR = tuple(corner + 576 for corner in NEAR)


def perfect_predictions(corners: tuple[float, ...]) -> dict[str, Any]:
    """Each cell of the finest map whose centre is in the box says exactly this box, other cells see nothing."""
    feats = [torch.zeros(1, 1, SIZE // stride, SIZE // stride) for stride in (CELL, 2 * CELL, 4 * CELL)]
    cells = sum(feat[0, 0].numel() for feat in feats)
    scores = torch.full((1, 2, cells), -9.0)
    bins = torch.full((1, 4, BINS, cells), -60.0)
    left, top, right, bottom = (corner / CELL for corner in corners)
    for row in range(math.ceil(top - 0.5), math.ceil(bottom - 0.5)):
        for column in range(math.ceil(left - 0.5), math.ceil(right - 0.5)):
            cell, x, y = row * (SIZE // CELL) + column, column + 0.5, row + 0.5
            scores[0, 0, cell] = 9
            for side, distance in enumerate((x - left, y - top, right - x, bottom - y)):
                whole = math.floor(distance)
                parts = torch.tensor([1 - distance + whole, distance - whole])
                bins[0, side, whole : whole + 2, cell] = parts.log().clamp(min=-60)
    return {"boxes": bins.flatten(1, 2), "scores": scores, "feats": feats}


def cast(preds: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {key: [v.to(dtype) for v in value] if key == "feats" else value.to(dtype) for key, value in preds.items()}


@pytest.fixture(scope="module")
def model() -> GraftedDetectionModel:
    built = zoo.create("yolov8n", num_classes=2).train()
    built.args = SimpleNamespace(**DEFAULT_CFG_DICT)
    return built


@pytest.fixture
def losses(model):
    """Parts of a loss, as training under bfloat16 computes it, for perfect predictions of one box."""

    def compute(corners, dtype, loss=GraftedDetectionModel.loss, autocast=True) -> dict[str, float]:
        box = torch.tensor([corners]) / SIZE
        boxes = torch.cat(((box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]), 1)
        batch = {"img": torch.zeros(1, 3, SIZE, SIZE), "batch_idx": torch.zeros(1), "cls": torch.zeros(1, 1)}
        preds = cast(cast(perfect_predictions(corners), torch.bfloat16), dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            parts = loss(model, batch | {"bboxes": boxes}, preds)[1]
        assert {part.dtype for part in parts.values()} == {torch.float32}
        return {name: float(part) for name, part in parts.items()}

    return compute


@pytest.mark.fast
@pytest.mark.parametrize("corners", [NEAR, FAR])
def test_the_loss_of_bfloat16_predictions_is_that_of_their_values_in_float32(corners, losses):
    found = losses(corners, torch.bfloat16)
    assert found == losses(corners, torch.float32, DetectionModel.loss, autocast=False)
    assert found["box_loss"] < 0.005


@pytest.mark.fast
def test_the_loss_of_stock_ultralytics_moves_far_boxes(losses):
    """The reason for the zoo's own: it is gone once this fails."""
    assert losses(NEAR, torch.bfloat16, DetectionModel.loss)["box_loss"] < 0.005
    assert losses(FAR, torch.bfloat16, DetectionModel.loss)["box_loss"] > 0.3
