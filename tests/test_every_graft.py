"""Every block on every base, at two places of it: builds, is its base at birth, takes any size, and learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.config import BASES
from zoo.detector import build
from zoo.layers.blocks import BLOCKS
from zoo.registry import get_config

PLACES = ("p3", "neck_p4")
NAMES = sorted(BLOCKS)


@pytest.fixture(scope="module", params=BASES)
def plain(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build(get_config(f"{request.param}n"))


def image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def maps(predictions: Any) -> list[Tensor]:
    """The tensors of a training-mode prediction with a gradient, whatever the head."""
    if isinstance(predictions, Tensor):
        return [predictions] if predictions.requires_grad else []
    parts = predictions.values() if isinstance(predictions, dict) else predictions
    return [tensor for part in parts for tensor in maps(part)]


@pytest.mark.parametrize("block", NAMES)
def test_any_block_on_any_base(plain: nn.Module, block: str) -> None:
    torch.manual_seed(0)
    model = build(get_config(f"{plain.config.base_name}+{block}@{','.join(PLACES)}"))
    assert len(model.grafts) == len(PLACES)
    assert all(
        torch.equal(tensor, plain.state_dict()[key]) for key, tensor in model.state_dict().items() if "model." in key
    )
    x = image(352, 608)
    with torch.inference_mode():
        assert torch.equal(model(x)[0], plain(x)[0])

    for graft in model.grafts.values():
        nn.init.normal_(graft.gamma)
    predictions = model.train()(image(96, 160, 2))
    generator = torch.Generator().manual_seed(2)
    sum((t * torch.randn(t.shape, generator=generator)).sum() for t in maps(predictions)).backward()
    dead = [name for name, p in model.grafts.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead
