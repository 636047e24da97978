"""Grafts live through everything that Ultralytics does to a model when it trains."""

from __future__ import annotations

import pytest
import torch
import ultralytics
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.dist import generate_ddp_file

import zoo
from tests.families import FAMILIES
from zoo.engine.trainer import ZooTrainer
from zoo.errors import OptionError


def train(model, settings, **changes):
    """Train and return the engine and the live parameters by name, at first and after each epoch."""
    engine = model if isinstance(model, zoo.YOLO) else zoo.YOLO(model)
    seen = []

    def keep(trainer):
        seen.append({key: value.detach().clone() for key, value in trainer.model.state_dict().items()})

    engine.add_callback("on_train_start", keep)
    engine.add_callback("on_train_epoch_end", keep)
    engine.train(**settings | changes)
    return engine, *seen


def moved(start, end, prefix):
    return {key for key in start if key.startswith(prefix) and not torch.equal(start[key], end[key])}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_graft_parameter_moves_and_is_kept(name, settings, tmp_path):
    # Adam moves whatever has a gradient; decay, which moves the rest too, is off.
    engine, start, *_, end = train(name, settings, epochs=3, optimizer="AdamW", weight_decay=0)
    parameters = {key for key, _ in engine.model.named_parameters() if key.startswith("grafts.")}
    assert parameters and parameters <= moved(start, end, "grafts.")

    folder = tmp_path / "run" / "weights"
    best, _ = load_checkpoint(folder / "best.pt")
    assert all(graft.gamma.abs().sum() > 0 for graft in best.grafts.values()), "the average has the grafts"
    shipped = zoo.create(f"local-dir:{folder / 'zoo'}")
    assert f'zoo.YOLO("local-dir:{folder / "zoo"}")' in (folder / "zoo" / "README.md").read_text()
    assert shipped.names == best.names and shipped.yaml["imgsz"] == 64
    for key, tensor in best.state_dict().items():
        assert torch.equal(tensor, shipped.state_dict()[key]), key

    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = best(image)[0]
        exported = torch.jit.load(zoo.YOLO(folder / "best.pt").export(format="torchscript", imgsz=64))(image)
        for graft in best.grafts.values():
            graft.gamma.zero_()
        without = best(image)[0]
    torch.testing.assert_close(exported[0] if isinstance(exported, tuple) else exported, expected, atol=2e-3, rtol=1e-3)
    assert not torch.equal(expected, without), "the trained graft changes what the model says"


@pytest.mark.fast
def test_stock_ultralytics_refuses_to_train_a_zoo_checkpoint(settings, tmp_path):
    train("yolov8n_dattn", settings, epochs=1)
    stock = ultralytics.YOLO(tmp_path / "run" / "weights" / "best.pt")
    assert len(stock.predict(torch.zeros(1, 3, 64, 64), verbose=False)) == 1
    with pytest.raises(KeyError, match=r"train it with zoo\.YOLO"):
        stock.train(**settings, exist_ok=True)


@pytest.mark.parametrize(
    "name", [*FAMILIES[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[2:])]
)
def test_resumed_run_follows_the_uninterrupted_one(name, settings, tmp_path):
    _, start, *whole = train(name, settings, epochs=6, name="whole")

    engine = zoo.YOLO(name)
    engine.add_callback("on_fit_epoch_end", stop_after_epoch_3)
    with pytest.raises(KeyboardInterrupt):
        engine.train(**settings | {"epochs": 6, "name": "cut"})
    last = tmp_path / "cut" / "weights" / "last.pt"
    checkpoint, saved = load_checkpoint(last)
    assert saved["epoch"] == 2

    engine, resumed_from, *resumed = train(zoo.YOLO(last), {"resume": True})
    for key, tensor in checkpoint.state_dict().items():
        assert torch.equal(tensor, resumed_from[key]), f"{key}: a run resumes from the averaged weights"
    epochs = (tmp_path / "cut" / "results.csv").read_text().splitlines()[1:]
    assert [int(float(row.split(",")[0])) for row in epochs] == [1, 2, 3, 4, 5, 6]
    assert moved(resumed_from, resumed[-1], "grafts."), "grafts go on learning"

    parameters = [key for key, _ in engine.model.named_parameters()]

    def between(a, b):
        return {key: b[key] - a[key] for key in parameters}

    def length(vectors):
        return float(sum(vector.norm() ** 2 for vector in vectors.values()) ** 0.5)

    step, resumed_step = between(whole[2], whole[3]), between(resumed_from, resumed[0])
    # With an optimiser that has forgotten its momentum the first step is 0.6 of its length off, the end 0.3 of the way.
    assert length(between(step, resumed_step)) < 0.1 * length(step)
    assert length(between(whole[-1], resumed[-1])) < 0.2 * length(between(start, whole[-1]))


def stop_after_epoch_3(trainer):
    if trainer.epoch == 2:
        raise KeyboardInterrupt


@pytest.mark.fast
@pytest.mark.parametrize(
    ("model", "resume", "message"),
    [
        ("yolov8n_dattn", True, r"not a checkpoint of an unfinished run.*last\.pt"),
        ("yolov8n_dattn", "no/such/last.pt", "no such checkpoint"),
    ],
)
def test_nothing_to_resume(model, resume, message, settings):
    with pytest.raises(OptionError, match=message):
        zoo.YOLO(model).train(**settings, resume=resume)


def test_a_finished_run_and_another_architecture_are_not_resumed(settings, tmp_path):
    train("yolov8n_dattn", settings, epochs=1)
    last = tmp_path / "run" / "weights" / "last.pt"
    with pytest.raises(OptionError, match="unfinished run"):
        zoo.YOLO(last).train(resume=True)
    with pytest.raises(OptionError, match=r"another architecture than yolov8n_a2: yolov8n_dattn"):
        zoo.YOLO("yolov8n_a2").train(resume=str(last))


@pytest.mark.fast
def test_a_fresh_model_is_made_by_the_seed(settings):
    _, grafted, _ = train("yolov8n_dattn", settings, epochs=1, seed=3)
    _, again, _ = train("yolov8n_dattn", settings, epochs=1, seed=3, exist_ok=True)
    _, plain, _ = train("yolov8n", settings, epochs=1, seed=3, exist_ok=True)
    _, other, _ = train("yolov8n_dattn", settings, epochs=1, seed=4, exist_ok=True)
    assert grafted.keys() == again.keys() and all(torch.equal(grafted[key], again[key]) for key in grafted)
    assert plain.keys() == {key for key in grafted if key.startswith("model.")}
    assert all(torch.equal(plain[key], grafted[key]) for key in plain)
    assert not torch.equal(other["model.0.conv.weight"], grafted["model.0.conv.weight"])


def test_training_starts_from_the_weights_given(settings, tmp_path):
    torch.manual_seed(1)
    source = zoo.create("yolov8n_dattn", num_classes=5)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-2)
    zoo.save(source, tmp_path / "source")
    source = zoo.create(f"local-dir:{tmp_path / 'source'}")
    _, start, _ = train(f"local-dir:{tmp_path / 'source'}", settings, epochs=1)
    fresh = {key for key, tensor in source.state_dict().items() if not torch.equal(tensor, start[key])}
    assert fresh == {f"model.22.cv3.{level}.2.{kind}" for level in range(3) for kind in ("weight", "bias")}
    assert start["model.22.cv3.0.2.bias"].shape == (3,)


def test_freeze_base_trains_the_graft_and_the_head(settings):
    engine, start, *_, end = train("yolov8n_dattn", settings, freeze_base=True, epochs=3, optimizer="AdamW")
    changed = moved(start, end, "")
    assert {key for key, _ in engine.model.named_parameters() if key.startswith("grafts.")} <= changed
    assert any(key.startswith("model.22.") for key in changed)
    stock = {key for key in changed if key.startswith("model.") and not key.startswith("model.22.")}
    assert not stock, "neither weights nor batch statistics before the head change"


def test_workers_that_ultralytics_spawns_rebuild_the_trainer(settings, monkeypatch, tmp_path):
    """What `device=0,1` pickles for its workers has the options and the grafts."""
    monkeypatch.setattr("ultralytics.utils.dist.USER_CONFIG_DIR", tmp_path)
    engine = zoo.YOLO("yolov8n_dattn")
    written = []

    def pickle(trainer):
        written.append(generate_ddp_file(trainer))
        trainer.stop = True

    engine.add_callback("on_train_start", pickle)
    engine.train(**settings | {"freeze_base": True, "epochs": 1})
    state = torch.load(written[0].removesuffix(".py") + ".pt", weights_only=False)
    trainer = state["trainer"](overrides=state["args"], _callbacks=state["callbacks"])
    assert type(trainer) is ZooTrainer
    assert trainer.args.freeze == list(range(22))
    assert set(state["model"].grafts) == {"9"}


def test_an_unknown_setting_is_named_before_training(settings):
    with pytest.raises(OptionError, match=r"unknown setting 'epoch'. Did you mean .*epochs"):
        zoo.YOLO("yolov8n_dattn").train(**settings, epoch=3)
    with pytest.raises(OptionError, match="epochs"):
        zoo.YOLO("yolov8n_dattn").train(**settings | {"epochs": "ten"})
    with pytest.raises(OptionError, match="exclude each other"):
        zoo.YOLO("yolov8n_dattn").train(**settings, freeze=3, freeze_base=True)
    with pytest.raises(OptionError, match="pretrained=True"):
        zoo.YOLO("yolov8n_dattn").train(**settings, pretrained=True)
