"""Masks, keypoints, oriented boxes and end-to-end heads: grafted models of every task and base do what stock does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.test_places import STOCK
from zoo.config import BASES, ModelConfig
from zoo.detector import MODELS, build
from zoo.names import TASKS
from zoo.registry import get_config

IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [tensor for part in parts if not isinstance(part, int) for tensor in tensors(part)]


def equal(first: Any, second: Any) -> bool:
    return all(torch.equal(one, other) for one, other in zip(tensors(first), tensors(second), strict=True))


@pytest.fixture(scope="module", params=[base + "n" + suffix for base in BASES for suffix in TASKS.values()])
def plain(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@torch.inference_mode()
def test_equal_to_stock_at_birth_and_after_another_head(plain: str) -> None:
    model = build(get_config(f"{plain}+a2@p3+dattn@neck_p5"))
    assert type(model) is MODELS[model.config.task] and model.task == model.config.task
    stock = STOCK[model.task](f"{plain}.yaml", verbose=False).eval()
    stock.load_state_dict({key: value for key, value in model.state_dict().items() if key.startswith("model.")})
    assert equal(model(IMAGE), stock(IMAGE))
    before = model.state_dict()
    fresh = model.reset_classes(3, ["a", "b", "c"])
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in after if key not in fresh)
    of_three = STOCK[model.task](f"{plain}.yaml", nc=3, verbose=False).state_dict()
    assert {len(of_three[key]) for key in fresh} == {3} and len(fresh) >= 6
    rebuilt = build(ModelConfig.from_dict(model.config.to_dict()))
    rebuilt.load_state_dict(after)
    assert equal(model(IMAGE), rebuilt(IMAGE)) and rebuilt.names == {0: "a", 1: "b", 2: "c"}


@torch.inference_mode()
def test_fusing_follows_stock(plain: str) -> None:
    model = build(get_config(f"{plain}+a2@p3"))
    stock = STOCK[model.task](f"{plain}.yaml", verbose=False).eval()
    stock.load_state_dict({key: value for key, value in model.state_dict().items() if key.startswith("model.")})
    model.fuse(verbose=False), stock.fuse(verbose=False)
    assert model.is_fused() and equal(model(IMAGE)[0], stock(IMAGE)[0])


def test_an_end_to_end_head_renews_both_branches() -> None:
    model = zoo.create("yolo26n")
    before = {key: tensor.shape for key, tensor in model.state_dict().items()}
    fresh = model.reset_classes(2)
    assert {key.split(".")[2] for key in fresh} == {"cv3", "one2one_cv3"} and len(fresh) == 12
    model.end2end = True  # as Ultralytics' engine chooses
    with torch.inference_mode():
        found = model(IMAGE)[0]
    assert found.shape == (1, 126, 6) and set(found[..., 5].unique().tolist()) <= {0.0, 1.0}
    # the hidden layers keep the width of 80 classes, where a head built for 2 would be narrower
    expected = {key: (2, *shape[1:]) if key in fresh else tuple(shape) for key, shape in before.items()}
    assert {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == expected


@pytest.mark.parametrize(("base", "num_classes"), [("yolov8n", 1), ("yolo26n", 80)])  # Ultralytics' model files differ
def test_a_saved_model_of_a_task_loads(base: str, num_classes: int, tmp_path) -> None:
    model = zoo.create(f"{base}-pose+a2@p4")
    assert model.config.num_classes == num_classes and model.config.kpt_shape == (17, 3)
    loaded = zoo.create(f"local-dir:{zoo.save(model, tmp_path)}")
    assert type(loaded) is MODELS["pose"] and loaded.config == model.config


@pytest.mark.parametrize("size", [(33, 33), (48, 64), (64, 40)])
def test_sizes_that_the_neck_cannot_take_are_refused_in_words(size: tuple[int, int]) -> None:
    model = zoo.create("yolov8n+a2@p3")
    with pytest.raises(zoo.ZooError, match=rf"multiples of 32 pixels, found {size[0]} x {size[1]}; .*pads"):
        model(torch.zeros(1, 3, *size))
    model(torch.zeros(1, 3, 60, 60))  # which stock takes, too
