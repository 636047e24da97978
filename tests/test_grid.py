"""Every base under every block at two places: it builds, equals its base at birth, and every graft parameter learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.alive import make_alive
from zoo.config import BASES
from zoo.detector import Grafted
from zoo.layers.blocks import BLOCKS

PLACES = "p4,neck_p5"
IMAGE = torch.rand(1, 3, 352, 608, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor], list[Tensor]]:
    """A base at n, its tensors, and its answer to an image of an odd shape."""
    torch.manual_seed(0)
    model = make_alive(zoo.create(f"{request.param}n"))
    with torch.no_grad():
        return f"{request.param}n", model.state_dict(), outputs(model, IMAGE)


def outputs(model: Grafted, image: Tensor) -> list[Tensor]:
    raw: Any = model(image)[1]
    heads = list(raw.values()) if "one2many" in raw else [raw]
    return [head[part] for head in heads for part in ("boxes", "scores")]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_on_a_base(base: tuple[str, dict[str, Tensor], list[Tensor]], block: str) -> None:
    name, state, expected = base
    model = zoo.create(f"{name}+{block}@{PLACES}")
    fresh = {key: tensor.clone() for key, tensor in model.grafts.state_dict(prefix="grafts.").items()}
    for graft in model.grafts.values():
        nn.init.normal_(graft.gamma, std=0.5, generator=torch.Generator().manual_seed(1))
    model.model.requires_grad_(False)
    # On weights as they are initialised: those that are alive here saturate an unscaled softmax like that of `nl`.
    sum(output.square().mean() for output in outputs(model, IMAGE)).backward()
    dead = [key for key, part in model.grafts.named_parameters() if part.grad is None or not part.grad.abs().max() > 0]
    assert dead == []
    model.load_state_dict({**fresh, **state})
    with torch.no_grad():
        assert all(torch.equal(found, known) for found, known in zip(outputs(model, IMAGE), expected, strict=True))
