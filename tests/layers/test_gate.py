"""Blocks that weigh what they are given: what a graft of one computes, and what it says of itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo.layers import blocks
from zoo.layers.gate import Gate
from zoo.layers.graft import Graft

pytestmark = pytest.mark.fast
GATES = [name for name, cls in blocks.BLOCKS.items() if issubclass(cls, Gate)]


def test_these_are_gates() -> None:
    assert set(GATES) == {"ema", "gam", "lska", "simam"}


@torch.no_grad()
@pytest.mark.parametrize("name", GATES)
def test_an_open_gate_is_the_paper_s_product_and_attention_its_weights(name: str) -> None:
    torch.manual_seed(3)
    block = blocks.build(name, 16, {}).eval().double()
    graft = Graft(block, 16).double()
    x = torch.randn(2, 16, 5, 6, dtype=torch.float64)
    weights = block.weights(x)
    for gamma in (0.0, 0.25, 1.0):
        nn.init.constant_(graft.gamma, gamma)
        torch.testing.assert_close(graft(x), x * (1 + gamma * (weights - 1)), rtol=0, atol=1e-12)
    (gates,) = block.attention(x, torch.zeros(1, 2)).values()
    for c in range(16):
        torch.testing.assert_close(gates.channels[:, c], weights[:, c].mean((1, 2)))
    assert gates.pixels.shape == (2, 5, 6)
    torch.testing.assert_close(gates.pixels.mean((1, 2)), gates.channels.mean(1))
