"""Every registered model, by name: it builds, runs, learns, saves and changes its head."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import zoo
from benchmarks.complexity import TABLE
from zoo.config import ModelConfig
from zoo.detector import GraftedDetectionModel, build
from zoo.info import count
from zoo.registry import get_config

NAMES = zoo.list_models()
BY_NAME = [pytest.param(name, marks=pytest.mark.fast if name[6] == "n" else ()) for name in NAMES]
GRAFTED = [name for name in NAMES if get_config(name).grafts]


@pytest.fixture(scope="module", params=BY_NAME)
def model(request: pytest.FixtureRequest) -> Iterator[GraftedDetectionModel]:
    torch.manual_seed(0)
    model = build(get_config(request.param))
    yield model


def images(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def open_gates(model: GraftedDetectionModel) -> None:
    for graft in model.grafts.values():
        torch.nn.init.normal_(graft.gamma, std=0.1, generator=torch.Generator().manual_seed(2))


def close_gates(model: GraftedDetectionModel) -> None:
    for graft in model.grafts.values():
        torch.nn.init.zeros_(graft.gamma)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64)])
def test_forward_shapes(model: GraftedDetectionModel, height: int, width: int) -> None:
    open_gates(model)
    with torch.inference_mode():
        predictions, raw = model(images(height, width))
    close_gates(model)
    cells = [(height // s) * (width // s) for s in (8, 16, 32)]
    assert predictions.shape == (2, 4 + 80, sum(cells))
    features = raw.get("one2many", raw)["feats"]
    assert [feature.shape[2:] for feature in features] == [(height // s, width // s) for s in (8, 16, 32)]
    assert torch.isfinite(predictions).all()


def test_identity_at_birth(model: GraftedDetectionModel) -> None:
    plain = build(get_config(model.config.base_name))
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key.startswith("model.")})
    x = images(64, 96)
    with torch.inference_mode():
        assert torch.equal(model(x)[0], plain(x)[0])


def test_same_seed_gives_graft_and_control_the_same_stock_weights(model: GraftedDetectionModel) -> None:
    torch.manual_seed(0)
    plain = build(get_config(model.config.base_name)).state_dict()
    stock = {key: value for key, value in model.state_dict().items() if key.startswith("model.")}
    assert stock.keys() == plain.keys()
    assert all(torch.equal(stock[key], plain[key]) for key in plain)


def test_backward_reaches_every_parameter(model: GraftedDetectionModel) -> None:
    open_gates(model)
    model.train()
    outputs = model(images(96, 64))
    heads = list(outputs.values()) if "one2many" in outputs else [outputs]
    sum(head[part].square().mean() for head in heads for part in ("boxes", "scores")).backward()
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    model.zero_grad()
    model.eval()
    close_gates(model)
    assert dead == []


def test_state_dict_round_trip_through_config(model: GraftedDetectionModel) -> None:
    open_gates(model)
    twin = build(ModelConfig.from_dict(model.config.to_dict()))
    twin.load_state_dict(model.state_dict())
    x = images(64, 64)
    with torch.inference_mode():
        expected, found = model.eval()(x)[0], twin(x)[0]
    close_gates(model)
    assert torch.equal(found, expected)


def test_head_change_keeps_everything_else(model: GraftedDetectionModel) -> None:
    changed = build(model.config)
    changed.load_state_dict(model.state_dict())
    fresh = changed.reset_classes(3, ["a", "b", "c"])
    before, after = model.state_dict(), changed.state_dict()
    assert after.keys() == before.keys()
    assert {key for key in after if after[key].shape != before[key].shape} == set(fresh)
    assert all(torch.equal(after[key], before[key]) for key in after if key not in fresh)
    with torch.inference_mode():
        assert changed(images(64, 64))[0].shape[1] == 4 + 3
    rebuilt = build(changed.config)
    rebuilt.load_state_dict(after)
    assert rebuilt.names == {0: "a", 1: "b", 2: "c"}


def test_parameters_match_the_table(model: GraftedDetectionModel) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == zoo.model_info(model.config.name).params


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n_dattn", "yolov8n_hat_stem", "yolo11n_halo"])
def test_operations_match_the_table(name: str) -> None:
    assert count(get_config(name))[1] == pytest.approx(zoo.model_info(name).gflops, abs=1e-3)


@pytest.mark.fast
@pytest.mark.parametrize("name", [name for name in GRAFTED if not name.endswith(("_p345", "_stem"))])
def test_overhead_is_within_the_budget(name: str) -> None:
    info = zoo.model_info(name)
    assert info.params <= 1.25 * info.base_params
    three_places = name.endswith("_hat_backbone")  # P3 among them, where a window sees the most positions
    assert info.gflops <= (1.37 if three_places else 1.15) * info.base_gflops


@pytest.mark.fast
def test_table_lists_every_model_once() -> None:
    with TABLE.open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == NAMES
